//! From the client to its server: what is known goes at once, what is not goes to [`crate::open`].

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::{
        backend::{Backend, forwarding, state},
        flow::{Key, state as flow_state},
        listener::tracking,
        ring::Slot,
    },
    be::Be16,
    flow_set,
    hash::{Hasher, Tuple},
    packet::protocol,
    ticks::Ticks,
    verdict::Verdict,
};

use crate::{
    clock, config, counters, dsr,
    family::{Tables, Words},
    flow,
    listener::{self, Listening},
    maps::BACKENDS,
    nat,
    outcome::{OPEN_FLOW, Outcome, RESET, Step},
    packet::Packet,
    schedule::{self, Numbered},
    tunnel,
};

/// A client's packet at its listener.
pub(crate) struct Arrival<'a, F: Tables> {
    /// The packet.
    pub packet: Packet<'a, F>,
    /// The listener.
    pub listener: Listening,
    /// The flow's hash.
    pub hash: u64,
    /// Whether the listener's access list is none of the caller's business: its client is on it, or it will be asked for.
    pub is_admitted: bool,
}

impl<'a, F: Tables> Arrival<'a, F> {
    /// A packet at its listener, from whose hash the flow's goes on.
    #[inline(always)]
    pub(crate) fn at(packet: Packet<'a, F>, listener: Listening, hasher: Hasher) -> Self {
        let (client, port) = (packet.network.source, packet.transport.source);
        let hash = hasher.with_client(client, port, config::hash_seed());
        // The rest has asked, or does so first.
        let is_admitted = !packet.is_plain;
        Self { packet, listener, hash, is_admitted }
    }

    /// The same once more, in a stack frame of its own.
    #[inline(always)]
    pub(crate) fn again(ctx: &'a XdpContext) -> Option<Self> {
        let packet = Packet::parse(ctx)?;
        let (listener, hasher) = listener::find::<F>(&packet.destination())?;
        Some(Self::at(packet, listener, hasher))
    }

    /// The time; not every packet needs it.
    #[inline(always)]
    pub(crate) fn now(&self) -> Ticks {
        clock::now()
    }

    /// What identifies the flow.
    #[inline(always)]
    pub(crate) fn tuple(&self) -> Tuple<F::Address> {
        let (network, transport) = (&self.packet.network, &self.packet.transport);
        Tuple {
            client: network.source,
            vip: network.destination,
            client_port: transport.source,
            vip_port: transport.destination,
            protocol: transport.protocol,
        }
    }

    /// The flow's key in the flow table.
    #[inline(always)]
    pub(crate) fn key(&self) -> Key {
        let (client, port): (F::Address, Be16) = (self.packet.network.source, self.packet.transport.source);
        F::flow_key(client, port, self.listener.number, self.hash)
    }

    /// The client's address.
    #[inline(always)]
    pub(crate) fn client(&self) -> Words {
        Words::of(F::widen(self.packet.network.source))
    }

    /// What is remembered of the flow; none of the values of [`tracking`] if the client's admission is open.
    #[inline(always)]
    pub(crate) fn tracking(&self) -> u32 {
        if self.is_admitted { self.listener.tracking() } else { self.listener.guarded_tracking() }
    }

    /// Whether the packet is TCP.
    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        self.packet.transport.protocol == protocol::TCP
    }
}

/// Counts a client's packet and sends it to its server, however that takes packets that stay what they are.
#[inline(always)]
fn send<F: Tables>(packet: &Packet<'_, F>, listener: u32, (number, backend): Numbered) -> Step<Outcome> {
    let next_hop = packet.next_hop(backend)?;
    counters::packet(listener, number, packet.frame.len());
    deliver(packet, backend, next_hop)
}

/// As [`send`], a plain packet. It is parsed anew, so that nothing of it has to be kept over the calls that found the
/// backend: what is kept the compiler stores early, for packets that need no calls, too.
#[inline(always)]
pub(crate) fn send_plain<F: Tables>(ctx: &XdpContext, listener: u32, number: u32) -> Step<Outcome> {
    let failed = Outcome::drop(Verdict::DropInternal);
    let packet = Packet::<F>::plain(ctx).ok_or(failed)?;
    let backend = BACKENDS.get_ptr(number).ok_or(failed)?;
    send(&packet, listener, (number, backend))
}

/// Sends a client's packet to its server: in a tunnel, or as it is.
#[inline(always)]
pub(crate) fn deliver<F: Tables>(
    packet: &Packet<'_, F>,
    backend: *const Backend,
    next_hop: u64,
) -> Step<Outcome> {
    // SAFETY: a map value; the mode does not change while the number is in use.
    let mode = unsafe { (*backend).forwarding };
    if mode == forwarding::DSR {
        dsr::send(packet, next_hop)
    } else {
        tunnel::send(packet, backend, mode, next_hop)
    }
}

/// A client's packet to a listener.
#[inline(always)]
pub(crate) fn run<F: Tables>(arrival: &Arrival<'_, F>) -> Step<Outcome> {
    if arrival.packet.network.hops <= 1 {
        return Err(Outcome::drop(Verdict::DropTtlExpired));
    }
    let tracking = arrival.tracking();
    if tracking == tracking::NAT {
        return nat::established(arrival);
    }
    if tracking > tracking::NONE {
        // Not before: what has no access list pays nothing for those that have one.
        let is_guarded = tracking != tracking::DNAT;
        return Err(Outcome::call(if is_guarded { F::GUARD_SLOT } else { F::DNAT_SLOT }));
    }
    let backend = match slot_alone(arrival, tracking) {
        Some(slot) => by_ring(arrival, slot, tracking)?,
        None => recorded(arrival)?,
    };
    send(&arrival.packet, arrival.listener.number, backend)
}

/// The backend of a packet of which nothing is remembered; `None`: the flow table may know.
#[inline(always)]
pub(crate) fn unrecorded<F: Tables>(arrival: &Arrival<'_, F>) -> Option<Step<Numbered>> {
    let tracking = arrival.listener.tracking();
    slot_alone(arrival, tracking).map(|slot| by_ring(arrival, slot, tracking))
}

/// The slot of the ring that a packet meets, if that alone decides.
#[inline(always)]
fn slot_alone<F: Tables>(arrival: &Arrival<'_, F>, tracking: u32) -> Option<Slot> {
    if tracking == tracking::FULL {
        return None;
    }
    let slot = ring_slot(arrival);
    let may_be_recorded = tracking == tracking::TRANSITION && (slot.current() == 0 || !slot.is_clean());
    if may_be_recorded { None } else { Some(slot) }
}

/// The slot of the ring that a packet meets.
#[inline(always)]
fn ring_slot<F: Tables>(arrival: &Arrival<'_, F>) -> Slot {
    let Some(picks) = schedule::picks_of(arrival.listener, F::SERVICE_INDEX) else {
        return Slot(0);
    };
    let ring = schedule::ring(picks);
    schedule::ring_slot(ring, arrival.client(), F::SERVICE_INDEX, arrival.hash).0
}

/// Nothing is remembered: the ring decides.
#[inline(always)]
fn by_ring<F: Tables>(arrival: &Arrival<'_, F>, slot: Slot, tracking: u32) -> Step<Numbered> {
    if arrival.packet.transport.flags.opens() && arrival.listener.is_closed_to_new() {
        return Err(Outcome::drop(Verdict::DropListenerDisabled));
    }
    let number = u32::from(slot.current());
    if let Some(backend) = schedule::serving_untimed(number) {
        return Ok(backend);
    }
    let state = schedule::state(number, arrival.now());
    if tracking == tracking::TRANSITION && state != state::FREE {
        return Err(expired(state));
    }
    Err(Outcome::drop(Verdict::DropNoBackend))
}

/// The flow table decides, if it knows the flow as established.
#[inline(always)]
fn recorded<F: Tables>(arrival: &Arrival<'_, F>) -> Step<Numbered> {
    let open = Err(Outcome::new(Verdict::Forward, OPEN_FLOW));
    let flags = arrival.packet.transport.flags;
    if arrival.is_tcp() && flags.opens() {
        return open;
    }
    let key = arrival.key();
    // Who stands in the set's neighbour, as few do, is found by the rest.
    let Some((place, seen)) = flow::set(arrival.hash).and_then(|set| flow_set::find([set], key.0)) else {
        return open;
    };
    if seen.state() != flow_state::ESTABLISHED {
        return open;
    }
    let now = arrival.now();
    let Some(backend) = schedule::serving(seen.backend(), now) else {
        return open;
    };
    flow::touch(place, seen, now);
    if flags.ends() {
        flow::note_end(key.0, arrival.hash, flags.0.into());
    }
    Ok(backend)
}

/// What a packet gets whose server's time is over.
#[inline(always)]
pub(crate) fn expired(state: u32) -> Outcome {
    if state == state::EXPIRED_SILENT {
        Outcome::drop(Verdict::DropExpired)
    } else {
        Outcome::new(Verdict::ResetExpired, RESET)
    }
}
