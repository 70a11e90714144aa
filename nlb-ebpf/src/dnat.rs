//! `dnat`: both ways. The server sees the client's address and port, and answers by way of the balancer, its router.
//!
//! A connection has an entry of the connection table, as one of `nat`, in a slot that stands for no address, and two
//! names: by its client's packets, and by its server's.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::conn::{Status, reply_seed, translation},
    hash::Tuple,
    packet::protocol,
    tcp::State,
    verdict::Verdict,
};

use crate::{
    clock, config,
    conn::{self, Entry},
    conn_set::{Found, find_reply, rival},
    family::Tables,
    nat,
    open::again,
    outcome::{ASK_KERNEL, NEW_CONN, OPEN_CONN, Outcome, RESET, Step},
    packet::Packet,
    reply, reset, transmit,
};

/// A packet to a listener of `dnat`.
#[inline(always)]
pub(crate) fn client<F: Tables>(ctx: &XdpContext) -> Outcome {
    let mut outcome = known::<F>(ctx);
    if outcome.action() == NEW_CONN {
        outcome = known_before::<F>(ctx);
    }
    if outcome.action() == NEW_CONN {
        outcome = new::<F>(ctx);
        if outcome.action() == OPEN_CONN {
            outcome = known::<F>(ctx);
        }
    }
    // What is seldom needed is done when the frame of all else is gone from the stack.
    match outcome.action() {
        // What is new and not known has been taken away at this very moment.
        NEW_CONN => Outcome::drop(Verdict::DropInternal),
        RESET => reset::run::<F>(ctx, outcome),
        ASK_KERNEL => transmit::as_kernel_knows::<F>(ctx),
        _ => outcome,
    }
}

/// A packet to somebody else from what may be a server of `dnat`.
#[inline(always)]
pub(crate) fn server<F: Tables>(ctx: &XdpContext) -> Outcome {
    let outcome = server_steps::<F>(ctx);
    if outcome.action() == RESET { reset::run::<F>(ctx, outcome) } else { outcome }
}

/// With a stack frame of its own, which is gone when the packet is answered.
#[inline(never)]
fn server_steps<F: Tables>(ctx: &XdpContext) -> Outcome {
    answered::<F>(ctx).unwrap_or(Outcome::pass(Verdict::PassNotOurs))
}

#[inline(never)]
fn known<F: Tables>(ctx: &XdpContext) -> Outcome {
    again::<F>(ctx, nat::known::<F, { translation::DESTINATION }>)
}

/// Of a connection from when the listener's service was one of `nat`.
#[inline(never)]
fn known_before<F: Tables>(ctx: &XdpContext) -> Outcome {
    again::<F>(ctx, nat::known::<F, { translation::BOTH }>)
}

#[inline(never)]
fn new<F: Tables>(ctx: &XdpContext) -> Outcome {
    again::<F>(ctx, nat::new::<F, { translation::DESTINATION }>)
}

/// `None`: it is no reply of a balanced flow, but a packet of its own.
#[inline(always)]
fn answered<F: Tables>(ctx: &XdpContext) -> Option<Outcome> {
    let packet = Packet::<F>::parse(ctx)?;
    // Whoever sends a server's packets here does not look at what they are; of fragments only first ones come.
    if !matches!(packet.network.protocol, protocol::TCP | protocol::UDP) {
        return None;
    }
    let Found { index, entry, status } = connection(&packet)?;
    // That it is one was found out with `status` in hand.
    reply::back(&packet, (index, entry, status), |_| true)
}

/// The connection that a server's packet is a reply of.
#[inline(always)]
pub(crate) fn connection<F: Tables>(packet: &Packet<'_, F>) -> Option<Found<F>> {
    let (network, transport) = (&packet.network, &packet.transport);
    let tuple = Tuple {
        client: network.destination,
        vip: network.source,
        client_port: transport.destination,
        vip_port: transport.source,
        protocol: transport.protocol,
    };
    let hash = tuple.hash(reply_seed(config::hash_seed()));
    find_reply::<F>(&tuple, hash)
}

/// Gives a new connection the name that its server's packets find it by. To the server, a client is its address and port:
/// two connections that differ in nothing but the VIP would be one there, and the second is refused.
#[inline(always)]
pub(crate) fn name<F: Tables>(index: u32, entry: Entry<F>, published: Status) -> Step<()> {
    // SAFETY: a map value that this packet has filled.
    let tuple = unsafe { (*entry).reply_tuple() };
    let hash = tuple.hash(reply_seed(config::hash_seed()));
    let refusal = if !is_free::<F>(&tuple, hash, index) {
        Verdict::DropClash
    } else if !F::name(hash, index) {
        Verdict::DropFlowTableFull
    } else if rival::<F>(&tuple, hash, index).is_none() {
        return Ok(());
    } else {
        // Of two that come at once, at least one meets the other.
        F::unname(hash, index);
        Verdict::DropClash
    };
    conn::abandon::<F>(entry, index, published);
    Err(Outcome::drop(refusal))
}

/// Takes the name away again.
#[inline(always)]
pub(crate) fn unname<F: Tables>(index: u32, entry: Entry<F>) {
    // SAFETY: a map value that this packet has filled.
    let hash = unsafe { (*entry).reply_hash(config::hash_seed()) };
    F::unname(hash, index);
}

/// Whether nobody else needs the name: who has it and is over loses it.
#[inline(always)]
fn is_free<F: Tables>(tuple: &Tuple<F::Address>, hash: u64, index: u32) -> bool {
    let Some(Found { index: other, entry, status }) = rival::<F>(tuple, hash, index) else {
        return true;
    };
    let is_over = status.state() == State::CLOSED || conn::is_available::<F>(entry, status, clock::now());
    if is_over {
        F::unname(hash, other);
    }
    is_over
}
