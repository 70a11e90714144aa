//! What is no plain packet of an established flow: first packets, handshakes, ends.
//!
//! Apart from the rest, each with a stack frame of its own, since they are needed seldom, or, in a flood, for packets that
//! are worth no more than the least that can be done for them.

use aya_ebpf::programs::XdpContext;
use nlb_common::{abi::conn::translation, verdict::Verdict};

use crate::{
    counters,
    family::Tables,
    forward::{self, Arrival},
    listener::{self, First},
    maps::BACKENDS,
    nat,
    outcome::{NEW_CONN, OPEN_CONN, Outcome, RESET, REST, Step, TUNNEL},
    packet::Packet,
    reset,
    route::{self, Found},
};

/// A plain packet that goes through a tunnel, and of which the flow table did not say at once where to.
#[inline(always)]
pub(crate) fn plain<F: Tables>(ctx: &XdpContext) -> Outcome {
    let outcome = match plain_steps::<F>(ctx) {
        Ok(outcome) | Err(outcome) => outcome,
    };
    // Not for the rest: what the reset is for has changed already.
    match outcome.action() {
        RESET => reset::run::<F>(ctx, outcome),
        REST => Outcome::call(F::REST_SLOT),
        _ => outcome,
    }
}

#[inline(always)]
fn plain_steps<F: Tables>(ctx: &XdpContext) -> Step<Outcome> {
    let packet = Packet::<F>::plain(ctx).ok_or(Outcome::rest())?;
    let First::Found(listener, hasher) = listener::first::<F>(&packet.destination()) else {
        return Err(Outcome::rest());
    };
    let arrival = Arrival::at(packet, listener, hasher);
    let listener = arrival.listener.number;
    let Found { backend, is_new } = route::find(&arrival)?;
    if is_new {
        counters::connection(listener, backend);
    }
    forward::send_plain::<F>(ctx, listener, backend)
}

/// A packet that goes through a tunnel, and of which the flow table did not say at once where to.
#[inline(always)]
pub(crate) fn flow<F: Tables>(ctx: &XdpContext) -> Outcome {
    let outcome = routed::<F>(ctx);
    if outcome.action() == TUNNEL { tunneled::<F>(ctx, outcome.backend()) } else { outcome }
}

#[inline(never)]
fn routed<F: Tables>(ctx: &XdpContext) -> Outcome {
    again::<F>(ctx, route)
}

/// Finds the backend of a packet, and counts it.
#[inline(always)]
pub(crate) fn route<F: Tables>(arrival: &Arrival<'_, F>) -> Step<Outcome> {
    Ok(counted(arrival, route::find(arrival)?))
}

/// Counts a packet whose backend was found.
#[inline(always)]
pub(crate) fn counted<F: Tables>(arrival: &Arrival<'_, F>, Found { backend, is_new }: Found) -> Outcome {
    let listener = arrival.listener.number;
    if is_new {
        counters::connection(listener, backend);
    }
    counters::packet(listener, backend, arrival.packet.frame.len());
    Outcome::tunnel(backend)
}

/// Sends a packet whose backend was found.
#[inline(never)]
fn tunneled<F: Tables>(ctx: &XdpContext, backend: u32) -> Outcome {
    let Some(backend) = BACKENDS.get_ptr(backend) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    let Some(packet) = Packet::<F>::parse(ctx) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    let sent = packet.next_hop(backend).and_then(|next_hop| forward::deliver(&packet, backend, next_hop));
    match sent {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

/// A packet of `nat` whose connection, if there is one, is not established.
#[inline(always)]
pub(crate) fn conn<F: Tables>(ctx: &XdpContext) -> Outcome {
    let mut outcome = known_conn::<F>(ctx);
    if outcome.action() == NEW_CONN {
        outcome = new_conn::<F>(ctx);
        if outcome.action() == OPEN_CONN {
            outcome = known_conn::<F>(ctx);
        }
    }
    // What is new and not known has been taken away at this very moment.
    if outcome.action() == NEW_CONN { Outcome::drop(Verdict::DropInternal) } else { outcome }
}

#[inline(never)]
fn known_conn<F: Tables>(ctx: &XdpContext) -> Outcome {
    again::<F>(ctx, nat::known::<F, { translation::BOTH }>)
}

#[inline(never)]
fn new_conn<F: Tables>(ctx: &XdpContext) -> Outcome {
    again::<F>(ctx, nat::new::<F, { translation::BOTH }>)
}

/// A step with the packet parsed anew.
#[inline(always)]
pub(crate) fn again<F: Tables>(ctx: &XdpContext, step: impl Fn(&Arrival<'_, F>) -> Step<Outcome>) -> Outcome {
    let Some(arrival) = Arrival::<F>::again(ctx) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    match step(&arrival) {
        Ok(outcome) | Err(outcome) => outcome,
    }
}
