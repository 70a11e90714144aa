//! The way of most packets: untagged, without options, for nobody here or of a flow that is known and goes on. It is that
//! of [`crate::pipeline`], compiled for headers that lie where they mostly do and without a single call, which costs more
//! than most that could be called. Whatever turns out to need more is left as it is for the pipeline.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    packet::{ETHERNET_LEN, Ipv4, Ipv6, ethertype},
    verdict::Verdict,
};

use crate::{
    family::Tables,
    forward::{self, Arrival},
    listener::{self, First},
    outcome::{OPEN_FLOW, Outcome, Step},
    packet::{Packet, frame},
    pipeline::{local_address, unclaimed},
    reply::reply,
};

/// A packet's end, or [`crate::outcome::REST`].
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> Outcome {
    let answer = match frame(ctx).read(ETHERNET_LEN - 2) {
        Some(ethertype::IPV4) => steps::<Ipv4>(ctx),
        Some(ethertype::IPV6) => steps::<Ipv6>(ctx),
        _ => Err(Outcome::rest()),
    };
    match answer {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

#[inline(always)]
fn steps<F: Tables>(ctx: &XdpContext) -> Step<Outcome> {
    let packet = Packet::<F>::plain(ctx).ok_or(Outcome::rest())?;
    if packet.transport.flags.opens() {
        // Only a ring could tell at once where to, so it is not worth a look at the listener.
        return Err(Outcome::new(Verdict::Forward, OPEN_FLOW));
    }
    match listener::first::<F>(&packet.destination()) {
        First::Found(listener, hasher) => forward::run(&Arrival::at(packet, listener, hasher)),
        First::Nobody => unheard(&packet),
        First::Unsure => Err(Outcome::rest()),
    }
}

/// A packet that no listener wants: perhaps a reply, else somebody else's.
#[inline(always)]
pub(crate) fn unheard<F: Tables>(packet: &Packet<'_, F>) -> Step<Outcome> {
    let local = local_address::<F>(&packet.network)?;
    if local.snat == 0 {
        return Err(unclaimed(&local));
    }
    Ok(reply(packet, local.snat - 1).unwrap_or(unclaimed(&local)))
}
