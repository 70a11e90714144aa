//! The way of a packet, step by step. A step answers with what the next one needs, or with the packet's verdict.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::vip::LocalAddress,
    bytes::Bytes,
    packet::{Ipv4, Ipv6, Link, Network, Transport, ethertype, protocol},
    verdict::Verdict,
};

use crate::{
    family::Tables,
    forward::{self, Arrival},
    open,
    outcome::{ASK_KERNEL, OPEN_CONN, OPEN_FLOW, Outcome, REPLY, RESET, Step},
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
///
/// Volatile: else the compiler hands the two pointers to a function instead of the handle that they come from, cut down
/// to the 32 bits that they have in its type, which the verifier takes for numbers.
#[inline(always)]
pub(crate) fn frame(ctx: &XdpContext) -> Bytes {
    // SAFETY: the kernel's handle; it guarantees these bytes until the program ends or resizes the packet.
    unsafe {
        let start = (&raw const (*ctx.ctx).data).read_volatile();
        let end = (&raw const (*ctx.ctx).data_end).read_volatile();
        Bytes::new(start as usize, end as usize)
    }
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
    let outcome = match outcome.action() {
        OPEN_FLOW => open::flow::<F>(ctx),
        OPEN_CONN => open::conn::<F>(ctx),
        REPLY => reply::run::<F>(ctx),
        _ => outcome,
    };
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
    if let Some(transport) = usable_transport::<F>(frame, &network) {
        return match Arrival::new(Packet::<F> { ctx, frame, link, network, transport }) {
            Ok(arrival) => forward::run(&arrival),
            Err(packet) => Err(unheard::<F>(&packet.network)),
        };
    }
    // No listener can want it; but whose it is decides what it gets.
    let local = local_address::<F>(&network)?;
    Err(refused::<F>(&network, &local))
}

/// The transport header of a packet that a listener may want.
#[inline(always)]
fn usable_transport<F: Tables>(frame: Bytes, network: &Network<F::Address>) -> Option<Transport> {
    let is_usable = !network.fragment && matches!(network.protocol, protocol::TCP | protocol::UDP);
    if is_usable { Transport::parse(frame, network).ok() } else { None }
}

/// A packet that no listener wants: perhaps a reply, else somebody else's.
#[inline(always)]
fn unheard<F: Tables>(network: &Network<F::Address>) -> Outcome {
    match local_address::<F>(network) {
        Ok(local) if local.snat != 0 => Outcome::new(Verdict::Reply, REPLY),
        Ok(local) => unclaimed(&local),
        Err(outcome) => outcome,
    }
}

/// What the destination is to the balancer: for most packets of a host, nothing.
#[inline(always)]
pub(crate) fn local_address<F: Tables>(network: &Network<F::Address>) -> Step<LocalAddress> {
    // SAFETY: the agent replaces entries, it does not write into them.
    match unsafe { F::addresses().get(network.destination) } {
        Some(local) => Ok(*local),
        None => Err(Outcome::pass(Verdict::PassNotOurs)),
    }
}

/// Why a packet to one of the balancer's addresses has no transport header that could be used.
#[inline(always)]
fn refused<F: Tables>(network: &Network<F::Address>, local: &LocalAddress) -> Outcome {
    // The host's own packets stay the host's, whatever they look like.
    let refuse = |verdict| {
        if local.vip != 0 && local.host == 0 { Outcome::drop(verdict) } else { unclaimed(local) }
    };
    if network.fragment {
        return refuse(Verdict::DropFragment);
    }
    if F::is_extension(network.protocol) {
        return refuse(Verdict::DropExtensionHeader);
    }
    if !matches!(network.protocol, protocol::TCP | protocol::UDP) {
        return Outcome::pass(Verdict::PassProtocol);
    }
    refuse(Verdict::DropMalformed)
}

/// A packet to one of the balancer's addresses that neither a listener nor a connection wants.
#[inline(always)]
pub(crate) fn unclaimed(local: &LocalAddress) -> Outcome {
    match (local.vip != 0, local.host != 0) {
        (true, false) => Outcome::drop(Verdict::DropNoListener),
        (true, true) => Outcome::pass(Verdict::PassHost),
        (false, _) => Outcome::pass(Verdict::PassNoFlow),
    }
}
