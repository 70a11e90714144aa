//! Ending a flow so that it is counted once, whenever the agent is killed.

use nlb_common::{
    abi::{
        active::Active,
        persistence::{self, PersistenceEntry, PersistenceSet, Use},
        sweep::{Sweep, table},
    },
    ticks::Ticks,
};

use super::super::{mapped::Mapped, words};
use crate::datapath::DatapathError;

/// The array `SWEEP`, and what counts flows.
///
/// An end is written down before its entry is touched. Who comes after a killed agent finds it there, sees at the entry
/// whether that agent had taken it, and at the counts, which bear the number of the last end, whether they were made. (A
/// persistence entry bears its low bits, which come round: [`Ends::begin`] skips a number that would look counted.)
pub(in crate::datapath::aya) struct Ends<'a> {
    pub(in crate::datapath::aya) sweep: &'a Mapped<Sweep>,
    pub(in crate::datapath::aya) active: &'a Mapped<u64>,
    pub(in crate::datapath::aya) persistence: &'a Mapped<PersistenceSet>,
    pub(in crate::datapath::aya) now: Ticks,
}

/// An entry that is to be ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// One of [`table`].
    pub(super) table: u32,
    /// Its index.
    pub(super) entry: u32,
    /// Number of its backend, if the flow is active.
    pub(super) backend: Option<u32>,
    /// Its link; 0: none.
    pub(super) link: u32,
}

impl Ends<'_> {
    /// Writes down what is going to be ended.
    pub(super) fn begin(&self, end: End) -> Result<(), DatapathError> {
        let End { table, entry, backend, link } = end;
        let number = self.number(backend, link)?;
        let sweep = self.sweep.at(0)?;
        // SAFETY: aligned words of a mapped array that only the agent writes; the table last, which makes it valid.
        unsafe {
            words::store_u32(&raw mut (*sweep).end, number);
            words::store_u32(&raw mut (*sweep).entry, entry);
            words::store_u32(&raw mut (*sweep).backend, backend.unwrap_or(0));
            words::store_u32(&raw mut (*sweep).link, link);
            words::store_u32(&raw mut (*sweep).table, table);
        }
        Ok(())
    }

    /// The number of the next end: one that the counts concerned do not bear already, whose bits may have gone round.
    fn number(&self, backend: Option<u32>, link: u32) -> Result<u32, DatapathError> {
        let mut number = self.sweep.read(0)?.end.wrapping_add(1);
        let Some(backend) = backend else {
            return Ok(number);
        };
        let at_backend = Active(self.active.read(backend)?).end();
        // SAFETY: an aligned word of a mapped array.
        let at_entry = self.use_word(link)?.map(|word| Use(unsafe { words::load_u64(word) }).end());
        while number == at_backend || at_entry == Some(number & 0xfff) {
            number = number.wrapping_add(1);
        }
        Ok(number)
    }

    /// Counts the end that was begun, each part of it once.
    pub(super) fn count(&self) -> Result<(), DatapathError> {
        let Sweep { backend, link, end, .. } = self.sweep.read(0)?;
        if backend == 0 {
            return Ok(());
        }
        let active = self.active.at(backend)?;
        loop {
            // SAFETY: an aligned word of a mapped array.
            let seen = Active(unsafe { words::load_u64(active) });
            // SAFETY: as above.
            if seen.end() == end || unsafe { words::swap_u64(active, seen.0, seen.ended(end).0) } {
                break;
            }
        }
        self.release(link, end)
    }

    /// One connection less of a persistence entry, if the link names one.
    fn release(&self, link: u32, end: u32) -> Result<(), DatapathError> {
        let Some(word) = self.use_word(link)? else {
            return Ok(());
        };
        loop {
            // SAFETY: an aligned word of a mapped array.
            let seen = Use(unsafe { words::load_u64(word) });
            let is_counted = seen.end() == end & 0xfff;
            // SAFETY: as above.
            if is_counted || unsafe { words::swap_u64(word, seen.0, seen.ended_by(self.now, end).0) } {
                return Ok(());
            }
        }
    }

    /// Where the persistence entry of a link counts; `None`: it names none.
    fn use_word(&self, link: u32) -> Result<Option<*mut u64>, DatapathError> {
        let Some((set, way)) = persistence::linked(link) else {
            return Ok(None);
        };
        let set = self.persistence.at(set)?;
        // SAFETY: within the set; `linked` gives a way of it.
        Ok(Some(unsafe {
            let entry = (&raw mut (*set).entries).cast::<PersistenceEntry>().add(way);
            &raw mut (*entry).use_
        }))
    }

    /// Nothing is being ended any more.
    pub(super) fn finish(&self) -> Result<(), DatapathError> {
        let sweep = self.sweep.at(0)?;
        // SAFETY: an aligned word of a mapped array that only the agent writes.
        unsafe { words::store_u32(&raw mut (*sweep).table, table::NONE) };
        Ok(())
    }

    /// The end that a killed agent had begun, if there is one in `table`: the index of its entry.
    pub(super) fn begun_in(&self, of: u32) -> Result<Option<u32>, DatapathError> {
        let Sweep { table, entry, .. } = self.sweep.read(0)?;
        Ok((table == of).then_some(entry))
    }
}
