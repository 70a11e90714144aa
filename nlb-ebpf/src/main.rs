//! nlb's datapath: one XDP program that picks a server for every packet and brings the answers back.
//!
//! The packet's way: [`plain`] does what most packets need, with [`first`] for SYNs, [`pipeline`] all else. One of them
//! parses, and [`listener`] tells whose packet it is; [`guard`] lets clients in where not all may come;
//! [`forward`] takes a client's packet to its server, as [`flow`] (tunnels) or [`conn`] ([`nat`]) remember. What they do not know goes to [`open`] and [`route`]: [`persistence`] and
//! [`schedule`] pick a server. [`reply`] takes the server's packet to its client, [`reset`] answers what has no future,
//! [`tunnel`], [`dsr`] and [`transmit`] send. [`ledger`] counts connections. [`fragment`] is for parts of packets,
//! [`too_big`] for what does not fit; [`dnat`] has programs of its own; [`arp`], [`neighbour`] and [`echo`] (by [`icmp`]) answer for the VIPs themselves.
#![no_std]
#![no_main]
// Atomic operations on this target; `RUSTC_BOOTSTRAP` names this crate where the compiler is a stable one.
#![feature(core_intrinsics)]
#![allow(internal_features)]
#![allow(missing_docs, reason = "what the xdp macro generates has none")]

mod arp;
mod clock;
mod config;
mod conn;
mod conn_set;
mod counters;
mod dnat;
mod dsr;
mod echo;
mod family;
mod first;
mod flow;
mod forward;
mod fragment;
mod guard;
mod handover;
mod icmp;
mod interface;
mod ledger;
mod listener;
mod maps;
mod nat;
mod neighbour;
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
mod too_big;
mod transmit;
mod tunnel;

use aya_ebpf::{bindings::xdp_action::XDP_DROP, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use nlb_common::{
    packet::{Ipv4, Ipv6},
    verdict::Verdict,
};

use crate::{maps::PROGRAMS, outcome::Outcome};

/// The entry: one packet in, its action out.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
#[inline(always)]
fn nlb(ctx: XdpContext) -> u32 {
    let (outcome, rest) = plain::run(&ctx);
    done_or_left(&ctx, outcome, rest)
}

/// Declares the programs that are called: each begins with the packet once more, and may call another.
macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident = $run:expr;)*) => {
        $(
            $(#[$doc])*
            #[xdp]
            fn $name(ctx: XdpContext) -> u32 {
                done_or_called(&ctx, $run(&ctx))
            }
        )*
    };
}

// Those of IPv4 and IPv6 are by themselves for their stacks.
programs! {
    /// Whatever the entry leaves and has not told the family of: it may stand behind tags.
    nlb_rest = pipeline::of_link;
    /// Whatever the others leave of IPv4.
    nlb_rest_v4 = pipeline::run::<Ipv4>;
    /// The same of IPv6.
    nlb_rest_v6 = pipeline::run::<Ipv6>;
    /// First packets of IPv4 flows through tunnels that [`first`] leaves, and whatever else may change what is known of a flow.
    nlb_open_v4 = open::plain::<Ipv4>;
    /// The same over IPv6.
    nlb_open_v6 = open::plain::<Ipv6>;
    /// Packets over IPv4 to listeners that not everybody may use.
    nlb_guard_v4 = guard::plain::<Ipv4>;
    /// The same over IPv6.
    nlb_guard_v6 = guard::plain::<Ipv6>;
    /// Clients' packets of `dnat` over IPv4.
    nlb_dnat_v4 = dnat::client::<Ipv4>;
    /// The same over IPv6.
    nlb_dnat_v6 = dnat::client::<Ipv6>;
    /// Servers' packets of `dnat` over IPv4.
    nlb_back_v4 = dnat::server::<Ipv4>;
    /// The same over IPv6.
    nlb_back_v6 = dnat::server::<Ipv6>;
    /// Fragments over IPv4.
    nlb_fragment_v4 = fragment::run::<Ipv4>;
    /// Fragments over IPv6.
    nlb_fragment_v6 = fragment::run::<Ipv6>;
    /// Packets over IPv4 that do not fit the way to their server.
    nlb_too_big_v4 = too_big::run::<Ipv4>;
    /// The same over IPv6.
    nlb_too_big_v6 = too_big::run::<Ipv6>;
    /// ICMP over IPv4: [`icmp`].
    nlb_icmp_v4 = icmp::v4;
    /// ICMPv6, and with it neighbour discovery: [`icmp`].
    nlb_icmp_v6 = icmp::v6;
    /// ARP: [`arp`].
    nlb_arp = arp::run;
}

/// Ends a packet's way, or leaves it to the program that it asks for, else to that of the slot `rest`.
#[inline(always)]
fn done_or_left(ctx: &XdpContext, outcome: Outcome, rest: u32) -> u32 {
    if !outcome.is_open() {
        return done(ctx, outcome);
    }
    done_or_called(ctx, Outcome::call(outcome.called().unwrap_or(rest)))
}

/// Ends a packet's way, or goes on in another program.
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
