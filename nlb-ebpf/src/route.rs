//! Where a flow goes of which the flow table does not say it at once. One piece of code for both families: a flow is its
//! key and its hash.

use nlb_common::{
    abi::{
        backend::{eligibility, state},
        flow::{Value, ring_link, state as flow_state},
        listener::tracking,
        ring::Slot,
    },
    event::Event,
    flow_set::{self, New},
    packet::protocol,
    tcp::Flags,
    ticks::Ticks,
    verdict::Verdict,
};

use crate::{
    clock, counters,
    family::{Tables, Words},
    flow,
    forward::{Arrival, expired},
    listener::{self, Listening},
    outcome::{Outcome, RESET, Step},
    persistence, schedule,
};

/// Where a packet goes.
pub(crate) struct Found {
    /// Number of the backend.
    pub backend: u32,
    /// Whether the flow is a new one.
    pub is_new: bool,
}

/// Where a packet goes.
#[inline(always)]
pub(crate) fn find<F: Tables>(arrival: &Arrival<'_, F>) -> Step<Found> {
    let Words(high, low) = arrival.client();
    let what = u64::from(arrival.listener.number)
        | u64::from(arrival.packet.transport.flags.0) << 16
        | (F::SERVICE_INDEX as u64) << 32;
    let answer = route_flow(arrival.key().0, arrival.hash, high, low, what);
    if answer & UNKNOWN != 0 {
        return open(arrival, answer & PRESSED != 0);
    }
    if answer & FOUND == 0 {
        return Err(Outcome::from_number(answer as u32));
    }
    Ok(Found { backend: answer as u32, is_new: answer & NEW != 0 })
}

/// A new flow: a server is picked for it.
#[inline(always)]
fn open<F: Tables>(arrival: &Arrival<'_, F>, pressed: bool) -> Step<Found> {
    let (client, hash, listener) = (arrival.client(), arrival.hash, arrival.listener.number);
    let request = schedule::Request { client, hash, listener, family: F::SERVICE_INDEX, pressed };
    let backend = request.choose()?;
    let first = Value::new(flow_state::HALF_OPEN, listener, backend, arrival.now());
    flow::insert_half_open(hash, arrival.key().0, first.0);
    Ok(Found { backend, is_new: true })
}

/// Bit of an answer: the low half is a backend's number, not an outcome.
const FOUND: u64 = 1 << 32;
/// Bit of an answer: the flow is a new one.
const NEW: u64 = 1 << 33;
/// Bit of an answer: nothing is known of the flow, and a server is to be picked. Not in there: the stacks of functions that
/// call each other add up.
const UNKNOWN: u64 = 1 << 34;
/// Bit of such an answer: see [`schedule::Request::pressed`].
const PRESSED: u64 = 1 << 35;

/// [`find`] in scalars, because the verifier looks at it by itself: key and hash of the flow, the client's address,
/// and listener, flags and family in one.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn route_flow(key: u64, hash: u64, high: u64, low: u64, what: u64) -> u64 {
    let Some(listener) = listener::at(what as u32 & 0xffff) else {
        return Outcome::drop(Verdict::DropNoListener).number().into();
    };
    let flow = Flow {
        key,
        hash,
        client: Words(high, low),
        listener,
        flags: Flags((what >> 16) as u8),
        family: (what >> 32) as usize & 1,
        is_tcp: listener.protocol() == protocol::TCP,
        now: clock::now(),
    };
    match flow.route() {
        Ok(Way::Found(Found { backend, is_new })) => {
            u64::from(backend) | FOUND | if is_new { NEW } else { 0 }
        }
        Ok(Way::Unknown { pressed }) => UNKNOWN | if pressed { PRESSED } else { 0 },
        Err(outcome) => outcome.number().into(),
    }
}

/// What is known.
enum Way {
    Found(Found),
    Unknown { pressed: bool },
}

/// A packet's flow.
struct Flow {
    key: u64,
    hash: u64,
    client: Words,
    listener: Listening,
    flags: Flags,
    family: usize,
    is_tcp: bool,
    now: Ticks,
}

impl Flow {
    /// Whether the packet can be the first one of a flow: a SYN, or any datagram.
    #[inline(always)]
    fn may_be_first(&self) -> bool {
        !self.is_tcp || self.flags.opens()
    }

    /// By its half-open entry, by its entry in the flow table, or as a new one.
    #[inline(always)]
    fn route(&self) -> Step<Way> {
        let found = |backend, is_new| Ok(Way::Found(Found { backend, is_new }));
        if let Some(backend) = self.half_open()? {
            return found(backend, false);
        }
        // Most SYNs are those of new flows, for which the large table, out in memory, is not worth a look.
        let may_be_recorded = !(self.is_tcp && self.flags.opens()) || flow::may_be_recorded(self.hash);
        if may_be_recorded && let Some(backend) = self.recorded()? {
            return found(backend, false);
        }
        let is_first = self.may_be_first();
        if is_first && self.listener.is_closed_to_new() {
            return Err(Outcome::drop(Verdict::DropListenerDisabled));
        }
        if self.listener.tracking() == tracking::TRANSITION {
            return found(self.in_transition()?, is_first);
        }
        if is_first {
            return Ok(Way::Unknown { pressed: flow::is_pressed(self.hash, self.now) });
        }
        let backend = self.unknown()?;
        flow::insert_half_open(self.hash, self.key, self.first(backend).0);
        found(backend, false)
    }

    /// What a first packet leaves behind.
    #[inline(always)]
    fn first(&self, backend: u32) -> Value {
        Value::new(flow_state::HALF_OPEN, self.listener.number, backend, self.now)
    }

    /// The backend of a half-open flow; its second packet makes it an established one.
    #[inline(always)]
    fn half_open(&self) -> Step<Option<u32>> {
        let Some((place, seen)) = flow::half_open(self.hash).and_then(|set| flow_set::find(set, self.key))
        else {
            return Ok(None);
        };
        let state = schedule::state(seen.backend(), self.now);
        if state != state::SERVING {
            flow::end_half_open(self.key, self.hash);
            return if self.may_be_first() { Ok(None) } else { Err(expired(state)) };
        }
        if (self.is_tcp && self.may_be_first()) || self.flags.has(Flags::RST) || !self.promote(seen) {
            flow::touch(place, seen, self.now);
        }
        Ok(Some(seen.backend()))
    }

    /// From now on a flow's entry in the flow table says where it goes. If there is no room, it stays among the
    /// half-open ones as long as there is some.
    #[inline(always)]
    fn promote(&self, seen: Value) -> bool {
        let next = if self.flags.has(Flags::FIN) { flow_state::CLOSING } else { flow_state::ESTABLISHED };
        let link = self.link(seen.backend(), next);
        let value = seen.seen(self.now).with_state(next);
        if flow::insert(self.hash, New { key: self.key, value, link }) {
            flow::end_half_open(self.key, self.hash);
            return true;
        }
        counters::event(Event::FlowUnrecorded);
        if link != 0 && self.listener.tracking() != tracking::TRANSITION {
            persistence::persistence_release(link);
        }
        false
    }

    /// What an established flow's entry is linked to.
    #[inline(always)]
    fn link(&self, backend: u32, state: u64) -> u32 {
        if self.listener.tracking() == tracking::TRANSITION {
            ring_link(self.slot().1)
        } else if state != flow_state::ESTABLISHED {
            // It holds nothing that it would give back when it ends: it is not active.
            0
        } else {
            schedule::hold(self.client, self.listener, backend)
        }
    }

    /// The backend of a flow that the flow table knows.
    #[inline(always)]
    fn recorded(&self) -> Step<Option<u32>> {
        let Some((place, seen)) = flow::sets(self.hash).and_then(|sets| flow_set::find(sets, self.key))
        else {
            return Ok(None);
        };
        let state = schedule::state(seen.backend(), self.now);
        let goes_on = state == state::SERVING;
        let opens = self.is_tcp && self.flags.opens();
        if goes_on && (!opens || seen.is_active()) {
            flow::touch(place, seen, self.now);
            if self.flags.ends() && self.is_tcp {
                flow::note_end(self.key, self.hash, self.flags.0.into());
            }
            return Ok(Some(seen.backend()));
        }
        if self.may_be_first() {
            // Over, or closed and its ports used again: a new flow.
            flow::end_flow(self.key, self.hash);
            return Ok(None);
        }
        // It is told that it is over as often as it asks.
        flow::close_flow(self.key, self.hash);
        Err(expired(state))
    }

    /// A segment that opens nothing, of a flow that nothing is known of.
    #[inline(always)]
    fn unknown(&self) -> Step<u32> {
        if self.flags.has(Flags::RST) {
            return Err(Outcome::drop(Verdict::DropUnknownFlow));
        }
        if !schedule::balances_unknown(self.listener) {
            return Err(Outcome::new(Verdict::ResetUnknownFlow, RESET));
        }
        let no_backend = Outcome::drop(Verdict::DropNoBackend);
        let (slot, _) = self.slot();
        let backend = schedule::serving(u32::from(slot.current()), self.now);
        backend.map(|(number, _)| number).ok_or(no_backend)
    }

    /// The slot of the ring that the packet meets, and its position.
    #[inline(always)]
    fn slot(&self) -> (Slot, u32) {
        match schedule::picks_of(self.listener, self.family) {
            Some(picks) => schedule::ring_slot(schedule::ring(picks), self.client, self.family, self.hash),
            None => (Slot(0), 0),
        }
    }

    /// A packet of a flow without a record: its slot of the ring knows. The protocol is that of
    /// `connection_tracking: transition` in docs/datapath.md.
    #[inline(always)]
    fn in_transition(&self) -> Step<u32> {
        let (slot, position) = self.slot();
        let (current, previous) = (u32::from(slot.current()), u32::from(slot.previous()));
        let number = if !slot.is_window() || self.goes_to_current(previous) { current } else { previous };
        // Nobody's slot has nothing for new flows, but its unrecorded ones are those of the backend it had.
        if number == 0 {
            return Err(Outcome::drop(Verdict::DropNoBackend));
        }
        let state = schedule::state(number, self.now);
        if state != state::SERVING {
            return Err(expired(state));
        }
        if slot.is_window() {
            self.record(number, position);
        }
        Ok(number)
    }

    /// Whether a packet without a record is one of a new flow. A datagram may be either: it goes to the server from
    /// before as long as that may have new flows.
    #[inline(always)]
    fn goes_to_current(&self, previous: u32) -> bool {
        if self.is_tcp {
            self.flags.opens()
        } else {
            schedule::eligibility(previous) != Some(eligibility::ELIGIBLE)
        }
    }

    /// Remembers where a flow of a slot that changes hands went.
    #[inline(always)]
    fn record(&self, backend: u32, position: u32) {
        let first = self.first(backend);
        if self.is_tcp && self.flags.opens() {
            flow::insert_half_open(self.hash, self.key, first.0);
            return;
        }
        let value = first.with_state(flow_state::ESTABLISHED);
        if !flow::insert(self.hash, New { key: self.key, value, link: ring_link(position) }) {
            counters::event(Event::FlowUnrecorded);
        }
    }
}
