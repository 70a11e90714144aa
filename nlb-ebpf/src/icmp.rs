//! ICMP, to whomever: echo requests and neighbour solicitations are for the balancer where they are for a VIP, and the rest
//! is the kernel's.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    bytes::Bytes,
    packet::{Ipv4, Ipv6, Link, Network},
    verdict::Verdict,
};

use crate::{
    echo,
    family::Tables,
    neighbour,
    outcome::{Outcome, Step},
    packet::frame,
    pipeline::local_address,
};

/// A packet in one piece, of its family's ICMP, as [`crate::pipeline`] found it.
pub(crate) struct Message<'a, F: Tables> {
    /// The kernel's handle.
    pub ctx: &'a XdpContext,
    /// The packet's bytes.
    pub frame: Bytes,
    /// From the network header on.
    pub packet: Bytes,
    /// Its link layer.
    pub link: Link,
    /// Its network layer.
    pub network: Network<F::Address>,
}

impl<'a, F: Tables> Message<'a, F> {
    #[inline(always)]
    fn parse(ctx: &'a XdpContext) -> Step<Self> {
        let malformed = Outcome::pass(Verdict::PassMalformed);
        let frame = frame(ctx);
        let link = Link::parse(frame).ok_or(malformed)?;
        let packet = frame.after(link.len()).proven(F::HEADER_LEN).ok_or(malformed)?;
        let network = F::network(ctx, packet).ok_or(malformed)?;
        Ok(Self { ctx, frame, packet, link, network })
    }
}

/// ICMP (RFC 792).
#[inline(always)]
pub(crate) fn v4(ctx: &XdpContext) -> Outcome {
    finished(Message::<Ipv4>::parse(ctx).and_then(|message| to_address(&message)))
}

/// ICMPv6 (RFC 4443).
#[inline(always)]
pub(crate) fn v6(ctx: &XdpContext) -> Outcome {
    finished(Message::<Ipv6>::parse(ctx).and_then(|message| {
        // Its destination is a group, or what it asks for.
        match neighbour::run(&message) {
            Some(outcome) => Ok(outcome),
            None => to_address(&message),
        }
    }))
}

/// What is for the balancer if one of its addresses is where it goes.
#[inline(always)]
fn to_address<F: Tables>(message: &Message<'_, F>) -> Step<Outcome> {
    let local = local_address::<F>(&message.network)?;
    echo::run(message, &local).ok_or(Outcome::pass(Verdict::PassProtocol))
}

#[inline(always)]
fn finished(outcome: Step<Outcome>) -> Outcome {
    match outcome {
        Ok(outcome) | Err(outcome) => outcome,
    }
}
