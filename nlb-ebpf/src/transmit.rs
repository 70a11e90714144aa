//! Out of the balancer: the link layer, and the interface.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_fib_lookup as FibLookup, xdp_action},
    helpers::generated::{bpf_fib_lookup, bpf_redirect, bpf_xdp_adjust_head},
    programs::XdpContext,
};
use nlb_common::{
    abi::{backend::NextHop, conn::ReturnPath},
    packet::{Link, Mac, Macs, Network, Tags},
    verdict::Verdict,
};

use crate::{
    config,
    family::Tables,
    maps::EGRESSES,
    outcome::{ASK_KERNEL, Outcome},
    packet::{Packet, frame},
};

/// Sends a rewritten packet along a path.
#[inline(always)]
pub(crate) fn along<F: Tables>(ctx: &XdpContext, link: &Link, path: ReturnPath, verdict: Verdict) -> Outcome {
    let ReturnPath { macs, ifindex, tags } = path;
    // Positive: bytes to take off at the front; negative: to put on.
    let shorter = link.len() as i32 - tags.header_len() as i32;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    if shorter != 0 && unsafe { bpf_xdp_adjust_head(ctx.ctx, shorter) } != 0 {
        return Outcome::drop(Verdict::DropInternal);
    }
    let link = Link { tags, ethertype: F::ETHERTYPE };
    if link.write(frame(ctx), macs).is_none() {
        return Outcome::drop(Verdict::DropInternal);
    }
    Outcome::new(verdict, action(ctx, ifindex))
}

/// The action that sends the packet, as it is now, out of an interface.
#[inline(always)]
pub(crate) fn action(ctx: &XdpContext, ifindex: u32) -> u32 {
    if ifindex == ctx.ingress_ifindex() as u32 && !config::redirect_to_self() {
        return xdp_action::XDP_TX;
    }
    // SAFETY: the helper takes no memory of ours.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// The action that sends the packet, as it is now, out of the interface it came in by.
#[inline(always)]
pub(crate) fn back(ctx: &XdpContext) -> u32 {
    action(ctx, ctx.ingress_ifindex() as u32)
}

/// Sends a rewritten packet to its server: the way the agent found, or else the one the kernel knows.
#[inline(always)]
pub(crate) fn to_next_hop<F: Tables>(packet: &Packet<'_, F>, next_hop: u64) -> Outcome {
    match known(next_hop) {
        Some(path) => along::<F>(packet.ctx, &packet.link, path, Verdict::Forward),
        None => Outcome::new(Verdict::Forward, ASK_KERNEL),
    }
}

/// The way the agent found.
#[inline(always)]
pub(crate) fn known(next_hop: u64) -> Option<ReturnPath> {
    let egress = EGRESSES.get(NextHop::egress_of(next_hop)?)?;
    let tags = if egress.vlan == 0 { Tags::NONE } else { Tags::one(egress.vlan as u16) };
    let macs = Macs::from_words(next_hop, egress.mac);
    Some(ReturnPath { macs, ifindex: egress.ifindex, tags })
}

/// Sends a rewritten packet the way the kernel's routing and neighbour tables know.
///
/// Seldom needed, hence apart, with a stack frame of its own; what it needs is in the packet.
#[inline(never)]
pub(crate) fn as_kernel_knows<F: Tables>(ctx: &XdpContext) -> Outcome {
    let Some((link, network)) = layers::<F>(ctx) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    // SAFETY: integers and unions of integers only.
    let mut lookup: FibLookup = unsafe { core::mem::zeroed() };
    lookup.family = F::AF;
    lookup.l4_protocol = network.protocol;
    lookup.ifindex = ctx.ingress_ifindex() as u32;
    lookup.__bindgen_anon_3.ipv6_src = F::widen(network.source);
    lookup.__bindgen_anon_4.ipv6_dst = F::widen(network.destination);
    // SAFETY: the structure is as large as we say.
    let found = unsafe { bpf_fib_lookup(ctx.as_ptr(), &raw mut lookup, size_of::<FibLookup>() as i32, 0) };
    // 0 is BPF_FIB_LKUP_RET_SUCCESS; everything else means: no route, no neighbour, or not for forwarding.
    if found != 0 {
        return Outcome::drop(Verdict::DropNoNextHop);
    }
    let macs = Macs::new(Mac(lookup.dmac), Mac(lookup.smac));
    let path = ReturnPath { macs, ifindex: lookup.ifindex, tags: Tags::NONE };
    along::<F>(ctx, &link, path, Verdict::Forward)
}

/// The packet's link and network layer.
#[inline(always)]
fn layers<F: Tables>(ctx: &XdpContext) -> Option<(Link, Network<F::Address>)> {
    let frame = frame(ctx);
    let link = Link::parse(frame)?;
    Some((link, F::network(ctx, frame.after(link.len()))?))
}
