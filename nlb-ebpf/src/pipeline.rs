//! The way of a packet, step by step. A step answers with what the next one needs, or with the packet's verdict.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::{listener::ListenerKey, vip::LocalAddress},
    bytes::Bytes,
    packet::{Ipv4, Ipv6, Link, Network, Transport, ethertype, protocol},
    verdict::Verdict,
};

use crate::{
    family::Tables,
    forward,
    maps::LISTENER_INDEX,
    outcome::{ASK_KERNEL, Outcome, RESET, Step},
    reply, reset, transmit,
};

/// A packet to one of the balancer's addresses.
pub(crate) struct Packet<'a, F: Tables> {
    /// The kernel's handle.
    pub ctx: &'a XdpContext,
    /// Its bytes.
    pub frame: Bytes,
    /// Its link layer.
    pub link: Link,
    /// Its network layer.
    pub network: Network<F::Address>,
    /// Its transport layer.
    pub transport: Transport,
}

impl<'a, F: Tables> Packet<'a, F> {
    /// Parses a packet that is known to be of the family and to have a transport header.
    #[inline(always)]
    pub(crate) fn parse(ctx: &'a XdpContext) -> Option<Self> {
        let frame = frame(ctx);
        let link = Link::parse(frame)?;
        let network = F::parse(frame, link.len()).ok()?;
        let transport = Transport::parse(frame, &network).ok()?;
        Some(Self { ctx, frame, link, network, transport })
    }
}

/// The bytes of the packet as it is now; to be asked again after every change of its size.
#[inline(always)]
pub(crate) fn frame(ctx: &XdpContext) -> Bytes {
    // SAFETY: the kernel guarantees these bytes until the program ends or resizes the packet.
    unsafe { Bytes::new(ctx.data(), ctx.data_end()) }
}

/// From a packet to its end.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> Outcome {
    let Some(link) = Link::parse(frame(ctx)) else {
        return Outcome::pass(Verdict::PassMalformed);
    };
    match link.ethertype {
        ethertype::IPV4 => finish::<Ipv4>(ctx, balance::<Ipv4>(ctx)),
        ethertype::IPV6 => finish::<Ipv6>(ctx, balance::<Ipv6>(ctx)),
        _ => Outcome::pass(Verdict::PassNotIp),
    }
}

/// A packet of one family, with a stack frame of its own: one for both families would be too large.
#[inline(never)]
fn balance<F: Tables>(ctx: &XdpContext) -> Outcome {
    match steps::<F>(ctx) {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

/// What is seldom needed is done when the frame of all else is gone from the stack.
#[inline(always)]
fn finish<F: Tables>(ctx: &XdpContext, outcome: Outcome) -> Outcome {
    match outcome.action() {
        RESET => reset::run::<F>(ctx, outcome),
        ASK_KERNEL => transmit::as_kernel_knows::<F>(ctx),
        _ => outcome,
    }
}

#[inline(always)]
fn steps<F: Tables>(ctx: &XdpContext) -> Step<Outcome> {
    let frame = frame(ctx);
    let link = Link::parse(frame).ok_or(Outcome::pass(Verdict::PassMalformed))?;
    let network = F::parse(frame, link.len()).map_err(|_| Outcome::pass(Verdict::PassMalformed))?;
    let local = local_address::<F>(&network)?;
    let transport = transport::<F>(frame, &network, &local)?;
    let packet = Packet::<F> { ctx, frame, link, network, transport };
    if local.vip != 0
        && let Some(listener) = listener(&packet, local.vip)
    {
        return forward::run(&packet, listener);
    }
    if local.snat != 0
        && let Some(outcome) = reply::run(&packet, local.snat - 1)
    {
        return Ok(outcome);
    }
    Err(unclaimed(&local))
}

/// What the destination is to the balancer: for most packets of a host, nothing.
#[inline(always)]
fn local_address<F: Tables>(network: &Network<F::Address>) -> Step<LocalAddress> {
    // SAFETY: the agent replaces entries, it does not write into them.
    match unsafe { F::addresses().get(network.destination) } {
        Some(local) => Ok(*local),
        None => Err(Outcome::pass(Verdict::PassNotOurs)),
    }
}

/// The transport header, or why a packet to one of the balancer's addresses has none it can use.
#[inline(always)]
fn transport<F: Tables>(
    frame: Bytes,
    network: &Network<F::Address>,
    local: &LocalAddress,
) -> Step<Transport> {
    // The host's own packets stay the host's, whatever they look like.
    let refuse = |verdict| {
        Err(if local.vip != 0 && local.host == 0 { Outcome::drop(verdict) } else { unclaimed(local) })
    };
    if network.fragment {
        return refuse(Verdict::DropFragment);
    }
    if F::is_extension(network.protocol) {
        return refuse(Verdict::DropExtensionHeader);
    }
    if !matches!(network.protocol, protocol::TCP | protocol::UDP) {
        return Err(Outcome::pass(Verdict::PassProtocol));
    }
    Transport::parse(frame, network).or_else(|_| refuse(Verdict::DropMalformed))
}

/// The number of the listener a packet to a VIP is for.
#[inline(always)]
fn listener<F: Tables>(packet: &Packet<'_, F>, vip: u32) -> Option<u32> {
    let key =
        ListenerKey { vip, port: packet.transport.destination, protocol: packet.transport.protocol, _pad: 0 };
    // SAFETY: the agent replaces entries, it does not write into them.
    unsafe { LISTENER_INDEX.get(key) }.copied()
}

/// A packet to one of the balancer's addresses that neither a listener nor a connection wants.
#[inline(always)]
fn unclaimed(local: &LocalAddress) -> Outcome {
    match (local.vip != 0, local.host != 0) {
        (true, false) => Outcome::drop(Verdict::DropNoListener),
        (true, true) => Outcome::pass(Verdict::PassHost),
        (false, _) => Outcome::pass(Verdict::PassNoFlow),
    }
}
