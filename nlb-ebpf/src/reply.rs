//! From the server to its client.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::{
        backend::state,
        conn::{self as table, Conn, ReturnPath, Status},
    },
    packet::translate,
    tcp::Direction,
    verdict::Verdict,
};

use crate::{
    clock,
    conn::{self, Entry},
    conn_set::Found,
    counters,
    family::Tables,
    forward::expired,
    outcome::Outcome,
    packet::Packet,
    pipeline::{local_address, unclaimed},
    schedule, transmit,
};

/// A packet to a SNAT address: a reply of a balanced flow, or somebody else's.
///
/// Apart from clients' packets, with a stack frame of its own.
#[inline(never)]
pub(crate) fn run<F: Tables>(ctx: &XdpContext) -> Outcome {
    let Some(packet) = Packet::<F>::parse(ctx) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    let local = match local_address::<F>(&packet.network) {
        Ok(local) => local,
        Err(outcome) => return outcome,
    };
    reply(&packet, local.snat.wrapping_sub(1)).unwrap_or_else(|| unclaimed(&local))
}

/// The connection that a packet to a SNAT address is a reply of.
#[inline(always)]
pub(crate) fn connection<F: Tables>(packet: &Packet<'_, F>, slot: u32) -> Option<Found<F>> {
    let index = table::index(slot, packet.transport.destination.get());
    let entry = conn::at::<F>(index)?;
    let status = conn::status::<F>(entry);
    // SAFETY: a map value; should it be rewritten meanwhile, `unchanged` tells.
    let conn = unsafe { &*entry };
    let is_reply = status.is_conn()
        && conn.server == packet.network.source
        && conn.server_port == packet.transport.source
        && conn.protocol == packet.transport.protocol;
    if is_reply { Some(Found { index, entry, status }) } else { None }
}

/// `None`: it is no reply of a balanced flow.
#[inline(always)]
pub(crate) fn reply<F: Tables>(packet: &Packet<'_, F>, slot: u32) -> Option<Outcome> {
    let index = table::index(slot, packet.transport.destination.get());
    let entry = conn::at::<F>(index)?;
    let status = conn::status::<F>(entry);
    if !status.is_conn() {
        return None;
    }
    back(packet, (index, entry, status), |conn| {
        conn.server == packet.network.source
            && conn.server_port == packet.transport.source
            && conn.protocol == packet.transport.protocol
    })
}

/// A server's packet to the client of the connection that it was found to be a reply of; `None`: it `is_reply` of none.
#[inline(always)]
pub(crate) fn back<F: Tables>(
    packet: &Packet<'_, F>,
    (index, entry, status): (u32, Entry<F>, Status),
    is_reply: impl Fn(&Conn<F::Address>) -> bool,
) -> Option<Outcome> {
    // SAFETY: a map value; should it be rewritten meanwhile, `unchanged` tells.
    let conn = unsafe { &*entry };
    let is_reply = is_reply(conn);
    let (listener, backend) = (conn.listener, conn.backend);
    let (source, client) = ((conn.vip, conn.vip_port), (conn.client, conn.client_port));
    let path = ReturnPath::from_words([conn.return_to, conn.return_from, conn.return_via]);
    if !is_reply || !conn::unchanged::<F>(entry, status) {
        return None;
    }
    if packet.network.hops <= 1 {
        return Some(Outcome::drop(Verdict::DropTtlExpired));
    }
    let now = clock::now();
    let state = schedule::state(backend, now);
    if state != state::SERVING {
        conn::close::<F>(entry, index, status);
        return Some(expired(state));
    }
    conn::touch::<F>(entry, index, status, Direction::Reply, packet.transport.flags, now);
    counters::packet(listener, backend, packet.frame.len());
    let bytes = [packet.packet, packet.segment];
    let Some(()) = translate::<F>(bytes, &packet.network, &packet.transport, source, client) else {
        return Some(Outcome::drop(Verdict::DropInternal));
    };
    Some(transmit::along::<F>(packet.ctx, &packet.link, path, Verdict::Reply))
}
