//! From the client to its server.

use nlb_common::{
    abi::{
        backend::{Backend, state},
        conn::{Conn, ReturnPath},
        flow,
    },
    be::Be16,
    hash::Tuple,
    packet::{Macs, protocol, translate},
    tcp::{Direction, State},
    verdict::Verdict,
};

use crate::{
    clock, config,
    conn::{self, Entry},
    counters,
    family::Tables,
    flow::Found,
    maps::LISTENERS,
    outcome::{Outcome, RESET, Step},
    pipeline::Packet,
    schedule, shared, transmit,
};

/// Where a client's packet goes.
struct Route<F: Tables> {
    /// Number of the backend.
    number: u32,
    /// Its entry.
    backend: *const Backend,
    /// The server's address and port.
    server: (F::Address, Be16),
    /// Index of the connection.
    index: u32,
}

/// A client's packet to a listener.
#[inline(always)]
pub(crate) fn run<F: Tables>(packet: &Packet<'_, F>, listener: u32) -> Step<Outcome> {
    if packet.network.hops <= 1 {
        return Err(Outcome::drop(Verdict::DropTtlExpired));
    }
    let tuple = Tuple {
        client: packet.network.source,
        vip: packet.network.destination,
        client_port: packet.transport.source,
        vip_port: packet.transport.destination,
        protocol: packet.transport.protocol,
    };
    let hash = tuple.hash(config::hash_seed());
    let route = match existing::<F>(packet, &tuple, hash)? {
        Some(route) => route,
        None => open::<F>(packet, &tuple, hash, listener)?,
    };
    counters::packet(listener, route.number, packet.frame.len());
    send(packet, &route)
}

/// The route of a flow that is known; `None` if it is not, or if the client reuses the ports of a closed one.
#[inline(always)]
fn existing<F: Tables>(
    packet: &Packet<'_, F>,
    tuple: &Tuple<F::Address>,
    hash: u64,
) -> Step<Option<Route<F>>> {
    let Some(Found { index, entry, status }) = crate::flow::find::<F>(tuple, hash) else {
        return Ok(None);
    };
    if status.state() == State::CLOSED && packet.transport.flags.opens() {
        crate::flow::remove::<F>(hash, index);
        return Ok(None);
    }
    // SAFETY: a map value; should it be rewritten meanwhile, `unchanged` tells.
    let (server, number) = unsafe { (((*entry).server, (*entry).server_port), (*entry).backend) };
    if !conn::unchanged::<F>(entry, status) {
        return Ok(None);
    }
    let backend = schedule::backend(number);
    let expired = !matches!(backend, Some((_, state::SERVING)));
    if expired && packet.transport.protocol == protocol::UDP {
        // Nobody can be told that the flow is over; it goes on with another server.
        conn::close::<F>(entry, status);
        crate::flow::remove::<F>(hash, index);
        return Ok(None);
    }
    match backend {
        Some((backend, state::SERVING)) => {
            conn::touch::<F>(entry, status, Direction::Forward, packet.transport.flags);
            note_return_path::<F>(packet, entry)?;
            Ok(Some(Route { number, backend, server, index }))
        }
        Some((_, state::EXPIRED_SILENT)) => {
            conn::close::<F>(entry, status);
            Err(Outcome::drop(Verdict::DropExpired))
        }
        _ => {
            conn::close::<F>(entry, status);
            Err(Outcome::new(Verdict::ResetExpired, RESET))
        }
    }
}

/// The route of a new flow, if the packet may open one.
#[inline(always)]
fn open<F: Tables>(
    packet: &Packet<'_, F>,
    tuple: &Tuple<F::Address>,
    hash: u64,
    listener: u32,
) -> Step<Route<F>> {
    if packet.transport.protocol == protocol::TCP && !packet.transport.flags.opens() {
        return Err(Outcome::new(Verdict::ResetUnknownFlow, RESET));
    }
    let service = service_for_new(listener)?;
    let (number, backend) = schedule::pick::<F>(service)?;
    // SAFETY: a map value whose address, port and SNAT slots do not change while the number is in use.
    let target = unsafe { &*backend };
    let server = (F::narrow(target.address), target.port);
    let (index, entry, reserved) =
        conn::take::<F>(target, hash).ok_or_else(|| Outcome::drop(Verdict::DropPortsExhausted))?;
    let [return_to, return_from, return_via] = return_path(packet)?;
    // SAFETY: a map value that is reserved for this packet.
    let conn: &mut Conn<F::Address> = unsafe { &mut *entry };
    conn.return_to = return_to;
    conn.return_from = return_from;
    conn.return_via = return_via;
    conn.last_seen = clock::now().0;
    conn.digest = flow::digest(hash);
    conn.backend = number;
    conn.listener = listener;
    conn.client = tuple.client;
    conn.vip = tuple.vip;
    conn.server = server.0;
    conn.client_port = tuple.client_port;
    conn.vip_port = tuple.vip_port;
    conn.server_port = server.1;
    conn.protocol = tuple.protocol;
    let published = conn::publish::<F>(entry, reserved, tuple.protocol);
    if !crate::flow::insert::<F>(hash, index) {
        conn::abandon::<F>(entry, published);
        return Err(Outcome::drop(Verdict::DropFlowTableFull));
    }
    counters::connection(listener, number);
    Ok(Route { number, backend, server, index })
}

/// The service that a new connection of a listener goes to.
#[inline(always)]
fn service_for_new(listener: u32) -> Step<u32> {
    let Some(listener) = LISTENERS.get_ptr(listener) else {
        return Err(Outcome::drop(Verdict::DropNoListener));
    };
    // SAFETY: a map value, aligned.
    let (service, closed_to_new) = unsafe {
        (shared::read(&raw const (*listener).service), shared::read(&raw const (*listener).closed_to_new))
    };
    if closed_to_new != 0 { Err(Outcome::drop(Verdict::DropListenerDisabled)) } else { Ok(service) }
}

/// The way back, as it stands in a connection: through whoever handed the packet in.
#[inline(always)]
fn return_path<F: Tables>(packet: &Packet<'_, F>) -> Step<[u64; 3]> {
    let macs = Macs::read(packet.frame).ok_or(Outcome::drop(Verdict::DropInternal))?.swapped();
    let ifindex = packet.ctx.ingress_ifindex() as u32;
    Ok(ReturnPath { macs, ifindex, tags: packet.link.tags }.to_words())
}

/// Keeps the way back of a known flow: another router may have taken over.
#[inline(always)]
fn note_return_path<F: Tables>(packet: &Packet<'_, F>, entry: Entry<F>) -> Step<()> {
    let [to, from, via] = return_path(packet)?;
    // SAFETY: a map value, aligned; each word is consistent in itself.
    unsafe {
        if shared::read(&raw const (*entry).return_to) != to {
            shared::write(&raw mut (*entry).return_to, to);
        }
        if shared::read(&raw const (*entry).return_from) != from {
            shared::write(&raw mut (*entry).return_from, from);
        }
        if shared::read(&raw const (*entry).return_via) != via {
            shared::write(&raw mut (*entry).return_via, via);
        }
    }
    Ok(())
}

/// Rewrites the packet and sends it.
#[inline(always)]
fn send<F: Tables>(packet: &Packet<'_, F>, route: &Route<F>) -> Step<Outcome> {
    let Some(snat) = F::snats().get_ptr(nlb_common::abi::conn::slot(route.index)) else {
        return Err(Outcome::drop(Verdict::DropInternal));
    };
    // SAFETY: a map value; the address does not change while a backend names the slot.
    let source = (F::narrow(unsafe { (*snat).address }), conn::snat_port(route.index));
    translate::<F>(packet.frame, &packet.network, &packet.transport, source, route.server)
        .ok_or_else(|| Outcome::drop(Verdict::DropInternal))?;
    // SAFETY: a map value, aligned.
    let next_hop = unsafe { shared::read(&raw const (*route.backend).next_hop) };
    Ok(transmit::to_next_hop(packet, next_hop))
}
