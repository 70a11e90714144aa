//! nlb's datapath: one XDP program that picks a server for every packet and brings the answers back.
//!
//! The packet's way: [`plain`] does what most packets need, with [`first`] for SYNs, [`pipeline`] all else. One of them
//! parses, and [`listener`] tells whose packet it is; [`guard`] lets clients in where not all may come; [`forward`] takes a client's packet to its server, as [`flow`]
//! (tunnels) or [`conn`] ([`nat`]) remember. What they do not know goes to [`open`] and [`route`]: [`persistence`] and
//! [`schedule`] pick a server. [`reply`] takes the server's packet to its client, [`reset`] answers what has no future,
//! [`tunnel`], [`dsr`] and [`transmit`] send. [`ledger`] counts connections.
#![no_std]
#![no_main]
// Atomic operations on this target; `RUSTC_BOOTSTRAP` names this crate where the compiler is a stable one.
#![feature(core_intrinsics)]
#![allow(internal_features)]
#![allow(missing_docs, reason = "what the xdp macro generates has none")]

mod clock;
mod config;
mod conn;
mod conn_set;
mod counters;
mod dsr;
mod family;
mod first;
mod flow;
mod forward;
mod guard;
mod ledger;
mod listener;
mod maps;
mod nat;
mod open;
mod outcome;
mod packet;
mod persistence;
mod pipeline;
mod plain;
mod reply;
mod reset;
mod route;
mod schedule;
mod shared;
mod transmit;
mod tunnel;

use aya_ebpf::{bindings::xdp_action::XDP_DROP, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use nlb_common::{
    abi::maps::programs,
    packet::{Ipv4, Ipv6},
    verdict::Verdict,
};

use crate::{maps::PROGRAMS, outcome::Outcome};

/// The entry: one packet in, its action out.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
#[inline(always)]
fn nlb(ctx: XdpContext) -> u32 {
    done_or_rest(&ctx, plain::run(&ctx))
}

/// First packets of IPv4 flows through tunnels that [`first`] leaves, and whatever else may change what is known of a flow.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn nlb_open_v4(ctx: XdpContext) -> u32 {
    done_or_rest(&ctx, open::plain::<Ipv4>(&ctx))
}

/// The same over IPv6. By itself, for its stack.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn nlb_open_v6(ctx: XdpContext) -> u32 {
    done_or_rest(&ctx, open::plain::<Ipv6>(&ctx))
}

/// Packets over IPv4 to listeners that not everybody may use.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn nlb_guard_v4(ctx: XdpContext) -> u32 {
    done_or_rest(&ctx, guard::plain::<Ipv4>(&ctx))
}

/// The same over IPv6.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn nlb_guard_v6(ctx: XdpContext) -> u32 {
    done_or_rest(&ctx, guard::plain::<Ipv6>(&ctx))
}

#[inline(always)]
fn done_or_rest(ctx: &XdpContext, outcome: Outcome) -> u32 {
    if outcome.is_open() {
        // SAFETY: both are XDP programs, and nothing here is to be dropped.
        unsafe { PROGRAMS.tail_call(ctx, programs::REST) };
        return done(ctx, Outcome::drop(Verdict::DropInternal));
    }
    done(ctx, outcome)
}

/// Whatever the others leave; it begins with the packet once more.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn nlb_rest(ctx: XdpContext) -> u32 {
    done_or_called(&ctx, pipeline::run(&ctx))
}

#[inline(always)]
fn done_or_called(ctx: &XdpContext, outcome: Outcome) -> u32 {
    if let Some(slot) = outcome.called() {
        // SAFETY: both are XDP programs, and nothing here is to be dropped.
        unsafe { PROGRAMS.tail_call(ctx, slot) };
        return done(ctx, Outcome::drop(Verdict::DropInternal));
    }
    done(ctx, outcome)
}

/// Counts a packet's verdict; its action.
#[inline(always)]
fn done(ctx: &XdpContext, outcome: Outcome) -> u32 {
    counters::verdict(outcome.verdict());
    if outcome.action() == XDP_DROP {
        // Dead code unless the agent asked for the datapath's log.
        debug!(ctx, "drop: verdict {}", outcome.verdict());
    }
    outcome.action()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets a program call GPL-only helpers if its licence is one of a few strings.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
