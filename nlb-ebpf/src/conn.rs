//! The connection table: taking, reading, moving and giving back entries.
//!
//! The protocol is in `nlb_common::abi::conn`. Nothing here waits: who loses a race looks elsewhere.

use nlb_common::{
    abi::{
        backend::Backend,
        conn::{self, Conn, FREE, RESERVED, Status},
        listener::Listener,
        vip::Snat,
    },
    be::Be16,
    packet::protocol,
    tcp::{Direction, Flags, State},
    ticks::Ticks,
};

use crate::{clock, family::Tables, maps::LISTENERS, shared};

/// How many ports are tried that the server cannot remember.
const FRESH_PROBES: u32 = 12;
/// How many are tried then, whatever it remembers.
const ANY_PROBES: u32 = 4;

/// A pointer to an entry.
pub(crate) type Entry<F> = *mut Conn<<F as nlb_common::packet::Family>::Address>;

/// The entry at an index.
#[inline(always)]
pub(crate) fn at<F: Tables>(index: u32) -> Option<Entry<F>> {
    F::conns().get_ptr_mut(index)
}

/// The status of an entry.
#[inline(always)]
pub(crate) fn status<F: Tables>(entry: Entry<F>) -> Status {
    // SAFETY: `entry` comes from `at`.
    Status(unsafe { shared::read(&raw const (*entry).status) })
}

/// Whether the entry is still in the use that `seen` was read from, so that what was read since then is of it.
#[inline(always)]
pub(crate) fn unchanged<F: Tables>(entry: Entry<F>, seen: Status) -> bool {
    status::<F>(entry).generation() == seen.generation()
}

#[inline(always)]
fn swap<F: Tables>(entry: Entry<F>, old: Status, new: Status) -> bool {
    // SAFETY: `entry` comes from `at`; the field is aligned.
    unsafe { shared::swap_if(&raw mut (*entry).status, old.0, new.0) }
}

/// Notes a packet of the flow: the time, and what it does to the TCP state.
///
/// If somebody else changes the state at the same moment, the other's change stands; the next segment goes on
/// from there.
#[inline(always)]
pub(crate) fn touch<F: Tables>(entry: Entry<F>, seen: Status, direction: Direction, flags: Flags) {
    let now = clock::now();
    // SAFETY: `entry` comes from `at`.
    unsafe {
        if shared::read(&raw const (*entry).last_seen) != now.0 {
            shared::write(&raw mut (*entry).last_seen, now.0);
        }
    }
    let next = seen.state().after(direction, flags);
    if next != seen.state() {
        swap::<F>(entry, seen, seen.with_state(next));
    }
}

/// Ends a flow whose server's time is over: the entry stays until its last packets are through.
#[inline(always)]
pub(crate) fn close<F: Tables>(entry: Entry<F>, seen: Status) {
    if seen.state().is_active() {
        swap::<F>(entry, seen, seen.with_state(State::CLOSED));
    }
}

/// Gives an entry back that was published, but that no flow entry will ever name.
#[inline(always)]
pub(crate) fn abandon<F: Tables>(entry: Entry<F>, published: Status) {
    swap::<F>(entry, published, published.next_use(FREE));
}

/// An entry for a new connection to `backend`: its index, and the reserved status to publish from.
///
/// Preferably one whose port that server has not seen for as long as it may remember: a server in TIME_WAIT does
/// not take a connection from the port of the last one when the clients' timestamps say that it is older (RFC 7323,
/// section 5), and they do when the clients are different ones.
#[inline(always)]
pub(crate) fn take<F: Tables>(backend: &Backend, hash: u64) -> Option<(u32, Entry<F>, Status)> {
    if backend.snat_slots == 0 {
        return None;
    }
    let slot = u32::from(backend.snat_slot) + (hash as u32 >> 16) % u32::from(backend.snat_slots);
    let snat: *mut Snat = F::snats().get_ptr_mut(slot)?;
    // SAFETY: a map value; the agent writes these two fields once, before any backend names the slot.
    let (first_port, ports) = unsafe { ((*snat).first_port, (*snat).ports) };
    if ports == 0 {
        return None;
    }
    let turns = Turns { snat, slot, first_port, ports };
    // Two loops, neither of which carries anything over to the other: that is what the verifier can prune.
    match turns.probe::<F, FRESH_PROBES>(|entry, now| !is_remembered::<F>(entry, backend, now)) {
        Some(taken) => Some(taken),
        None => turns.probe::<F, ANY_PROBES>(|_, _| true),
    }
}

/// The ports of a SNAT address, in turn.
struct Turns {
    snat: *mut Snat,
    slot: u32,
    first_port: u16,
    ports: u16,
}

impl Turns {
    /// Takes the first available entry of the next `PROBES` that `suits`.
    #[inline(always)]
    fn probe<F: Tables, const PROBES: u32>(
        &self,
        suits: impl Fn(Entry<F>, Ticks) -> bool,
    ) -> Option<(u32, Entry<F>, Status)> {
        let now = clock::now();
        for _ in 0..PROBES {
            // SAFETY: a map value, aligned.
            let turn = unsafe { shared::count_up(&raw mut (*self.snat).cursor) };
            let port = self.first_port.wrapping_add((turn % u32::from(self.ports)) as u16);
            let index = conn::index(self.slot, port);
            let entry = at::<F>(index)?;
            let seen = status::<F>(entry);
            if is_available::<F>(entry, seen, now)
                && suits(entry, now)
                && let Some(reserved) = reserve::<F>(entry, seen)
            {
                return Some((index, entry, reserved));
            }
        }
        None
    }
}

/// Makes an entry this packet's own; `None` if somebody else was quicker.
#[inline(always)]
fn reserve<F: Tables>(entry: Entry<F>, seen: Status) -> Option<Status> {
    let reserved = seen.next_use(RESERVED);
    if swap::<F>(entry, seen, reserved) { Some(reserved) } else { None }
}

/// Whether the server of `backend` may still remember the last connection from this entry's port.
#[inline(always)]
fn is_remembered<F: Tables>(entry: Entry<F>, backend: &Backend, now: Ticks) -> bool {
    // SAFETY: `entry` comes from `at`; a free entry keeps what its last connection left.
    let (last_seen, server, port) =
        unsafe { (shared::read(&raw const (*entry).last_seen), (*entry).server, (*entry).server_port) };
    server == F::narrow(backend.address)
        && port == backend.port
        && Ticks(last_seen).age(now) < conn::TIME_WAIT
}

/// Whether an entry may be taken: it is free, or its connection is over and only waits for the sweeper.
#[inline(always)]
fn is_available<F: Tables>(entry: Entry<F>, seen: Status, now: Ticks) -> bool {
    if seen.state() == FREE {
        return true;
    }
    if !seen.is_conn() {
        return false;
    }
    // SAFETY: `entry` comes from `at`; if the entry changes hands meanwhile, the swap that follows fails.
    let (last_seen, listener) =
        unsafe { (shared::read(&raw const (*entry).last_seen), shared::read(&raw const (*entry).listener)) };
    let idle = LISTENERS.get_ptr(listener).map_or(0, |listener: *const Listener| {
        // SAFETY: a map value, aligned.
        unsafe { shared::read(&raw const (*listener).idle_timeout) }
    });
    Ticks(last_seen).age(now) > conn::timeout(seen.state(), Ticks(idle))
}

/// Makes a filled entry a connection.
#[inline(always)]
pub(crate) fn publish<F: Tables>(entry: Entry<F>, reserved: Status, protocol: u8) -> Status {
    let state = if protocol == protocol::TCP { State::HALF_OPEN } else { State::ESTABLISHED };
    let published = reserved.with_state(state);
    // A swap rather than a store, because it is a full barrier: the fields are there before the state says so.
    swap::<F>(entry, reserved, published);
    published
}

/// The port the server sees.
#[inline(always)]
pub(crate) fn snat_port(index: u32) -> Be16 {
    Be16::new(conn::port(index))
}
