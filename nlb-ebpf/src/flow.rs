//! The flow table: one cache line tells which backend a client's packet belongs to. The protocol is in
//! `nlb_common::flow_set`.

use nlb_common::{
    abi::{
        conn::HALF_OPEN_TIMEOUT,
        flow::{self, FlowEntry, FlowSet, Links, Value, state},
        maps::HALF_OPEN_SETS,
    },
    event::Event,
    flow_set::{self, New, Place, Set},
    tcp::Flags,
    ticks::Ticks,
};

use crate::{
    config, counters,
    ledger::Book,
    listener,
    maps::{FLOW_LINKS, FLOW_TAGS, FLOWS, HALF_OPEN},
    shared,
};

/// A set of `FLOWS` or of `HALF_OPEN`.
#[derive(Clone, Copy)]
pub(crate) struct Sets {
    set: *mut FlowSet,
    /// Of a set of `FLOWS`; `None`: the flows of the others have no links and no tags.
    index: Option<u32>,
}

/// An entry of either table.
pub(crate) type Entry = Place<Sets>;

impl Sets {
    #[inline(always)]
    fn entry(self, way: usize) -> *mut FlowEntry {
        // SAFETY: a map value; `way` is below `WAYS`.
        unsafe { (&raw mut (*self.set).entries).cast::<FlowEntry>().add(way) }
    }

    #[inline(always)]
    fn link_of(self, way: usize) -> Option<*mut u32> {
        let links: *mut Links = FLOW_LINKS.get_ptr_mut(self.index?)?;
        // SAFETY: as above.
        Some(unsafe { links.cast::<u32>().add(way) })
    }
}

impl Set for Sets {
    #[inline(always)]
    fn key(self, way: usize) -> u64 {
        // SAFETY: a word of a map value, as in all that follow.
        unsafe { shared::read(&raw const (*self.entry(way)).key) }
    }

    #[inline(always)]
    fn value(self, way: usize) -> u64 {
        // SAFETY: as above.
        unsafe { shared::read(&raw const (*self.entry(way)).value) }
    }

    #[inline(always)]
    fn set_key(self, way: usize, key: u64) {
        // SAFETY: as above.
        unsafe { shared::write(&raw mut (*self.entry(way)).key, key) };
    }

    #[inline(always)]
    fn swap_value(self, way: usize, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe { shared::swap_if(&raw mut (*self.entry(way)).value, old, new) }
    }

    #[inline(always)]
    fn exchange_value(self, way: usize, new: u64) {
        // SAFETY: as above.
        unsafe { shared::exchange(&raw mut (*self.entry(way)).value, new) };
    }

    #[inline(always)]
    fn link(self, way: usize) -> u32 {
        // SAFETY: as above.
        self.link_of(way).map_or(0, |link| unsafe { shared::read(link) })
    }

    #[inline(always)]
    fn set_link(self, way: usize, link: u32) {
        if let Some(at) = self.link_of(way) {
            // SAFETY: as above.
            unsafe { shared::write(at, link) };
        }
    }
}

/// The set of a flow.
#[inline(always)]
pub(crate) fn set(hash: u64) -> Option<Sets> {
    at(flow::set_index(hash, config::flow_mask()))
}

/// The set of a flow, and the one that takes what does not fit.
#[inline(always)]
pub(crate) fn sets(hash: u64) -> Option<[Sets; 2]> {
    let index = flow::set_index(hash, config::flow_mask());
    Some([at(index)?, at(flow::neighbour(index))?])
}

#[inline(always)]
fn at(index: u32) -> Option<Sets> {
    Some(Sets { set: FLOWS.get_ptr_mut(index)?, index: Some(index) })
}

/// The set of a half-open flow.
#[inline(always)]
pub(crate) fn half_open(hash: u64) -> Option<[Sets; 1]> {
    // Other bits than those of the flow table's set: two flows that meet there need not meet here.
    let index = (hash >> 40) as u32 % HALF_OPEN_SETS;
    Some([Sets { set: HALF_OPEN.get_ptr_mut(index)?, index: None }])
}

/// Notes the time of a packet.
#[inline(always)]
pub(crate) fn touch(entry: Entry, seen: Value, now: Ticks) {
    if seen.last_seen() != now {
        // SAFETY: the high half of a word of a map value, aligned; this target is little-endian.
        unsafe { shared::write((&raw mut (*entry.set.entry(entry.way)).value).cast::<u32>().add(1), now.0) };
    }
}

/// Notes what the last segments from a client do to its flow. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn note_end(key: u64, hash: u64, flags: u32) -> u32 {
    let flags = Flags(flags as u8);
    let Some(sets) = sets(hash) else {
        return 0;
    };
    let Some((place, _)) = flow_set::find(sets, key) else {
        return 0;
    };
    flow_set::step(place, key, &Book, |seen| {
        if flags.has(Flags::RST) {
            (seen.state() != state::CLOSED).then(|| seen.with_state(state::CLOSED))
        } else {
            (seen.state() == state::ESTABLISHED).then(|| seen.with_state(state::CLOSING))
        }
    });
    0
}

/// Ends a flow of the flow table and frees its entry. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn end_flow(key: u64, hash: u64) -> u32 {
    if let Some(sets) = sets(hash)
        && let Some((place, _)) = flow_set::find(sets, key)
    {
        flow_set::end(place, key, &Book);
    }
    0
}

/// Closes a flow of the flow table whose server's time is over. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn close_flow(key: u64, hash: u64) -> u32 {
    if let Some(sets) = sets(hash)
        && let Some((place, _)) = flow_set::find(sets, key)
    {
        flow_set::step(place, key, &Book, |seen| seen.is_active().then(|| seen.with_state(state::CLOSED)));
    }
    0
}

/// Ends a half-open flow and frees its entry. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn end_half_open(key: u64, hash: u64) -> u32 {
    if let Some(sets) = half_open(hash)
        && let Some((place, _)) = flow_set::find(sets, key)
    {
        flow_set::end(place, key, &Book);
    }
    0
}

/// Makes an entry for an established flow: in a free place, or in that of a flow that is closed or idle past its time.
/// `false`: its sets hold live flows only.
#[inline(always)]
pub(crate) fn insert(hash: u64, new: New) -> bool {
    insert_flow(hash, new.key, new.value.0, new.link) != 0
}

/// [`insert`]; the verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn insert_flow(hash: u64, key: u64, value: u64, link: u32) -> u32 {
    let new = New { key, value: Value(value), link };
    let now = new.value.last_seen();
    let Some(sets) = sets(hash) else {
        return 0;
    };
    let place = match flow_set::claim(sets, &Book, Value::is_free) {
        Some(free) => free,
        None => match flow_set::claim(sets, &Book, |seen| is_over(seen, now)) {
            Some(taken) => {
                counters::event(Event::FlowEvicted);
                taken
            }
            None => return 0,
        },
    };
    tag(place, hash);
    flow_set::fill(sets, place, new, &Book);
    1
}

/// Leaves the tag of a flow's hash for an entry that is the caller's own.
#[inline(always)]
fn tag(place: Entry, hash: u64) {
    let Some(index) = place.set.index else {
        return;
    };
    if let Some(tags) = FLOW_TAGS.get_ptr_mut(flow::pair(index)) {
        // SAFETY: a byte of a map value, of the entry's owner alone; this target is little-endian.
        unsafe { shared::write(tags.cast::<u8>().add(flow::tag_byte(index, place.way)), flow::tag(hash)) };
    }
}

/// Whether a flow may be in the flow table; `false`: it is not. A tag that a flow of old left behind may deceive it, one time
/// in 30 at worst.
#[inline(always)]
pub(crate) fn may_be_recorded(hash: u64) -> bool {
    let index = flow::set_index(hash, config::flow_mask());
    // SAFETY: a map value, aligned.
    FLOW_TAGS.get_ptr(flow::pair(index)).is_none_or(|tags| flow::has_tag(unsafe { shared::read(tags) }, hash))
}

/// Whether a flow's entry may be taken: it is closed, or idle past its time.
#[inline(always)]
fn is_over(seen: Value, now: Ticks) -> bool {
    if !seen.is_live() {
        return false;
    }
    seen.state() == state::CLOSED || is_idle(seen, now)
}

/// Whether a flow is idle past its time.
#[inline(always)]
pub(crate) fn is_idle(seen: Value, now: Ticks) -> bool {
    match listener::at(seen.listener()) {
        Some(listener) => {
            let timeout = seen.timeout(listener.protocol(), listener.idle_timeout());
            seen.last_seen().age(now) > timeout
        }
        None => true,
    }
}

/// Makes an entry for a half-open flow, if need be in the place of the oldest one. The verifier looks at it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn insert_half_open(hash: u64, key: u64, value: u64) -> u32 {
    let new = New { key, value: Value(value), link: 0 };
    let Some(sets) = half_open(hash) else {
        return 0;
    };
    let place = match flow_set::claim(sets, &Book, Value::is_free) {
        Some(free) => free,
        None => match claim_oldest(sets, new.value.last_seen()) {
            Some(taken) => taken,
            None => return 0,
        },
    };
    flow_set::fill(sets, place, new, &Book);
    1
}

/// Claims the entry of the half-open flow that has been silent longest.
#[inline(always)]
fn claim_oldest([set]: [Sets; 1], now: Ticks) -> Option<Entry> {
    let (mut oldest, mut age) = (0, 0);
    for way in 0..flow::WAYS {
        let seen = Value(set.value(way));
        let this = seen.last_seen().age(now).0;
        if seen.is_live() && this >= age {
            (oldest, age) = (way, this);
        }
    }
    let place = Place { set, way: oldest & (flow::WAYS - 1) };
    let seen = place.value();
    if !seen.is_live() || !flow_set::reserve(place, seen, &Book) {
        return None;
    }
    if !is_idle(seen, now) {
        counters::event(Event::HalfOpenEvicted);
    }
    Some(place)
}

/// What a set of half-open flows has for a new one.
pub(crate) enum Room {
    /// A free place.
    Free,
    /// None: all places are those of half-open flows that may yet be established.
    Full,
    /// The flow is in there, or what is there may go.
    Other,
}

/// What the set of a half-open flow has for it.
#[inline(always)]
pub(crate) fn room([set]: [Sets; 1], key: u64, now: Ticks) -> Room {
    let (mut known, mut free, mut taken) = (false, false, 0);
    for way in 0..flow::WAYS {
        let seen = Value(set.value(way));
        known |= set.key(way) == key;
        free |= seen.is_free();
        taken +=
            usize::from(seen.state() == state::HALF_OPEN && seen.last_seen().age(now) <= HALF_OPEN_TIMEOUT);
    }
    match (known, free) {
        (false, true) => Room::Free,
        (false, false) if taken == flow::WAYS => Room::Full,
        _ => Room::Other,
    }
}

/// Whether there is no room for another half-open flow but in the place of one: what a SYN flood leads to.
#[inline(always)]
pub(crate) fn is_pressed(hash: u64, now: Ticks) -> bool {
    let Some([set]) = half_open(hash) else {
        return true;
    };
    for way in 0..flow::WAYS {
        let seen = Value(set.value(way));
        if seen.is_free() || (seen.is_live() && is_idle(seen, now)) {
            return false;
        }
    }
    true
}
