//! The flow table and the half-open flows.

use nlb_common::{
    abi::{
        backend::state as backend_state,
        flow::{FlowEntry, FlowSet, Links, Value, WAYS, state},
        listener::tracking,
        sweep::table,
    },
    flow_set::{self, Place, Set},
};

use super::{
    super::{mapped::Mapped, tables::Maps, words},
    Ends, Judge,
    end::End,
};
use crate::datapath::{BackendId, DatapathError, Family, FlowCounts, ListenerId, ServiceId};

/// A set in the agent's memory.
#[derive(Clone, Copy)]
struct Mine {
    set: *mut FlowSet,
    links: Option<*mut Links>,
}

impl Mine {
    fn entry(self, way: usize) -> *mut FlowEntry {
        // SAFETY: within the set; `way` is below `WAYS`.
        unsafe { (&raw mut (*self.set).entries).cast::<FlowEntry>().add(way) }
    }
}

impl Set for Mine {
    fn key(self, way: usize) -> u64 {
        // SAFETY: an aligned word of a mapped array, as in all that follow.
        unsafe { words::load_u64(&raw mut (*self.entry(way)).key) }
    }

    fn value(self, way: usize) -> u64 {
        // SAFETY: as above.
        unsafe { words::load_u64(&raw mut (*self.entry(way)).value) }
    }

    fn set_key(self, way: usize, key: u64) {
        // SAFETY: as above.
        unsafe { words::store_u64(&raw mut (*self.entry(way)).key, key) };
    }

    fn swap_value(self, way: usize, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe { words::swap_u64(&raw mut (*self.entry(way)).value, old, new) }
    }

    fn exchange_value(self, way: usize, new: u64) {
        // SAFETY: as above.
        unsafe { words::exchange_u64(&raw mut (*self.entry(way)).value, new) };
    }

    fn link(self, way: usize) -> u32 {
        // SAFETY: as above.
        self.links.map_or(0, |links| unsafe { words::load_u32(links.cast::<u32>().add(way)) })
    }

    fn set_link(self, way: usize, link: u32) {
        if let Some(links) = self.links {
            // SAFETY: as above.
            unsafe { words::store_u32(links.cast::<u32>().add(way), link) };
        }
    }
}

/// One of the two tables.
pub(in crate::datapath::aya) struct FlowTable<'a> {
    pub(super) number: u32,
    pub(super) sets: &'a Mapped<FlowSet>,
    pub(super) links: Option<&'a Mapped<Links>>,
}

/// What is to be done with a flow.
enum Fate {
    /// It goes on.
    Keep,
    /// Its backend's time is over: it stays for a while, closed, so that its last packets meet the right verdict.
    Close,
    /// It is over.
    End,
}

impl<'a> FlowTable<'a> {
    /// Both, in the order in which flows go through them: one that is promoted during a sweep is not missed.
    pub(in crate::datapath::aya) fn all(maps: &'a Maps) -> [Self; 2] {
        [
            Self { number: table::HALF_OPEN, sets: &maps.half_open, links: None },
            Self { number: table::FLOWS, sets: &maps.flows, links: Some(&maps.flow_links) },
        ]
    }

    fn set(&self, index: u32) -> Result<Mine, DatapathError> {
        let links = self.links.map(|links| links.at(index)).transpose()?;
        Ok(Mine { set: self.sets.at(index)?, links })
    }

    /// One walk over all entries.
    pub(in crate::datapath::aya) fn sweep(
        &self,
        judge: &Judge<'_>,
        ends: &Ends<'_>,
        counts: &mut FlowCounts,
    ) -> Result<(), DatapathError> {
        let mut tally = Tally::default();
        for index in 0..self.sets.len() {
            let set = self.set(index)?;
            for way in 0..WAYS {
                let seen = Value(set.value(way));
                if !seen.is_live() {
                    continue;
                }
                let place = Place { set, way };
                match fate(seen, judge) {
                    Fate::End => {
                        counts.ended += u64::from(self.take(index, place, seen, &Fate::End, judge, ends)?);
                        continue;
                    }
                    Fate::Close => {
                        self.take(index, place, seen, &Fate::Close, judge, ends)?;
                    }
                    Fate::Keep => {}
                }
                tally.add(place.value());
                if judge.listener(seen.listener()).tracking() == tracking::TRANSITION {
                    note_record(place, seen, judge, counts);
                }
            }
        }
        tally.into(counts);
        Ok(())
    }

    /// Ends a flow, or closes it, if it still is as `seen`.
    fn take(
        &self,
        index: u32,
        place: Place<Mine>,
        seen: Value,
        fate: &Fate,
        judge: &Judge<'_>,
        ends: &Ends<'_>,
    ) -> Result<bool, DatapathError> {
        let entry = index * WAYS as u32 + place.way as u32;
        let backend = seen.is_active().then(|| seen.backend());
        let is_position = judge.listener(seen.listener()).tracking() == tracking::TRANSITION;
        let link = if is_position { 0 } else { place.link(seen) };
        ends.begin(End { table: self.number, entry, backend, link })?;
        let is_mine = flow_set::sweep(place, seen);
        if is_mine {
            ends.count()?;
            match fate {
                // From now on: it may have been silent for long when its backend's time was over.
                Fate::Close => flow_set::publish(place, seen.with_state(state::CLOSED).seen(judge.now)),
                Fate::Keep | Fate::End => flow_set::clear(place),
            }
        }
        ends.finish()?;
        Ok(is_mine)
    }

    /// Finishes what a killed agent had begun here.
    pub(in crate::datapath::aya) fn recover(&self, ends: &Ends<'_>) -> Result<(), DatapathError> {
        let Some(entry) = ends.begun_in(self.number)? else {
            return Ok(());
        };
        let place = Place { set: self.set(entry / WAYS as u32)?, way: entry as usize % WAYS };
        // Only an agent makes this state, and the one that did is dead.
        if place.value().state() == state::SWEPT {
            ends.count()?;
            flow_set::clear(place);
        }
        ends.finish()
    }

    /// How many entries are in use.
    pub(in crate::datapath::aya) fn used(&self) -> Result<u64, DatapathError> {
        let mut used = 0;
        for index in 0..self.sets.len() {
            let set = self.set(index)?;
            used += (0..WAYS).filter(|&way| Value(set.value(way)).is_live()).count() as u64;
        }
        Ok(used)
    }
}

fn fate(seen: Value, judge: &Judge<'_>) -> Fate {
    let listener = judge.listener(seen.listener());
    if seen.is_active() && !judge.is_serving(seen.backend()) {
        let is_free = judge.backend(seen.backend()) == backend_state::FREE;
        return if is_free { Fate::End } else { Fate::Close };
    }
    let timeout = seen.timeout(listener.protocol(), nlb_common::ticks::Ticks(listener.idle_timeout));
    if seen.last_seen().age(judge.now) > timeout { Fate::End } else { Fate::Keep }
}

/// Notes that a flow of a ring in transition is recorded.
fn note_record(place: Place<Mine>, seen: Value, judge: &Judge<'_>, counts: &mut FlowCounts) {
    let listener = judge.listener(seen.listener());
    let family = if listener.family() == 4 { Family::V4 } else { Family::V6 };
    // 0 for a half-open flow, which has no link.
    let link = place.link(seen);
    counts.recorded.insert((ServiceId(listener.service), family, link, BackendId(seen.backend())));
}

/// Counts by number, without a map's cost for each flow.
#[derive(Default)]
struct Tally {
    backends: Vec<(u64, u64)>,
    listeners: Vec<u64>,
}

impl Tally {
    fn add(&mut self, value: Value) {
        if !value.is_live() {
            return;
        }
        let (backend, listener) = (value.backend() as usize, value.listener() as usize);
        if self.backends.len() <= backend {
            self.backends.resize(backend + 1, (0, 0));
        }
        if self.listeners.len() <= listener {
            self.listeners.resize(listener + 1, 0);
        }
        let (active, held) = &mut self.backends[backend];
        *active += u64::from(value.is_active());
        *held += 1;
        self.listeners[listener] += 1;
    }

    fn into(self, counts: &mut FlowCounts) {
        for (number, (active, held)) in (0u32..).zip(self.backends).filter(|(_, (_, held))| *held > 0) {
            let flows = counts.backends.entry(BackendId(number)).or_default();
            flows.active += active;
            flows.held += held;
        }
        for (number, held) in (0u32..).zip(self.listeners).filter(|(_, held)| *held > 0) {
            *counts.listeners.entry(ListenerId(number)).or_default() += held;
        }
    }
}
