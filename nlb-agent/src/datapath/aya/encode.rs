//! Domain types to map entries and back.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use nlb_common::{
    abi::{self, backend::state, listener::ListenerKey},
    addr::{V4, V6},
    be::Be16,
    packet::{Mac, protocol},
    ticks::Ticks,
};

use crate::{
    datapath::{
        Backend, BackendState, Egress, EgressId, Family, Listener, LocalAddress, NextHop, ServiceId, Snat,
        SnatRange, SnatSlot, VipId,
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
    let LocalAddress { vip, snat, host } = local;
    abi::vip::LocalAddress {
        vip: vip.map_or(0, |vip| vip.0),
        snat: snat.map_or(0, |slot| u32::from(slot.0) + 1),
        host: host.into(),
    }
}

pub(super) fn local_address_back(entry: abi::vip::LocalAddress) -> LocalAddress {
    let abi::vip::LocalAddress { vip, snat, host } = entry;
    LocalAddress {
        vip: (vip != 0).then_some(VipId(vip)),
        snat: snat.checked_sub(1).and_then(|slot| u16::try_from(slot).ok()).map(SnatSlot),
        host: host != 0,
    }
}

pub(super) fn snat_back(family: Family, entry: abi::vip::Snat) -> Option<Snat> {
    let abi::vip::Snat { address, first_port, ports, cursor: _ } = entry;
    (ports != 0).then(|| Snat { address: narrow(family, address), first_port, ports })
}

pub(super) fn listener_key(listener: &Listener) -> ListenerKey {
    ListenerKey {
        vip: listener.vip.0,
        port: Be16::new(listener.port),
        protocol: protocol_number(listener.protocol),
        _pad: 0,
    }
}

/// Ticks of an idle timeout.
pub(super) fn idle_ticks(timeout: Duration) -> u32 {
    Ticks::from_duration(timeout).0
}

/// The listener of an index entry and its array entry; `None` if one of them is of no agent's making.
pub(super) fn listener_back(key: ListenerKey, entry: abi::listener::Listener) -> Option<Listener> {
    let ListenerKey { vip, port, protocol, _pad: _ } = key;
    let abi::listener::Listener { service, idle_timeout, closed_to_new, _pad: _ } = entry;
    // Ticks were rounded up from whole seconds.
    let idle_timeout = Duration::from_secs(u64::from(idle_timeout) * (1 << 20) / 1_000_000_000);
    Some(Listener {
        vip: VipId(vip),
        protocol: protocol_of(protocol)?,
        port: port.get(),
        service: ServiceId(service),
        idle_timeout,
        closed_to_new: closed_to_new != 0,
    })
}

pub(super) fn state_number(state: BackendState) -> u32 {
    match state {
        BackendState::Serving => state::SERVING,
        BackendState::Expired(OnDrainExpiry::Reset) => state::EXPIRED_RESET,
        BackendState::Expired(OnDrainExpiry::Silent) => state::EXPIRED_SILENT,
    }
}

fn state_of(number: u32) -> Option<BackendState> {
    match number {
        state::SERVING => Some(BackendState::Serving),
        state::EXPIRED_RESET => Some(BackendState::Expired(OnDrainExpiry::Reset)),
        state::EXPIRED_SILENT => Some(BackendState::Expired(OnDrainExpiry::Silent)),
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

/// The backend of an entry in use; `None` if it is of no agent's making.
pub(super) fn backend_back(entry: &abi::backend::Backend) -> Option<Backend> {
    let abi::backend::Backend { next_hop, state, snat_slot, snat_slots, address, port, family, _pad: _ } =
        *entry;
    let family = match family {
        4 => Family::V4,
        6 => Family::V6,
        _ => return None,
    };
    Some(Backend {
        address: SocketAddr::new(narrow(family, address), port.get()),
        state: state_of(state)?,
        next_hop: abi::backend::NextHop::from_word(next_hop)
            .map(|hop| NextHop { egress: EgressId(hop.egress), mac: hop.mac.0 }),
        snat: SnatRange { first: SnatSlot(snat_slot), count: snat_slots },
    })
}

pub(super) fn egress(egress: Egress) -> abi::backend::Egress {
    let Egress { ifindex, mac, vlan } = egress;
    abi::backend::Egress { ifindex, mac, vlan: vlan.unwrap_or(0) }
}

pub(super) fn egress_back(entry: abi::backend::Egress) -> Option<Egress> {
    let abi::backend::Egress { ifindex, mac, vlan } = entry;
    (ifindex != 0).then(|| Egress { ifindex, mac, vlan: (vlan != 0).then_some(vlan) })
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
            let listener = Listener {
                vip: VipId(1),
                protocol: Protocol::Udp,
                port: 53,
                service: ServiceId(1),
                idle_timeout: Duration::from_secs(seconds),
                closed_to_new: false,
            };
            let entry = abi::listener::Listener {
                service: 1,
                idle_timeout: idle_ticks(listener.idle_timeout),
                ..Default::default()
            };
            assert_eq!(listener_back(listener_key(&listener), entry), Some(listener));
        }
    }

    #[test]
    fn local_addresses_round_trip() {
        for vip in [None, Some(VipId(7))] {
            for snat in [None, Some(SnatSlot(0)), Some(SnatSlot(3))] {
                for host in [false, true] {
                    let local = LocalAddress { vip, snat, host };
                    assert_eq!(local_address_back(local_address(local)), local);
                }
            }
        }
    }
}
