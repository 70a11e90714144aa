//! `nat` and `dnat`: a client's packet to its server, from a port of the balancer's own, or from the client's. The way back
//! is [`crate::reply`]. What is rewritten is a [`translation`], known at compile time.

use nlb_common::{
    abi::{
        backend::{Backend, forwarding, state},
        conn::{Conn, ReturnPath, Status, slot, translation},
        conn_set,
    },
    be::Be16,
    packet::{Macs, translate, translate_destination},
    tcp::{Direction, State},
    ticks::Ticks,
    verdict::Verdict,
};

use crate::{
    conn::{self, Entry},
    conn_set::{Found, find},
    counters, dnat,
    family::Tables,
    forward::{Arrival, expired},
    outcome::{NEW_CONN, OPEN_CONN, Outcome, RESET, Step},
    packet::Packet,
    schedule::{self, Numbered, Request},
    shared, transmit,
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

/// A packet of a flow whose handshake is complete; all else goes to [`known`].
#[inline(always)]
pub(crate) fn established<F: Tables>(arrival: &Arrival<'_, F>) -> Step<Outcome> {
    let open = Err(Outcome::new(Verdict::Forward, OPEN_CONN));
    let known = find::<F, { translation::BOTH }>(&arrival.tuple(), arrival.hash);
    let Some(Found { index, entry, status }) = known else {
        return open;
    };
    let state = status.state();
    if state.is_half_open() || !state.is_active() {
        return open;
    }
    let now = arrival.now();
    let Some(route) = route::<F>(now, index, entry, status) else {
        return open;
    };
    let next_hop = arrival.packet.next_hop(route.backend)?;
    let flags = arrival.packet.transport.flags;
    conn::touch::<F>(entry, index, status, Direction::Forward, flags, now);
    note_return_path::<F>(&arrival.packet, entry)?;
    send::<F, { translation::BOTH }>(arrival, &route, next_hop)
}

/// The route of a connection whose server's time is not over.
#[inline(always)]
fn route<F: Tables>(now: Ticks, index: u32, entry: Entry<F>, status: Status) -> Option<Route<F>> {
    // SAFETY: a map value; should it be rewritten meanwhile, `unchanged` tells.
    let (server, number) = unsafe { (((*entry).server, (*entry).server_port), (*entry).backend) };
    if !conn::unchanged::<F>(entry, status) {
        return None;
    }
    let (_, backend) = schedule::serving(number, now)?;
    Some(Route { number, backend, server, index })
}

/// Handshakes, and what comes after the end; what no connection knows, or what uses the ports of a closed one again,
/// goes to [`new`].
#[inline(always)]
pub(crate) fn known<F: Tables, const TRANSLATION: u8>(arrival: &Arrival<'_, F>) -> Step<Outcome> {
    let new = Err(Outcome::new(Verdict::Forward, NEW_CONN));
    let known = find::<F, TRANSLATION>(&arrival.tuple(), arrival.hash);
    let Some(Found { index, entry, status }) = known else {
        return new;
    };
    let flags = arrival.packet.transport.flags;
    if status.state() == State::CLOSED && flags.opens() {
        F::unname(arrival.hash, index);
        return new;
    }
    // SAFETY: a map value; should it be rewritten meanwhile, `unchanged` tells.
    let number = unsafe { (*entry).backend };
    if !conn::unchanged::<F>(entry, status) {
        return new;
    }
    let now = arrival.now();
    let state = schedule::state(number, now);
    if state != state::SERVING {
        conn::close::<F>(entry, index, status);
        if arrival.is_tcp() && !flags.opens() {
            return Err(expired(state));
        }
        // A new connection is a new connection; and over UDP nobody can be told that the old one is over.
        F::unname(arrival.hash, index);
        return new;
    }
    let Some(route) = route::<F>(now, index, entry, status) else {
        return new;
    };
    let completes = status.state().after(Direction::Forward, flags) == State::ESTABLISHED
        && status.state() == State::ANSWERED;
    if completes {
        hold::<F>(arrival, index, entry, status, number);
    }
    conn::touch::<F>(entry, index, status, Direction::Forward, flags, now);
    note_return_path::<F>(&arrival.packet, entry)?;
    send::<F, TRANSLATION>(arrival, &route, arrival.packet.next_hop(route.backend)?)
}

/// Has an established connection hold its client's persistence entry.
#[inline(always)]
fn hold<F: Tables>(arrival: &Arrival<'_, F>, index: u32, entry: Entry<F>, seen: Status, backend: u32) {
    let link = schedule::hold(arrival.client(), arrival.listener, backend);
    if link != 0 {
        conn::establish::<F>(entry, index, seen, link);
    }
}

/// A new flow, if the packet may open one.
#[inline(always)]
pub(crate) fn new<F: Tables, const TRANSLATION: u8>(arrival: &Arrival<'_, F>) -> Step<Outcome> {
    if arrival.is_tcp() && !arrival.packet.transport.flags.opens() {
        return Err(Outcome::new(Verdict::ResetUnknownFlow, RESET));
    }
    if arrival.listener.is_closed_to_new() {
        return Err(Outcome::drop(Verdict::DropListenerDisabled));
    }
    let request = Request {
        client: arrival.client(),
        hash: arrival.hash,
        listener: arrival.listener.number,
        family: F::SERVICE_INDEX,
        pressed: false,
    };
    let no_backend = Outcome::drop(Verdict::DropNoBackend);
    let chosen = schedule::serving(request.choose()?, arrival.now()).ok_or(no_backend)?;
    let (number, _) = chosen;
    let (index, entry, published) = connect::<F, TRANSLATION>(arrival, chosen)?;
    if TRANSLATION == translation::DESTINATION {
        dnat::name::<F>(index, entry, published)?;
    }
    if !F::name(arrival.hash, index) {
        if TRANSLATION == translation::DESTINATION {
            dnat::unname::<F>(index, entry);
        }
        conn::abandon::<F>(entry, index, published);
        return Err(Outcome::drop(Verdict::DropFlowTableFull));
    }
    if !arrival.is_tcp() {
        hold::<F>(arrival, index, entry, published, number);
    }
    counters::connection(arrival.listener.number, number);
    // From here on it is known.
    Ok(Outcome::new(Verdict::Forward, OPEN_CONN))
}

/// Takes a port for a new connection and fills its entry.
#[inline(always)]
fn connect<F: Tables, const TRANSLATION: u8>(
    arrival: &Arrival<'_, F>,
    (number, backend): Numbered,
) -> Step<(u32, Entry<F>, Status)> {
    // SAFETY: a map value whose address, port and SNAT slots do not change while the number is in use.
    let target = unsafe { &*backend };
    let mode = if TRANSLATION == translation::DESTINATION { forwarding::DNAT } else { forwarding::NAT };
    if target.forwarding != mode {
        // The listener is being given to a service of another mode at this very moment.
        return Err(Outcome::drop(Verdict::DropNoBackend));
    }
    let exhausted = Outcome::drop(Verdict::DropPortsExhausted);
    let (index, reserved) = take::<F>(number, arrival.hash).ok_or(exhausted)?;
    let entry = conn::at::<F>(index).ok_or(exhausted)?;
    let [return_to, return_from, return_via] = return_path(&arrival.packet)?;
    let tuple = arrival.tuple();
    // SAFETY: a map value that is reserved for this packet.
    let conn: &mut Conn<F::Address> = unsafe { &mut *entry };
    conn.return_to = return_to;
    conn.return_from = return_from;
    conn.return_via = return_via;
    conn.last_seen = arrival.now().0;
    conn.digest = conn_set::digest(arrival.hash);
    conn.backend = number;
    conn.listener = arrival.listener.number;
    conn.client = tuple.client;
    conn.vip = tuple.vip;
    conn.server = F::narrow(target.address);
    conn.client_port = tuple.client_port;
    conn.vip_port = tuple.vip_port;
    conn.server_port = target.port;
    conn.protocol = tuple.protocol;
    conn.translation = TRANSLATION;
    Ok((index, entry, conn::publish::<F>(entry, reserved, tuple.protocol, number)))
}

/// How many addresses are tried for a free port.
const ADDRESSES: u32 = 8;

/// A port of one of the backend's SNAT addresses.
#[inline(always)]
fn take<F: Tables>(number: u32, hash: u64) -> Option<(u32, Status)> {
    let mut slot = F::slot_for(number, hash, None)?;
    for _ in 0..ADDRESSES {
        if let Some(taken) = F::take(number, slot) {
            return Some(taken);
        }
        slot = F::slot_for(number, hash, Some(slot))?;
    }
    None
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

/// A fragment other than the first, whose connection the first one has made, if it was to.
#[inline(always)]
pub(crate) fn fragment<F: Tables, const TRANSLATION: u8>(arrival: &Arrival<'_, F>) -> Step<Outcome> {
    let packet = &arrival.packet;
    let unknown = Outcome::drop(Verdict::DropFragment);
    let found = find::<F, TRANSLATION>(&arrival.tuple(), arrival.hash).ok_or(unknown)?;
    let route = route::<F>(arrival.now(), found.index, found.entry, found.status).ok_or(unknown)?;
    let next_hop = packet.next_hop(route.backend)?;
    counters::packet(arrival.listener.number, route.number, packet.frame.len());
    let failed = Outcome::drop(Verdict::DropInternal);
    let source = if TRANSLATION == translation::DESTINATION {
        packet.network.source
    } else {
        let snat = F::snats().get_ptr(slot(route.index)).ok_or(failed)?;
        // SAFETY: a map value; the address does not change while a backend names the slot.
        F::narrow(unsafe { (*snat).address })
    };
    F::readdress(packet.packet, &packet.network, source, route.server.0).ok_or(failed)?;
    Ok(transmit::to_next_hop(packet, next_hop))
}

/// Counts the packet, rewrites it and sends it.
#[inline(always)]
fn send<F: Tables, const TRANSLATION: u8>(
    arrival: &Arrival<'_, F>,
    route: &Route<F>,
    next_hop: u64,
) -> Step<Outcome> {
    let packet = &arrival.packet;
    counters::packet(arrival.listener.number, route.number, packet.frame.len());
    let (bytes, network, transport) = ([packet.packet, packet.segment], &packet.network, &packet.transport);
    let failed = Outcome::drop(Verdict::DropInternal);
    if TRANSLATION == translation::DESTINATION {
        translate_destination::<F>(bytes, network, transport, route.server).ok_or(failed)?;
    } else {
        let snat = F::snats().get_ptr(slot(route.index)).ok_or(failed)?;
        // SAFETY: a map value; the address does not change while a backend names the slot.
        let source = (F::narrow(unsafe { (*snat).address }), conn::snat_port(route.index));
        translate::<F>(bytes, network, transport, source, route.server).ok_or(failed)?;
    }
    Ok(transmit::to_next_hop(packet, next_hop))
}
