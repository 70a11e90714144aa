//! From the server to its client.

use nlb_common::{
    abi::{
        backend::state,
        conn::{self as table, ReturnPath},
    },
    packet::translate,
    tcp::Direction,
    verdict::Verdict,
};

use crate::{
    conn, counters,
    family::Tables,
    outcome::{Outcome, RESET},
    pipeline::Packet,
    schedule, transmit,
};

/// A packet to a SNAT address; `None` if it is no reply of a balanced flow.
#[inline(always)]
pub(crate) fn run<F: Tables>(packet: &Packet<'_, F>, slot: u32) -> Option<Outcome> {
    let index = table::index(slot, packet.transport.destination.get());
    let entry = conn::at::<F>(index)?;
    let status = conn::status::<F>(entry);
    if !status.is_conn() {
        return None;
    }
    // SAFETY: a map value; should it be rewritten meanwhile, `unchanged` tells.
    let conn = unsafe { &*entry };
    let is_reply = conn.server == packet.network.source
        && conn.server_port == packet.transport.source
        && conn.protocol == packet.transport.protocol;
    let (listener, backend) = (conn.listener, conn.backend);
    let (source, client) = ((conn.vip, conn.vip_port), (conn.client, conn.client_port));
    let path = ReturnPath::from_words([conn.return_to, conn.return_from, conn.return_via]);
    if !is_reply || !conn::unchanged::<F>(entry, status) {
        return None;
    }
    if packet.network.hops <= 1 {
        return Some(Outcome::drop(Verdict::DropTtlExpired));
    }
    match schedule::backend(backend) {
        Some((_, state::SERVING)) => {}
        Some((_, state::EXPIRED_SILENT)) => {
            conn::close::<F>(entry, status);
            return Some(Outcome::drop(Verdict::DropExpired));
        }
        _ => {
            conn::close::<F>(entry, status);
            return Some(Outcome::new(Verdict::ResetExpired, RESET));
        }
    }
    conn::touch::<F>(entry, status, Direction::Reply, packet.transport.flags);
    counters::packet(listener, backend, packet.frame.len());
    let Some(()) = translate::<F>(packet.frame, &packet.network, &packet.transport, source, client) else {
        return Some(Outcome::drop(Verdict::DropInternal));
    };
    Some(transmit::along::<F>(packet.ctx, &packet.link, path, Verdict::Reply))
}
