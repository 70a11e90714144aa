//! Fragments: the first one has the transport header and goes the way of any packet, once its ports are noted; the others go
//! where a packet with these ports goes. What comes before the first one cannot be told from anything, and is dropped.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::{
        backend::state,
        conn::{ReturnPath, translation},
        fragment::{FragmentKey, FragmentPorts, TIMEOUT, kind},
        handover::NOTED,
        listener::tracking,
    },
    be::Be16,
    packet::{Link, Transport, protocol},
    tcp::Flags,
    ticks::Ticks,
    verdict::Verdict,
};

use crate::{
    clock, conn,
    conn_set::Found,
    counters, dnat,
    family::Tables,
    forward::{self, Arrival},
    guard, handover, listener,
    maps::{BACKENDS, FRAGMENTS},
    nat, open,
    outcome::{ASK_KERNEL, OPEN_CONN, Outcome, RESET, Step, TUNNEL},
    packet::{Packet, frame, usable_transport},
    pipeline::{local_address, unclaimed},
    reply, route, schedule, transmit,
};

/// A fragment's end, or the program that goes on with a first one.
#[inline(always)]
pub(crate) fn run<F: Tables>(ctx: &XdpContext) -> Outcome {
    let ports = match look::<F>(ctx) {
        Ok(ports) => ports,
        Err(outcome) => return outcome,
    };
    let routed = routed::<F>(ctx, ports);
    let outcome = match routed.action() {
        TUNNEL => tunneled::<F>(ctx, ports, routed.backend()),
        OPEN_CONN => translated::<F>(ctx, ports),
        // There is no header that an answer could be made of.
        RESET => Outcome::drop(Verdict::DropFragment),
        _ => routed,
    };
    if outcome.action() == ASK_KERNEL { transmit::as_kernel_knows::<F>(ctx) } else { outcome }
}

/// Ports and protocol in one register.
#[derive(Clone, Copy)]
struct Ports(u64);

impl Ports {
    #[inline(always)]
    const fn of(ports: &FragmentPorts) -> Self {
        let words = (ports.source.raw() as u64) << 16 | ports.destination.raw() as u64;
        Self((ports.protocol as u64) << 32 | words)
    }

    /// The transport header that the fragment's packet has; nothing of it lies in the fragment.
    #[inline(always)]
    const fn transport(self) -> Transport {
        let protocol = (self.0 >> 32) as u8;
        Transport {
            source: Be16::from_raw((self.0 >> 16) as u16),
            destination: Be16::from_raw(self.0 as u16),
            protocol,
            flags: if protocol == protocol::TCP { Flags::ACK } else { Flags(0) },
        }
    }
}

/// Notes a first fragment's ports, finds those of another.
#[inline(never)]
fn look<F: Tables>(ctx: &XdpContext) -> Step<Ports> {
    let malformed = Outcome::pass(Verdict::PassMalformed);
    let frame = frame(ctx);
    let link = Link::parse(frame).ok_or(malformed)?;
    let packet = frame.after(link.len()).proven(F::HEADER_LEN).ok_or(malformed)?;
    let (network, fragment) = F::fragment(ctx, packet).ok_or(malformed)?;
    // The table is for what the balancer rewrites.
    let local = match local_address::<F>(&network) {
        Ok(local) => Some(local),
        Err(outcome) if outcome.called() == Some(F::BACK_SLOT) => None,
        Err(outcome) => return Err(outcome),
    };
    let key = FragmentKey {
        source: F::widen(network.source),
        destination: F::widen(network.destination),
        id: fragment.id,
        kind: kind(F::NUMBER, network.protocol),
    };
    let now = clock::now();
    if fragment.is_first {
        if let Some(transport) = usable_transport::<F>(packet.after(network.header_len.into()), &network) {
            let Transport { source, destination, protocol, .. } = transport;
            let ports = FragmentPorts { source, destination, protocol: protocol.into(), seen: now.0 };
            // Without room the others are dropped, and counted then.
            let _ = FRAGMENTS.insert(key, ports, 0);
        }
        handover::leave(NOTED);
        return Err(Outcome::call(F::REST_SLOT));
    }
    // SAFETY: a value may be replaced meanwhile: by one of another packet with the same identification.
    match unsafe { FRAGMENTS.get(key) } {
        Some(ports) if Ticks(ports.seen).age(now) < TIMEOUT => Ok(Ports::of(ports)),
        _ => match local {
            Some(local) if local.vip != 0 && local.host == 0 => Err(Outcome::drop(Verdict::DropFragment)),
            Some(local) => Err(unclaimed(&local)),
            None => Err(Outcome::pass(Verdict::PassNotOurs)),
        },
    }
}

/// The backend of a fragment that goes to a server as it is, or that addresses are to be translated.
#[inline(never)]
fn routed<F: Tables>(ctx: &XdpContext, ports: Ports) -> Outcome {
    arrived::<F>(ctx, ports, |packet| match listener::find::<F>(&packet.destination()) {
        Some((listener, hasher)) if !matches!(listener.tracking(), tracking::NAT | tracking::DNAT) => {
            let arrival = Arrival::at(packet, listener, hasher);
            admitted(&arrival)?;
            match forward::unrecorded(&arrival) {
                Some(Ok((backend, _))) => {
                    Ok(open::counted(&arrival, route::Found { backend, is_new: false }))
                }
                Some(Err(outcome)) => Err(outcome),
                None => open::route(&arrival),
            }
        }
        _ => Err(Outcome::new(Verdict::Forward, OPEN_CONN)),
    })
}

/// Sends a fragment whose backend was found.
#[inline(never)]
fn tunneled<F: Tables>(ctx: &XdpContext, ports: Ports, backend: u32) -> Outcome {
    arrived::<F>(ctx, ports, |packet| {
        let backend = BACKENDS.get_ptr(backend).ok_or(Outcome::drop(Verdict::DropInternal))?;
        forward::deliver(&packet, backend, packet.next_hop(backend)?)
    })
}

/// Sends a fragment of a connection, in either direction.
#[inline(never)]
fn translated<F: Tables>(ctx: &XdpContext, ports: Ports) -> Outcome {
    arrived::<F>(ctx, ports, |packet| match listener::find::<F>(&packet.destination()) {
        Some((listener, hasher)) => {
            let is_dnat = listener.tracking() == tracking::DNAT;
            let arrival = Arrival::at(packet, listener, hasher);
            admitted(&arrival)?;
            if is_dnat {
                nat::fragment::<F, { translation::DESTINATION }>(&arrival)
            } else {
                nat::fragment::<F, { translation::BOTH }>(&arrival)
            }
        }
        None => to_client(&packet),
    })
}

/// Its flow ends with the next packet that is none of these.
#[inline(always)]
fn admitted<F: Tables>(arrival: &Arrival<'_, F>) -> Step<()> {
    guard::check(arrival).map_err(|_| Outcome::drop(Verdict::DropSecurityGroup))
}

#[inline(always)]
fn arrived<'a, F: Tables>(
    ctx: &'a XdpContext,
    ports: Ports,
    step: impl Fn(Packet<'a, F>) -> Step<Outcome>,
) -> Outcome {
    let Some(packet) = Packet::of_transport(ctx, ports.transport()) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    if packet.network.hops <= 1 {
        return Outcome::drop(Verdict::DropTtlExpired);
    }
    match step(packet) {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

/// A server's fragment, to its client.
#[inline(always)]
fn to_client<F: Tables>(packet: &Packet<'_, F>) -> Step<Outcome> {
    let gone = Outcome::drop(Verdict::DropFragment);
    let (found, unclaimed) = match local_address::<F>(&packet.network) {
        Ok(local) if local.snat != 0 => (reply::connection(packet, local.snat - 1), unclaimed(&local)),
        Ok(local) => return Err(unclaimed(&local)),
        Err(outcome) if outcome.called() == Some(F::BACK_SLOT) => {
            (dnat::connection(packet), Outcome::pass(Verdict::PassNotOurs))
        }
        Err(outcome) => return Err(outcome),
    };
    let Found { index: _, entry, status } = found.ok_or(unclaimed)?;
    // SAFETY: a map value; should it be rewritten meanwhile, `unchanged` tells.
    let conn = unsafe { &*entry };
    let (listener, backend, vip, client) = (conn.listener, conn.backend, conn.vip, conn.client);
    let path = ReturnPath::from_words([conn.return_to, conn.return_from, conn.return_via]);
    if !conn::unchanged::<F>(entry, status) {
        return Err(gone);
    }
    if schedule::state(backend, clock::now()) != state::SERVING {
        return Err(Outcome::drop(Verdict::DropExpired));
    }
    counters::packet(listener, backend, packet.frame.len());
    F::readdress(packet.packet, &packet.network, vip, client).ok_or(Outcome::drop(Verdict::DropInternal))?;
    Ok(transmit::along::<F>(packet.ctx, &packet.link, path, Verdict::Reply))
}
