//! The way of most packets: untagged, without options, for nobody here or of a flow that is known and goes on. It is that
//! of [`crate::pipeline`], compiled for headers that lie where they mostly do and without a call, which costs more than most
//! that could be called, but for SYNs ([`crate::first`]). Whatever turns out to need more is left as it is for the pipeline.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::maps::programs,
    packet::{ETHERNET_LEN, Ipv4, Ipv6, ethertype},
};

use crate::{
    family::Tables,
    first,
    forward::{self, Arrival},
    listener::{self, First},
    outcome::{OPEN_FLOW, Outcome, Step},
    packet::{Packet, frame},
    pipeline::{local_address, unclaimed},
    reply::reply,
};

/// A packet's end, or that it is open, and the slot of the program it is left to then.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> (Outcome, u32) {
    match frame(ctx).read(ETHERNET_LEN - 2) {
        Some(ethertype::IPV4) => run_as::<Ipv4>(ctx),
        Some(ethertype::IPV6) => run_as::<Ipv6>(ctx),
        _ => (Outcome::rest(), programs::REST),
    }
}

#[inline(always)]
fn run_as<F: Tables>(ctx: &XdpContext) -> (Outcome, u32) {
    let outcome = match steps::<F>(ctx) {
        Ok(outcome) | Err(outcome) => outcome,
    };
    (outcome, if outcome.action() == OPEN_FLOW { F::OPEN_SLOT } else { F::REST_SLOT })
}

#[inline(always)]
fn steps<F: Tables>(ctx: &XdpContext) -> Step<Outcome> {
    let packet = Packet::<F>::plain(ctx).ok_or(Outcome::rest())?;
    match listener::first::<F>(&packet.destination()) {
        First::Found(listener, hasher) => {
            let arrival = Arrival::at(packet, listener, hasher);
            if first::is_for(&arrival) { first::run(&arrival) } else { forward::run(&arrival) }
        }
        First::Nobody => unheard(&packet),
        First::Unsure => Err(Outcome::rest()),
    }
}

/// A packet that no listener wants: perhaps a reply, else somebody else's.
#[inline(always)]
fn unheard<F: Tables>(packet: &Packet<'_, F>) -> Step<Outcome> {
    let local = local_address::<F>(&packet.network)?;
    if local.snat == 0 {
        return Err(unclaimed(&local));
    }
    Ok(reply(packet, local.snat - 1).unwrap_or(unclaimed(&local)))
}
