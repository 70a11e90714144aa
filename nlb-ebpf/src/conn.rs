//! The connection table: taking, reading, moving and giving back entries.
//!
//! The protocol is in `nlb_common::abi::conn`. Nothing here waits: who loses a race looks elsewhere.

use nlb_common::{
    abi::{
        backend::{Backend, forwarding},
        conn::{self, Conn, FREE, RESERVED, Status},
        vip::{EXHAUSTED, Snat},
    },
    be::Be16,
    event::Event,
    packet::protocol,
    tcp::{Direction, Flags, State},
    ticks::Ticks,
};

use nlb_common::flow_set::Ledger as _;

use crate::{clock, counters, family::Tables, ledger::Book, listener, maps::BACKENDS, persistence, shared};

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

/// How often a change of the state is tried again that met another one.
const TRIES: u32 = 3;

/// Swaps the status, and counts what that does to the number of active connections.
#[inline(always)]
fn change<F: Tables>(entry: Entry<F>, index: u32, old: Status, new: Status) -> bool {
    // SAFETY: `entry` comes from `at`; as long as the swap succeeds it is of the use that `old` is of.
    let backend = unsafe { (*entry).backend };
    if !swap::<F>(entry, old, new) {
        return false;
    }
    if old.state().is_active() && !new.state().is_active() {
        Book.ended(backend, if old.is_linked() { link::<F>(index) } else { 0 });
    }
    true
}

/// The link of a connection that has one.
#[inline(always)]
fn link<F: Tables>(index: u32) -> u32 {
    // SAFETY: a map value, aligned.
    F::conn_links().get_ptr(index).map_or(0, |link| unsafe { shared::read(link) })
}

/// Makes a connection an established one that holds its client's persistence entry; what is held is given back if the
/// connection is not as `seen` any more, another CPU having been quicker.
#[inline(always)]
pub(crate) fn establish<F: Tables>(entry: Entry<F>, index: u32, seen: Status, link: u32) {
    if let Some(at) = F::conn_links().get_ptr_mut(index) {
        // SAFETY: a map value, aligned. All that come here at once are of one client, and hold the same entry.
        unsafe { shared::write(at, link) };
    }
    if !swap::<F>(entry, seen, seen.with_state(State::ESTABLISHED).linked()) {
        persistence::persistence_release(link);
    }
}

/// Notes a packet of the flow: the time, and what it does to the TCP state.
#[inline(always)]
pub(crate) fn touch<F: Tables>(
    entry: Entry<F>,
    index: u32,
    seen: Status,
    direction: Direction,
    flags: Flags,
    now: Ticks,
) {
    // SAFETY: `entry` comes from `at`.
    unsafe {
        if shared::read(&raw const (*entry).last_seen) != now.0 {
            shared::write(&raw mut (*entry).last_seen, now.0);
        }
    }
    if seen.state().after(direction, flags) != seen.state() {
        F::step(index, seen, direction, flags);
    }
}

/// Notes what a segment does to the TCP state of the connection that was `seen`.
#[inline(always)]
pub(crate) fn step<F: Tables>(index: u32, seen: Status, direction: Direction, flags: Flags) {
    let Some(entry) = at::<F>(index) else {
        return;
    };
    // The other direction may change the state at the same moment; both changes count.
    for _ in 0..TRIES {
        let current = status::<F>(entry);
        let next = current.state().after(direction, flags);
        if current.generation() != seen.generation()
            || !current.is_conn()
            || next == current.state()
            || change::<F>(entry, index, current, current.with_state(next))
        {
            return;
        }
    }
}

/// Ends a flow whose server's time is over: the entry stays until its last packets are through.
#[inline(always)]
pub(crate) fn close<F: Tables>(entry: Entry<F>, index: u32, seen: Status) {
    if seen.state().is_active() {
        change::<F>(entry, index, seen, seen.with_state(State::CLOSED));
    }
}

/// Ends a connection and frees its entry, whatever its other direction does meanwhile.
#[inline(always)]
pub(crate) fn end<F: Tables>(entry: Entry<F>, index: u32, seen: Status) {
    for _ in 0..TRIES {
        let current = status::<F>(entry);
        if current.generation() != seen.generation()
            || !current.is_conn()
            || change::<F>(entry, index, current, current.next_use(FREE))
        {
            return;
        }
    }
}

/// Gives an entry back that was published, but that no flow entry will ever name.
#[inline(always)]
pub(crate) fn abandon<F: Tables>(entry: Entry<F>, index: u32, published: Status) {
    change::<F>(entry, index, published, published.next_use(FREE));
}

/// Slots that are looked at for one that may have a free port: all that there can be.
const SLOT_PROBES: u32 = nlb_common::abi::maps::MAX_SNATS;

/// The slot that a new connection to a backend takes its port from: the one that its hash says, or, where a slot was
/// `tried` in vain, the next in which nobody did so lately.
#[inline(always)]
pub(crate) fn slot_for<F: Tables>(number: u32, hash: u64, tried: Option<u32>) -> Option<u32> {
    // SAFETY: a map value; its SNAT slots are numbers of which the array knows what they are.
    let backend = unsafe { &*BACKENDS.get_ptr(number)? };
    let (first, slots) = (u32::from(backend.snat_slot), u32::from(backend.snat_slots));
    if slots == 0 {
        return None;
    }
    let Some(tried) = tried else {
        return Some(first + (hash as u32 >> 16) % slots);
    };
    let now = clock::now();
    if let Some(snat) = F::snats().get_ptr_mut(tried) {
        // SAFETY: a map value, aligned.
        unsafe { shared::write(&raw mut (*snat).exhausted, now.0) };
    }
    counters::event(Event::SnatExhausted);
    for step in 1..SLOT_PROBES {
        if step >= slots {
            break;
        }
        let slot = first + (tried.wrapping_sub(first).wrapping_add(step)) % slots;
        let snat = F::snats().get_ptr(slot)?;
        // SAFETY: a map value, aligned.
        let exhausted = Ticks(unsafe { shared::read(&raw const (*snat).exhausted) });
        if exhausted.age(now) > EXHAUSTED {
            return Some(slot);
        }
    }
    None
}

/// An entry of a slot for a new connection to a backend: its index, and the reserved status to publish from.
///
/// Preferably one whose port that server has not seen for as long as it may remember: a server in TIME_WAIT does
/// not take a connection from the port of the last one when the clients' timestamps say that it is older (RFC 7323,
/// section 5), and they do when the clients are different ones.
#[inline(always)]
pub(crate) fn take<F: Tables>(number: u32, slot: u32) -> Option<(u32, Status)> {
    // SAFETY: a map value whose address, port and mode do not change while the number is in use.
    let backend = unsafe { &*BACKENDS.get_ptr(number)? };
    let snat: *mut Snat = F::snats().get_ptr_mut(slot)?;
    // SAFETY: a map value; the agent writes these two fields once, before any backend names the slot.
    let (first_port, ports) = unsafe { ((*snat).first_port, (*snat).ports) };
    if ports == 0 {
        return None;
    }
    let turns = Turns { snat, slot, first_port, ports };
    // With `dnat` the server does not see the port.
    let is_seen = backend.forwarding != forwarding::DNAT;
    // Loops that carry nothing over to one another: that is what the verifier can prune.
    let fresh = |entry, seen, now| {
        is_available::<F>(entry, seen, now) && !(is_seen && is_remembered::<F>(entry, backend, now))
    };
    if let Some(taken) = turns.probe::<F, FRESH_PROBES>(fresh) {
        return Some(taken);
    }
    if let Some(taken) = turns.probe::<F, ANY_PROBES>(|entry, seen, now| is_available::<F>(entry, seen, now))
    {
        return Some(taken);
    }
    // All are taken: handshakes that nobody completes must not keep out those that somebody will.
    let taken = turns.probe::<F, ANY_PROBES>(|entry, seen, now| is_unanswered::<F>(entry, seen, now))?;
    counters::event(Event::ConnEvicted);
    Some(taken)
}

/// The ports of a SNAT address, in turn.
struct Turns {
    snat: *mut Snat,
    slot: u32,
    first_port: u16,
    ports: u16,
}

impl Turns {
    /// Takes the first entry of the next `PROBES` that `suits`.
    #[inline(always)]
    fn probe<F: Tables, const PROBES: u32>(
        &self,
        suits: impl Fn(Entry<F>, Status, Ticks) -> bool,
    ) -> Option<(u32, Status)> {
        let now = clock::now();
        for _ in 0..PROBES {
            // SAFETY: a map value, aligned.
            let turn = unsafe { shared::count_up(&raw mut (*self.snat).cursor) };
            let port = self.first_port.wrapping_add((turn % u32::from(self.ports)) as u16);
            let index = conn::index(self.slot, port);
            let entry = at::<F>(index)?;
            let seen = status::<F>(entry);
            if suits(entry, seen, now)
                && let Some(reserved) = reserve::<F>(entry, index, seen)
            {
                return Some((index, reserved));
            }
        }
        None
    }
}

/// Makes an entry this packet's own; `None` if somebody else was quicker.
#[inline(always)]
fn reserve<F: Tables>(entry: Entry<F>, index: u32, seen: Status) -> Option<Status> {
    let reserved = seen.next_use(RESERVED);
    if change::<F>(entry, index, seen, reserved) { Some(reserved) } else { None }
}

/// Whether an entry is of a handshake that has not been completed for longer than one takes.
#[inline(always)]
fn is_unanswered<F: Tables>(entry: Entry<F>, seen: Status, now: Ticks) -> bool {
    // SAFETY: `entry` comes from `at`.
    let last_seen = Ticks(unsafe { shared::read(&raw const (*entry).last_seen) });
    seen.state().is_half_open() && last_seen.age(now) > conn::HANDSHAKE
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
pub(crate) fn is_available<F: Tables>(entry: Entry<F>, seen: Status, now: Ticks) -> bool {
    if seen.state() == FREE {
        return true;
    }
    if !seen.is_conn() {
        return false;
    }
    // SAFETY: `entry` comes from `at`; if the entry changes hands meanwhile, the swap that follows fails.
    let (last_seen, listener) =
        unsafe { (shared::read(&raw const (*entry).last_seen), shared::read(&raw const (*entry).listener)) };
    let idle = listener::at(listener).map_or(Ticks(0), listener::Listening::idle_timeout);
    Ticks(last_seen).age(now) > conn::timeout(seen.state(), idle)
}

/// Makes a filled entry a connection.
#[inline(always)]
pub(crate) fn publish<F: Tables>(entry: Entry<F>, reserved: Status, protocol: u8, backend: u32) -> Status {
    let state = if protocol == protocol::TCP { State::HALF_OPEN } else { State::ESTABLISHED };
    let published = reserved.with_state(state);
    Book.opened(backend);
    // A swap rather than a store, because it is a full barrier: the fields are there before the state says so.
    swap::<F>(entry, reserved, published);
    published
}

/// The port the server sees.
#[inline(always)]
pub(crate) fn snat_port(index: u32) -> Be16 {
    Be16::new(conn::port(index))
}
