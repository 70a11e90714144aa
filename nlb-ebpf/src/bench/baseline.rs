//! What every program pays: nothing at all, and the least that a balancer can do.

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_TX},
    macros::xdp,
    programs::XdpContext,
};
use nlb_common::packet::{Family, Ipv4, Ipv6, Link, Transport, ethertype, protocol};

use crate::frame;

/// Does nothing.
#[xdp]
fn empty(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// Parses as far as the ports and sends the packet back.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn parse_tx(ctx: XdpContext) -> u32 {
    let Some(link) = Link::parse(frame(&ctx)) else {
        return XDP_DROP;
    };
    let done = match link.ethertype {
        ethertype::IPV4 => send_back::<Ipv4>(&ctx, &link),
        ethertype::IPV6 => send_back::<Ipv6>(&ctx, &link),
        _ => None,
    };
    if done.is_some() { XDP_TX } else { XDP_DROP }
}

#[inline(always)]
fn send_back<F: Family>(ctx: &XdpContext, link: &Link) -> Option<()> {
    let frame = frame(ctx);
    let packet = frame.after(link.len());
    let network = F::parse(packet).ok()?;
    if network.fragment || network.protocol != protocol::TCP {
        return None;
    }
    Transport::parse(packet.after(network.header_len.into()), &network).ok()?;
    // In words: an array of bytes would be moved byte by byte.
    let (to, to_end) = (frame.read::<u32>(0)?, frame.read::<u16>(4)?);
    let (from, from_end) = (frame.read::<u32>(6)?, frame.read::<u16>(10)?);
    frame.write(0, from)?;
    frame.write(4, from_end)?;
    frame.write(6, to)?;
    frame.write(10, to_end)
}
