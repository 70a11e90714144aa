//! Listeners that not everybody may use: whose packet goes on, and what becomes of the others and their flows.
//!
//! Whether a listener has an access list is told by a word that [`crate::plain`] compares anyway: it hands such packets to
//! a program of their own. That one lets them in and goes on as `plain` would have; what is not plain goes to the rest,
//! which asks once more.

use aya_ebpf::{maps::lpm_trie::Key, programs::XdpContext};
use nlb_common::{
    abi::{
        acl::{ACL_BITS, ALLOW, AclKey},
        conn::translation,
        listener::tracking,
    },
    verdict::Verdict,
};

use crate::{
    conn,
    conn_set::{self, Found},
    dnat,
    family::Tables,
    first, flow,
    forward::{self, Arrival},
    listener::{self, First},
    outcome::{DENIED, OPEN_FLOW, Outcome, Step},
    packet::Packet,
};

/// A plain packet to a listener with an access list.
#[inline(always)]
pub(crate) fn plain<F: Tables>(ctx: &XdpContext) -> Outcome {
    let outcome = match plain_steps::<F>(ctx) {
        Ok(outcome) | Err(outcome) => outcome,
    };
    match outcome.action() {
        OPEN_FLOW => Outcome::call(F::OPEN_SLOT),
        DENIED => deny::<F>(ctx),
        _ if outcome.is_open() && outcome.called().is_none() => Outcome::call(F::REST_SLOT),
        _ => outcome,
    }
}

#[inline(always)]
fn plain_steps<F: Tables>(ctx: &XdpContext) -> Step<Outcome> {
    let packet = Packet::<F>::plain(ctx).ok_or(Outcome::rest())?;
    let First::Found(listener, hasher) = listener::first::<F>(&packet.destination()) else {
        return Err(Outcome::rest());
    };
    let mut arrival = Arrival::at(packet, listener, hasher);
    check(&arrival)?;
    arrival.is_admitted = true;
    if first::is_for(&arrival) { first::run(&arrival) } else { forward::run(&arrival) }
}

/// Whether a client may use the listener.
#[inline(always)]
pub(crate) fn check<F: Tables>(arrival: &Arrival<'_, F>) -> Step<()> {
    let acl = arrival.listener.acl();
    if acl == 0 || allows::<F>(acl, arrival.packet.network.source) {
        return Ok(());
    }
    Err(Outcome::new(Verdict::DropSecurityGroup, DENIED))
}

/// Whether a client is on a list: what its longest prefix says that matches.
#[inline(always)]
fn allows<F: Tables>(acl: u32, address: F::Address) -> bool {
    let bits = ACL_BITS + 8 * size_of::<F::Address>() as u32;
    let key = Key::new(bits, AclKey { acl, address });
    F::acls().get(&key).is_some_and(|access| *access == ALLOW)
}

/// Drops the packet of a client that may not use the listener, and ends its flow: it may have been allowed before.
///
/// Apart, with a stack frame of its own.
#[inline(never)]
pub(crate) fn deny<F: Tables>(ctx: &XdpContext) -> Outcome {
    if let Some(arrival) = Arrival::<F>::again(ctx) {
        match arrival.listener.tracking() {
            tracking::NAT => end_conn::<F, { translation::BOTH }>(&arrival),
            tracking::DNAT => end_conn::<F, { translation::DESTINATION }>(&arrival),
            tracking::NONE => {}
            _ => end_flow(&arrival),
        }
    }
    Outcome::drop(Verdict::DropSecurityGroup)
}

#[inline(always)]
fn end_conn<F: Tables, const TRANSLATION: u8>(arrival: &Arrival<'_, F>) {
    let known = conn_set::find::<F, TRANSLATION>(&arrival.tuple(), arrival.hash);
    if let Some(Found { index, entry, status }) = known {
        if TRANSLATION == translation::DESTINATION {
            dnat::unname::<F>(index, entry);
        }
        conn::end::<F>(entry, index, status);
        F::unname(arrival.hash, index);
    }
}

#[inline(always)]
fn end_flow<F: Tables>(arrival: &Arrival<'_, F>) {
    let key = arrival.key().0;
    flow::end_half_open(key, arrival.hash);
    // Who was never let in has no flow there, and the table is out in memory.
    if flow::may_be_recorded(arrival.hash) {
        flow::end_flow(key, arrival.hash);
    }
}
