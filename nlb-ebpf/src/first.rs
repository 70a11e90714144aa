//! First packets of TCP flows, where a glance tells that they are just that: all but a few, in a flood or not. What is not
//! that plain is left to [`crate::route`], which begins anew.

use nlb_common::{
    abi::{
        flow::{Value, state},
        listener::tracking,
    },
    event::Event,
    flow_set::{self, New},
    verdict::Verdict,
};

use crate::{
    clock, counters,
    family::{Tables, Words},
    flow::{self, Room},
    forward::{self, Arrival},
    ledger::Book,
    listener,
    outcome::{OPEN_FLOW, Outcome, Step},
    schedule::{self, Request},
};

/// Whether a packet is a SYN, and its flow one that the flow table will know.
#[inline(always)]
pub(crate) fn is_for<F: Tables>(arrival: &Arrival<'_, F>) -> bool {
    arrival.is_tcp()
        && arrival.packet.transport.flags.opens()
        && arrival.packet.network.hops > 1
        && arrival.tracking() == tracking::FULL
}

/// Takes it to a server, if that is plain, or else leaves it to [`crate::open`].
#[inline(always)]
pub(crate) fn run<F: Tables>(arrival: &Arrival<'_, F>) -> Step<Outcome> {
    let Words(high, low) = arrival.client();
    let (ctx, listener) = (arrival.packet.ctx, arrival.listener.number);
    let at = u64::from(listener) | (F::SERVICE_INDEX as u64) << 32;
    let answer = open_flow(arrival.key().0, arrival.hash, high, low, at);
    if answer == 0 {
        return Err(Outcome::new(Verdict::Forward, OPEN_FLOW));
    }
    let number = answer & !UNRECORDED;
    if answer & UNRECORDED != 0 {
        let outcome = forward::send_plain::<F>(ctx, listener, number)?;
        // Not before: what is left to the rest begins anew.
        counters::event(Event::SynUnrecorded);
        counters::connection(listener, number);
        return Ok(outcome);
    }
    counters::connection(listener, number);
    forward::send_plain::<F>(ctx, listener, number)
}

/// Bit of an answer: the flow has left no entry.
const UNRECORDED: u32 = 1 << 31;

/// The server of a SYN, in scalars, because the verifier looks at it by itself: key and hash of the flow, the client's address,
/// listener and family; 0: it takes more to know.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn open_flow(key: u64, hash: u64, high: u64, low: u64, at: u64) -> u32 {
    open(key, hash, Words(high, low), at).unwrap_or(0)
}

#[inline(always)]
fn open(key: u64, hash: u64, client: Words, at: u64) -> Option<u32> {
    let (number, family) = (at as u32, (at >> 32) as usize & 1);
    let listener = listener::at(number)?;
    let half_open = flow::half_open(hash)?;
    let now = clock::now();
    let room = flow::room(half_open, key, now);
    // After that: a flow that becomes established is in the flow table before it leaves the half-open ones.
    if flow::may_be_recorded(hash) || listener.is_closed_to_new() {
        return None;
    }
    let choose = |pressed| {
        let request = Request { client, hash, listener: number, family, pressed };
        schedule::choose_by_slot(&request, listener, now)
    };
    match room {
        Room::Free => {
            // Before the choice, which takes a turn.
            let place = flow_set::claim(half_open, &Book, Value::is_free)?;
            let Some(backend) = choose(false) else {
                flow_set::clear(place);
                return None;
            };
            let value = Value::new(state::HALF_OPEN, number, backend, now);
            flow_set::fill(half_open, place, New { key, value, link: 0 }, &Book);
            Some(backend)
        }
        // Its next segment goes by the ring, too.
        Room::Full => choose(true).map(|backend| backend | UNRECORDED),
        Room::Other => None,
    }
}
