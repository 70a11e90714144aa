//! The programs of `cargo xtask bench`: what runs in front of the measured program ([`wrapper`]), what it is compared
//! with ([`baseline`], [`reference`]). Never part of the agent.
#![no_std]
#![no_main]
// As in the datapath.
#![feature(core_intrinsics)]
#![allow(internal_features)]
#![allow(missing_docs, reason = "what the xdp macro generates has none")]

mod baseline;
mod maps;
mod reference;
#[path = "../shared.rs"]
#[expect(dead_code, reason = "it is the datapath's; here only the barrier is needed")]
mod shared;
mod tables;
mod wrapper;

use aya_ebpf::programs::XdpContext;
use nlb_common::bytes::Bytes;

/// The bytes of the packet as it is now; to be asked again after every change of its size.
#[inline(always)]
fn frame(ctx: &XdpContext) -> Bytes {
    // SAFETY: the kernel guarantees these bytes until the program ends or resizes the packet.
    unsafe { Bytes::new(ctx.data(), ctx.data_end()) }
}

/// The first `LEN` bytes of the packet, to be written all at once; `None` if it is shorter.
#[inline(always)]
fn room<const LEN: usize>(ctx: &XdpContext) -> Option<*mut u8> {
    if ctx.data() + LEN > ctx.data_end() { None } else { Some(ctx.data() as *mut u8) }
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
