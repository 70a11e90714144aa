//! Ending a flow so that it is counted once, whenever the agent is killed.

use nlb_common::{
    abi::{
        active::Active,
        persistence::{PersistenceEntry, PersistenceSet, Use, WAYS},
        sweep::{Sweep, table},
    },
    ticks::Ticks,
};

use super::super::{mapped::Mapped, words};
use crate::datapath::DatapathError;

/// The array `SWEEP`, and what counts flows.
///
/// An end is written down before its entry is touched. Who comes after a killed agent finds it there, sees at the entry
/// whether that agent had taken it, and at the counts, which bear the number of the last end, whether they were made.
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
        let sweep = self.sweep.at(0)?;
        // SAFETY: aligned words of a mapped array that only the agent writes; the table last, which makes it valid.
        unsafe {
            let number = (&raw const (*sweep).end).read_volatile().wrapping_add(1);
            words::store_u32(&raw mut (*sweep).end, number);
            words::store_u32(&raw mut (*sweep).entry, entry);
            words::store_u32(&raw mut (*sweep).backend, backend.unwrap_or(0));
            words::store_u32(&raw mut (*sweep).link, link);
            words::store_u32(&raw mut (*sweep).table, table);
        }
        Ok(())
    }

    /// Counts the end that was begun just now: no part of it was counted before.
    pub(super) fn count(&self) -> Result<(), DatapathError> {
        self.count_parts(|_| false)
    }

    /// Counts the end that a killed agent had begun, each part of it once. A persistence entry has room for the low bits
    /// of its last end only, so that one in 4096 of these entries, by chance, stays counted.
    pub(super) fn count_rest(&self) -> Result<(), DatapathError> {
        let Sweep { end, .. } = self.sweep.read(0)?;
        self.count_parts(|seen| seen.end() == end & 0xfff)
    }

    fn count_parts(&self, is_counted: impl Fn(Use) -> bool) -> Result<(), DatapathError> {
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
        if link != 0 {
            self.release(link, end, is_counted)?;
        }
        Ok(())
    }

    /// One connection less of a persistence entry.
    fn release(&self, link: u32, end: u32, is_counted: impl Fn(Use) -> bool) -> Result<(), DatapathError> {
        let word = self.use_word(link - 1)?;
        loop {
            // SAFETY: an aligned word of a mapped array.
            let seen = Use(unsafe { words::load_u64(word) });
            // SAFETY: as above.
            if is_counted(seen) || unsafe { words::swap_u64(word, seen.0, seen.ended_by(self.now, end).0) } {
                return Ok(());
            }
        }
    }

    fn use_word(&self, index: u32) -> Result<*mut u64, DatapathError> {
        let set = self.persistence.at(index / WAYS as u32)?;
        let way = index as usize % WAYS;
        // SAFETY: within the set.
        Ok(unsafe {
            let entry = (&raw mut (*set).entries).cast::<PersistenceEntry>().add(way);
            &raw mut (*entry).use_
        })
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
