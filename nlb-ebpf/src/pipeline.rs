//! The way of a packet, step by step. A step answers with what the next one needs, or with the packet's verdict.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::vip::{LocalAddress, filter},
    packet::{Ipv4, Ipv6, Link, Network, ethertype, protocol},
    verdict::Verdict,
};

use crate::{
    config,
    family::Tables,
    forward::{self, Arrival},
    guard, listener,
    maps::ADDRESS_FILTER,
    open,
    outcome::{ASK_KERNEL, DENIED, OPEN_CONN, OPEN_FLOW, Outcome, REPLY, RESET, Step},
    packet::{Packet, frame, usable_transport},
    reply, reset, shared, transmit,
};

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
        DENIED => guard::deny::<F>(ctx),
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
    let malformed = Outcome::pass(Verdict::PassMalformed);
    let packet = frame.after(link.len()).proven(F::HEADER_LEN).ok_or(malformed)?;
    let network = F::parse(packet).map_err(|_| malformed)?;
    let segment = packet.after(network.header_len.into());
    if let Some(transport) = usable_transport::<F>(segment, &network) {
        let packet = Packet::<F> { ctx, frame, packet, segment, link, network, transport, is_plain: false };
        return match listener::find::<F>(&packet.destination()) {
            Some((listener, hasher)) => {
                let arrival = Arrival::at(packet, listener, hasher);
                guard::check(&arrival)?;
                forward::run(&arrival)
            }
            None => Err(unheard::<F>(&packet.network)),
        };
    }
    // No listener can want it; but whose it is decides what it gets.
    let local = local_address::<F>(&network)?;
    Err(refused::<F>(&network, &local))
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
    let (word, bit) = filter::bit(network.destination, config::hash_seed());
    // SAFETY: a word of a map value.
    if ADDRESS_FILTER.get_ptr(word).is_none_or(|word| unsafe { shared::read(word) } & bit == 0) {
        return Err(Outcome::pass(Verdict::PassNotOurs));
    }
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
