//! Domain types to map entries and back.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use nlb_common::{
    abi::{
        self,
        backend::{NO_LIMIT, eligibility, forwarding, state},
        listener::tracking,
        service::{Member, Stretch, kind},
        vip::flags,
    },
    addr::{V4, V6},
    be::Be16,
    hash::Destination,
    packet::{Family as _, Ipv4, Mac, protocol},
    ticks::Ticks,
};

use crate::{
    datapath::{
        AclId, Backend, BackendId, BackendState, Egress, EgressId, Eligibility, Family, Forward, Listener,
        LocalAddress, NextHop, Ring, RingKey, ServiceId, Snat, SnatRange, SnatSlot, Tracking, Turns, VipId,
    },
    model::{OnDrainExpiry, Protocol},
};

/// An IPv4 address as it lies in packets.
pub(super) fn v4(address: Ipv4Addr) -> V4 {
    V4::from_octets(address.octets())
}

/// An IPv6 address as it lies in packets.
pub(super) fn v6(address: Ipv6Addr) -> V6 {
    V6::from_octets(address.octets())
}

/// An address in a field that is wide enough for both families.
pub(super) fn wide(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [v4(address).0, 0, 0, 0],
        IpAddr::V6(address) => v6(address).0,
    }
}

/// The address in such a field.
pub(super) fn narrow(family: Family, wide: [u32; 4]) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(V4(wide[0]).octets()).into(),
        Family::V6 => Ipv6Addr::from(V6(wide).octets()).into(),
    }
}

/// IP protocol number.
pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
    }
}

/// The protocol of a number.
fn protocol_of(number: u8) -> Option<Protocol> {
    match number {
        protocol::TCP => Some(Protocol::Tcp),
        protocol::UDP => Some(Protocol::Udp),
        _ => None,
    }
}

pub(super) fn local_address(local: LocalAddress) -> abi::vip::LocalAddress {
    let LocalAddress { vip, snat, host, announce, echo } = local;
    let flag = |is: bool, flag| if is { flag } else { 0 };
    abi::vip::LocalAddress {
        vip: vip.map_or(0, |vip| vip.0),
        snat: snat.map_or(0, |slot| u32::from(slot.0) + 1),
        host: host.into(),
        flags: flag(announce, flags::ANNOUNCE) | flag(echo, flags::ECHO),
    }
}

pub(super) fn local_address_back(entry: abi::vip::LocalAddress) -> LocalAddress {
    let abi::vip::LocalAddress { vip, snat, host, flags } = entry;
    LocalAddress {
        vip: (vip != 0).then_some(VipId(vip)),
        snat: snat.checked_sub(1).and_then(|slot| u16::try_from(slot).ok()).map(SnatSlot),
        host: host != 0,
        announce: flags & flags::ANNOUNCE != 0,
        echo: flags & flags::ECHO != 0,
    }
}

pub(super) fn snat_back(family: Family, entry: abi::vip::Snat) -> Option<Snat> {
    let abi::vip::Snat { address, first_port, ports, cursor: _, exhausted: _ } = entry;
    (ports != 0).then(|| Snat { address: narrow(family, address), first_port, ports })
}

/// An address's bit in the filter of addresses.
pub(super) fn filter_bit(address: IpAddr, seed: u64) -> (u32, u64) {
    match address {
        IpAddr::V4(address) => abi::vip::filter::bit(v4(address), seed),
        IpAddr::V6(address) => abi::vip::filter::bit(v6(address), seed),
    }
}

/// The hash that a listener is found by.
pub(super) fn listener_hash(listener: &Listener, seed: u64) -> u64 {
    let (port, protocol) = (Be16::new(listener.port), protocol_number(listener.protocol));
    match listener.address {
        IpAddr::V4(address) => Destination { vip: v4(address), port, protocol }.hasher(seed).so_far(),
        IpAddr::V6(address) => Destination { vip: v6(address), port, protocol }.hasher(seed).so_far(),
    }
}

/// What a listener remembers of flows, and its access list.
pub(super) fn guarded_tracking(listener: &Listener) -> u32 {
    let acl = listener.acl.map_or(0, |acl| acl.0);
    abi::listener::guarded(tracking_number(listener.tracking), acl)
}

fn tracking_number(mode: Tracking) -> u32 {
    match mode {
        Tracking::Nat => tracking::NAT,
        Tracking::Full => tracking::FULL,
        Tracking::Transition => tracking::TRANSITION,
        Tracking::None => tracking::NONE,
        Tracking::Dnat => tracking::DNAT,
    }
}

fn tracking_of(number: u32) -> Option<Tracking> {
    match number {
        tracking::NAT => Some(Tracking::Nat),
        tracking::FULL => Some(Tracking::Full),
        tracking::TRANSITION => Some(Tracking::Transition),
        tracking::NONE => Some(Tracking::None),
        tracking::DNAT => Some(Tracking::Dnat),
        _ => None,
    }
}

/// Ticks of an idle timeout.
pub(super) fn idle_ticks(timeout: Duration) -> u32 {
    Ticks::from_duration(timeout).0
}

/// Whole seconds of ticks that were rounded up from them.
pub(super) fn seconds(ticks: u32) -> Duration {
    Duration::from_secs(u64::from(ticks) * (1 << 20) / 1_000_000_000)
}

/// Port, protocol and family of a listener.
pub(super) fn endpoint(listener: &Listener) -> u32 {
    let family = family_number(Family::of(listener.address));
    abi::listener::endpoint(Be16::new(listener.port), protocol_number(listener.protocol), family)
}

/// The listener of an entry; `None` if it is of no agent's making.
pub(super) fn listener_back(entry: &abi::listener::Listener) -> Option<Listener> {
    let abi::listener::Listener {
        address,
        endpoint: _,
        vip,
        service,
        idle_timeout,
        closed_to_new,
        tracking: _,
        _pad: _,
    } = *entry;
    let acl = abi::listener::acl_of(entry.tracking);
    Some(Listener {
        vip: VipId(vip),
        address: narrow(family_of(entry.family())?, address),
        protocol: protocol_of(entry.protocol())?,
        port: entry.port().get(),
        service: ServiceId(service),
        idle_timeout: seconds(idle_timeout),
        closed_to_new: closed_to_new != 0,
        tracking: tracking_of(entry.tracking())?,
        acl: (acl != 0).then_some(AclId(acl)),
    })
}

/// What the slots of turns are, and the slots.
pub(super) fn turns(turns: &Turns) -> (u8, Vec<u32>) {
    match turns {
        Turns::Wheel(slots) => (kind::WHEEL, slots.iter().map(|id| id.0).collect()),
        Turns::Fewest(members) => {
            let member = |&(id, weight): &(BackendId, u16)| {
                Member { backend: u16::try_from(id.0).unwrap_or(u16::MAX), weight }.to_slot()
            };
            (kind::MEMBERS, members.iter().map(member).collect())
        }
    }
}

/// Turns from what stands in the arena.
pub(super) fn turns_back(stretch: Stretch, slots: &[u32]) -> Turns {
    if stretch.kind == kind::MEMBERS {
        let member = |&slot: &u32| {
            let Member { backend, weight } = Member::from_slot(slot);
            (BackendId(backend.into()), weight)
        };
        Turns::Fewest(slots.iter().map(member).collect())
    } else {
        Turns::Wheel(slots.iter().copied().map(BackendId).collect())
    }
}

/// What the slots of a ring are, and the slots.
pub(super) fn ring(ring: &Ring) -> (u8, Vec<u32>) {
    let kind = match ring.by {
        RingKey::Flow => kind::RING_FLOW,
        RingKey::Source => kind::RING_SOURCE,
    };
    (kind, ring.slots.iter().map(|slot| slot.0).collect())
}

/// A ring from what stands in the arena.
pub(super) fn ring_back(stretch: Stretch, slots: &[u32]) -> Ring {
    let by = if stretch.kind == kind::RING_SOURCE { RingKey::Source } else { RingKey::Flow };
    Ring { by, slots: slots.iter().copied().map(abi::ring::Slot).collect() }
}

/// State and deadline.
pub(super) fn state_words(state: BackendState) -> (u32, u32) {
    match state {
        BackendState::Serving => (state::SERVING, 0),
        BackendState::Draining(OnDrainExpiry::Reset, at) => (state::DRAINING_RESET, at.0),
        BackendState::Draining(OnDrainExpiry::Silent, at) => (state::DRAINING_SILENT, at.0),
        BackendState::Expired(OnDrainExpiry::Reset) => (state::EXPIRED_RESET, 0),
        BackendState::Expired(OnDrainExpiry::Silent) => (state::EXPIRED_SILENT, 0),
    }
}

fn state_of(number: u32, deadline: u32) -> Option<BackendState> {
    match number {
        state::SERVING => Some(BackendState::Serving),
        state::DRAINING_RESET => Some(BackendState::Draining(OnDrainExpiry::Reset, Ticks(deadline))),
        state::DRAINING_SILENT => Some(BackendState::Draining(OnDrainExpiry::Silent, Ticks(deadline))),
        state::EXPIRED_RESET => Some(BackendState::Expired(OnDrainExpiry::Reset)),
        state::EXPIRED_SILENT => Some(BackendState::Expired(OnDrainExpiry::Silent)),
        _ => None,
    }
}

pub(super) fn eligibility_number(eligibility: Eligibility) -> u32 {
    match eligibility {
        Eligibility::Eligible => eligibility::ELIGIBLE,
        Eligibility::Gone => eligibility::GONE,
        Eligibility::Draining => eligibility::DRAINING,
        Eligibility::Disabled => eligibility::DISABLED,
        Eligibility::Unhealthy => eligibility::UNHEALTHY,
        Eligibility::Weight => eligibility::WEIGHT,
    }
}

fn eligibility_of(number: u32) -> Option<Eligibility> {
    match number {
        eligibility::ELIGIBLE => Some(Eligibility::Eligible),
        eligibility::GONE => Some(Eligibility::Gone),
        eligibility::DRAINING => Some(Eligibility::Draining),
        eligibility::DISABLED => Some(Eligibility::Disabled),
        eligibility::UNHEALTHY => Some(Eligibility::Unhealthy),
        eligibility::WEIGHT => Some(Eligibility::Weight),
        _ => None,
    }
}

/// How packets reach a backend: the mode, the tunnel's source, and the sum of its header.
pub(super) fn forward(backend: &Backend) -> (u8, [u32; 4], u16) {
    let tunnel = |mode, protocol, source: Option<IpAddr>| match (source, backend.address.ip()) {
        (None, _) => (mode, [0; 4], 0),
        (Some(IpAddr::V4(source)), IpAddr::V4(server)) => {
            (mode, wide(source.into()), Ipv4::tunnel_sum(v4(source), v4(server), protocol))
        }
        (Some(source), _) => (mode, wide(source), 0),
    };
    match backend.forward {
        Forward::Nat => (forwarding::NAT, [0; 4], 0),
        Forward::Dsr => (forwarding::DSR, [0; 4], 0),
        Forward::Dnat => (forwarding::DNAT, [0; 4], 0),
        Forward::Ipip(source) => tunnel(forwarding::IPIP, Ipv4::INSIDE, source),
        Forward::Gue(source) => tunnel(forwarding::GUE, protocol::UDP, source),
    }
}

fn forward_of(entry: &abi::backend::Backend, family: Family) -> Option<Forward> {
    let source = (entry.tunnel_source != [0; 4]).then(|| narrow(family, entry.tunnel_source));
    match entry.forwarding {
        forwarding::NAT => Some(Forward::Nat),
        forwarding::DSR => Some(Forward::Dsr),
        forwarding::DNAT => Some(Forward::Dnat),
        forwarding::IPIP => Some(Forward::Ipip(source)),
        forwarding::GUE => Some(Forward::Gue(source)),
        _ => None,
    }
}

/// The word of a next hop.
pub(super) fn next_hop_word(next_hop: Option<NextHop>) -> u64 {
    next_hop.map_or(0, |NextHop { egress, mac }| {
        abi::backend::NextHop { mac: Mac(mac), egress: egress.0 }.to_word()
    })
}

/// `snat_slot` and `snat_slots` as the one word that they are in memory.
pub(super) fn snat_word(range: SnatRange) -> u32 {
    let SnatRange { first, count } = range;
    let ([a, b], [c, d]) = (first.0.to_ne_bytes(), count.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

pub(super) fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

fn family_of(number: u8) -> Option<Family> {
    match number {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    }
}

/// The backend of an entry in use; `None` if it is of no agent's making.
pub(super) fn backend_back(entry: &abi::backend::Backend) -> Option<Backend> {
    let abi::backend::Backend {
        next_hop,
        state,
        deadline,
        snat_slot,
        snat_slots,
        address,
        port,
        family,
        eligibility,
        forwarding: _,
        tunnel_source: _,
        tunnel_sum: _,
        max_len,
    } = *entry;
    let family = family_of(family)?;
    Some(Backend {
        address: SocketAddr::new(narrow(family, address), port.get()),
        state: state_of(state, deadline)?,
        forward: forward_of(entry, family)?,
        eligibility: eligibility_of(eligibility)?,
        next_hop: abi::backend::NextHop::from_word(next_hop)
            .map(|hop| NextHop { egress: EgressId(hop.egress), mac: hop.mac.0 }),
        snat: SnatRange { first: SnatSlot(snat_slot), count: snat_slots },
        max_len: (max_len != NO_LIMIT).then_some(max_len),
    })
}

pub(super) fn egress(egress: Egress) -> abi::backend::Egress {
    let Egress { ifindex, mac, vlan } = egress;
    abi::backend::Egress { mac: Mac(mac).to_word(), ifindex, vlan: vlan.unwrap_or(0).into() }
}

pub(super) fn egress_back(entry: abi::backend::Egress) -> Option<Egress> {
    let abi::backend::Egress { mac, ifindex, vlan } = entry;
    let vlan = (vlan != 0).then_some(vlan as u16);
    (ifindex != 0).then(|| Egress { ifindex, mac: Mac::from_word(mac).0, vlan })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["10.1.2.3", "fd00:1::23"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(narrow(Family::of(address), wide(address)), address);
        }
    }

    #[test]
    fn every_idle_timeout_round_trips() {
        for seconds in 1..=86_400 {
            assert_eq!(self::seconds(idle_ticks(Duration::from_secs(seconds))), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn local_addresses_round_trip() {
        for vip in [None, Some(VipId(7))] {
            for snat in [None, Some(SnatSlot(0)), Some(SnatSlot(3))] {
                for bits in 0..8 {
                    let [host, announce, echo] = [1, 2, 4].map(|bit| bits & bit != 0);
                    let local = LocalAddress { vip, snat, host, announce, echo };
                    assert_eq!(local_address_back(local_address(local)), local);
                }
            }
        }
    }
}
