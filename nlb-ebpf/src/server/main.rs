//! A server's end of a tunnel, for servers whose kernel has no tunnel devices: takes off the outer header of what is
//! addressed to the server, and gives everything to the kernel. Used by the test worlds; the agent knows nothing of it.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "what the xdp macro generates has none")]

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::generated::bpf_xdp_adjust_head,
    macros::xdp,
    programs::XdpContext,
};
use nlb_common::{
    addr::{V4, V6},
    bytes::Bytes,
    packet::{Family, Ipv4, Ipv6, Link, Macs, ethertype, gue, protocol},
};

/// The server's IPv4 address, patched when the program is loaded.
#[unsafe(no_mangle)]
static ADDRESS_V4: u32 = 0;

/// The server's IPv6 address, patched when the program is loaded.
#[unsafe(no_mangle)]
static ADDRESS_V6: [u32; 4] = [0; 4];

/// The entry: what is in a tunnel to this server leaves it, all else stays as it is.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn decapsulate(ctx: XdpContext) -> u32 {
    let Some(link) = Link::parse(frame(&ctx)) else {
        return XDP_PASS;
    };
    let done = match link.ethertype {
        ethertype::IPV4 => {
            // SAFETY: a static of this program; volatile, because its value here is not the one that is loaded.
            let own = unsafe { read_volatile(&raw const ADDRESS_V4) };
            unwrap_packet::<Ipv4>(&ctx, &link, V4(own))
        }
        ethertype::IPV6 => {
            // SAFETY: as above.
            let own = unsafe { read_volatile(&raw const ADDRESS_V6) };
            unwrap_packet::<Ipv6>(&ctx, &link, V6(own))
        }
        _ => Some(()),
    };
    if done.is_some() { XDP_PASS } else { XDP_DROP }
}

/// Takes off the outer header, and that of GUE behind it; `None`: the kernel refused to, and the packet is of no use any more.
#[inline(always)]
fn unwrap_packet<F: Family>(ctx: &XdpContext, link: &Link, own: F::Address) -> Option<()> {
    let outer = frame(ctx);
    let Ok(network) = F::parse(outer.after(link.len())) else {
        return Some(());
    };
    if network.fragment || network.destination != own {
        return Some(());
    }
    let header_len = usize::from(network.header_len);
    let between = match network.protocol {
        protocol::UDP if gue::read(outer.after(link.len()).after(header_len)) == Some(F::INSIDE) => {
            gue::HEADER_LEN
        }
        protocol if protocol == F::INSIDE => 0,
        _ => return Some(()),
    };
    let macs = Macs::read(outer)?;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, (header_len + between) as i32) } != 0 {
        return None;
    }
    link.write(frame(ctx), macs)
}

/// The bytes of the packet as it is now; to be asked again after every change of its size.
#[inline(always)]
fn frame(ctx: &XdpContext) -> Bytes {
    // SAFETY: the kernel guarantees these bytes until the program ends or resizes the packet.
    unsafe { Bytes::new(ctx.data(), ctx.data_end()) }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// As the datapath's.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
