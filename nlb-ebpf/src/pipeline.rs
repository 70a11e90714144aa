//! The way of a packet, step by step. A step answers with what the next one needs, or with the packet's verdict.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::{
        handover::NOTED,
        maps::programs,
        vip::{LocalAddress, filter},
    },
    packet::{Link, Network, ethertype, protocol},
    verdict::Verdict,
};

use crate::{
    config,
    family::Tables,
    forward::{self, Arrival},
    guard, handover, listener,
    maps::ADDRESS_FILTER,
    open,
    outcome::{ASK_KERNEL, DENIED, OPEN_CONN, OPEN_FLOW, Outcome, REPLY, RESET, Step},
    packet::{Packet, frame, usable_transport},
    reply, reset, shared, transmit,
};

/// Which program a packet is for, whose family the entry has not told.
#[inline(always)]
pub(crate) fn of_link(ctx: &XdpContext) -> Outcome {
    match Link::parse(frame(ctx)) {
        None => Outcome::pass(Verdict::PassMalformed),
        Some(Link { ethertype: ethertype::IPV4, .. }) => Outcome::call(programs::REST_V4),
        Some(Link { ethertype: ethertype::IPV6, .. }) => Outcome::call(programs::REST_V6),
        Some(Link { ethertype: ethertype::ARP, .. }) => Outcome::call(programs::ARP),
        Some(_) => Outcome::pass(Verdict::PassNotIp),
    }
}

/// From a packet to its end.
#[inline(always)]
pub(crate) fn run<F: Tables>(ctx: &XdpContext) -> Outcome {
    finish::<F>(ctx, balance::<F>(ctx))
}

/// A packet's first look, with a stack frame of its own.
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
    let network = F::network(ctx, packet).ok_or(malformed)?;
    if network.fragment && handover::take() != NOTED {
        return Err(Outcome::call(F::FRAGMENT_SLOT));
    }
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
    if network.protocol == F::ICMP && !network.fragment {
        return Err(Outcome::call(F::ICMP_SLOT));
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

/// What the destination is to the balancer: for most packets of a host, nothing. A packet to somebody else may be a reply
/// of `dnat`, if there are servers of it.
#[inline(always)]
pub(crate) fn local_address<F: Tables>(network: &Network<F::Address>) -> Step<LocalAddress> {
    let not_ours = Outcome::pass(Verdict::PassNotOurs);
    let (word, bit) = filter_word::<F>(network.destination);
    if word & (bit | filter::DNAT) == 0 {
        return Err(not_ours);
    }
    if word & bit != 0
        // SAFETY: the agent replaces entries, it does not write into them.
        && let Some(local) = unsafe { F::addresses().get(network.destination) }
    {
        return Ok(*local);
    }
    if word & filter::DNAT == 0 {
        return Err(not_ours);
    }
    // Perhaps from a server of `dnat` to its client.
    let (word, bit) = filter_word::<F>(network.source);
    Err(if word & bit == 0 { not_ours } else { Outcome::call(F::BACK_SLOT) })
}

/// The word of the filter in which an address has its bit, and that bit.
#[inline(always)]
fn filter_word<F: Tables>(address: F::Address) -> (u64, u64) {
    let (word, bit) = filter::bit(address, config::hash_seed());
    // SAFETY: a word of a map value.
    (ADDRESS_FILTER.get_ptr(word).map_or(0, |word| unsafe { shared::read(word) }), bit)
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
