//! Addresses, and what an agent would have written into the maps.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nlb_agent::{
    datapath::{
        Backend, BackendId, BackendState, Egress, EgressId, Eligibility, Family, Forward, Listener,
        ListenerId, LocalAddress, NextHop, Op, Picks, Ring, RingKey, Service, ServiceId, Snat, SnatRange,
        SnatSlot, Tracking, Turns, VipId,
    },
    model::Protocol,
    schedule::{Member, bits_for, identity, ring},
};
use nlb_common::abi::ring::Slot;

/// Index of the loopback device, which every network namespace has: packets come in there, and leave.
pub(crate) const INTERFACE: u32 = 1;
/// The listener's port.
pub(crate) const VIP_PORT: u16 = 80;
/// The servers' port.
const SERVER_PORT: u16 = 8080;
/// The port of flow 0.
const CLIENT_PORT: u16 = 1024;
/// SNAT addresses, and the first of their ports: as many as there can be.
pub(crate) const SNATS: u16 = 4;
pub(crate) const FIRST_SNAT_PORT: u16 = 1024;
const SNAT_PORTS: u16 = u16::MAX - FIRST_SNAT_PORT + 1;
/// Servers of most scenarios.
pub(crate) const SERVERS: usize = 100;
/// Nothing is idle for that long here.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// Where the balancer's own frames come from.
pub(crate) const EGRESS_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x01];

fn address(family: Family, v4: [u8; 4], v6: &str) -> IpAddr {
    if family == Family::V4 { v4.into() } else { v6.parse().expect("an address of the scene") }
}

/// The `n`-th address from one on.
fn nth(first: IpAddr, n: usize) -> IpAddr {
    match first {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + n as u32).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + n as u128).into()),
    }
}

/// The client of flow 0; all others are above it.
pub(crate) fn client(family: Family) -> SocketAddr {
    SocketAddr::new(address(family, [11, 0, 0, 0], "fd00:9::"), CLIENT_PORT)
}

/// The listener.
pub(crate) fn vip(family: Family) -> SocketAddr {
    SocketAddr::new(address(family, [10, 0, 0, 10], "fd00::10"), VIP_PORT)
}

/// An address that is no VIP.
pub(crate) fn stranger(family: Family) -> SocketAddr {
    SocketAddr::new(address(family, [192, 0, 2, 7], "2001:db8::7"), VIP_PORT)
}

/// The `index`-th server.
pub(crate) fn server(family: Family, index: usize) -> SocketAddr {
    SocketAddr::new(nth(address(family, [10, 1, 4, 1], "fd00:1::401"), index), SERVER_PORT)
}

/// Which server has this address.
pub(crate) fn server_index(family: Family, at: IpAddr) -> Option<usize> {
    (0..10 * SERVERS).find(|&index| server(family, index).ip() == at)
}

/// The MAC address of the `index`-th server.
pub(crate) fn server_mac(index: usize) -> [u8; 6] {
    let [high, low] = (index as u16).to_be_bytes();
    [0x02, 0, 0, 2, high, low]
}

/// The address of a SNAT slot.
pub(crate) fn snat(family: Family, slot: u16) -> IpAddr {
    nth(address(family, [10, 1, 0, 4], "fd00:1::4"), usize::from(slot))
}

/// The balancer's own address, the outer source of encapsulated packets.
pub(crate) fn balancer(family: Family) -> IpAddr {
    snat(family, 0)
}

/// How packets reach servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Rewritten.
    Nat,
    /// In a tunnel.
    Ipip(Tracking, Scheduler),
    /// In a tunnel with a UDP header.
    Gue,
    /// As they are.
    Dsr,
}

/// Who gets new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheduler {
    /// All in turn.
    RoundRobin,
    /// The one with the fewest.
    LeastConnections,
    /// By the client's address.
    SourceIp,
    /// By the flow.
    FlowHash,
}

/// A service with these servers, all of one weight, and a ring beside its turns, as tunnels have it.
fn picked_by(scheduler: Scheduler, family: Family, ids: &[BackendId]) -> Service {
    let members: Vec<_> = (ids.iter())
        .map(|id| Member { item: id.0 as u16, identity: identity(server(family, id.0 as usize)), weight: 1 })
        .collect();
    let slots = ring(&members, bits_for(ids.len())).into_iter().map(Slot::clean).collect();
    let by = if scheduler == Scheduler::SourceIp { RingKey::Source } else { RingKey::Flow };
    let turns = match scheduler {
        Scheduler::RoundRobin => Turns::Wheel(ids.to_vec()),
        Scheduler::LeastConnections => Turns::Fewest(ids.iter().map(|&id| (id, 1)).collect()),
        Scheduler::SourceIp | Scheduler::FlowHash => Turns::default(),
    };
    let mut service = Service { balance_unknown: true, ..Service::default() };
    service.picks[family.index()] = Picks { turns, ring: Ring { by, slots } };
    service
}

/// A listener whose service has so many servers of the family; in an order in which an agent would write it.
pub(crate) fn service(family: Family, servers: usize, service: Kind) -> Vec<Op> {
    let (vip_id, service_id, egress) = (VipId(1), ServiceId(1), EgressId(1));
    let mut ops = vec![Op::PutEgress(egress, Egress { ifindex: INTERFACE, mac: EGRESS_MAC, vlan: None })];
    for slot in 0..SNATS {
        let address = snat(family, slot);
        let range = Snat { address, first_port: FIRST_SNAT_PORT, ports: SNAT_PORTS };
        let local = LocalAddress { snat: Some(SnatSlot(slot)), host: true, ..LocalAddress::default() };
        ops.extend([Op::PutSnat(family, SnatSlot(slot), range), Op::PutAddress(address, local)]);
    }
    let ids: Vec<_> = (1..).map(BackendId).take(servers).collect();
    for (index, &id) in ids.iter().enumerate() {
        let backend = Backend {
            address: server(family, index),
            state: BackendState::Serving,
            next_hop: Some(NextHop { egress, mac: server_mac(index) }),
            snat: SnatRange { first: SnatSlot(0), count: SNATS },
            forward: match service {
                Kind::Nat => Forward::Nat,
                Kind::Ipip(..) => Forward::Ipip(Some(balancer(family))),
                Kind::Gue => Forward::Gue(Some(balancer(family))),
                Kind::Dsr => Forward::Dsr,
            },
            eligibility: Eligibility::Eligible,
            max_len: Some(1480),
        };
        ops.push(Op::PutBackend(id, backend));
    }
    let (tracking, scheduler) = match service {
        Kind::Nat => (Tracking::Nat, Scheduler::RoundRobin),
        Kind::Ipip(tracking, scheduler) => (tracking, scheduler),
        Kind::Gue | Kind::Dsr => (Tracking::Full, Scheduler::RoundRobin),
    };
    let listener = Listener {
        vip: vip_id,
        address: vip(family).ip(),
        tracking,
        acl: None,
        protocol: Protocol::Tcp,
        port: VIP_PORT,
        service: service_id,
        idle_timeout: IDLE,
        closed_to_new: false,
    };
    ops.extend([
        Op::PutService(service_id, picked_by(scheduler, family, &ids)),
        Op::PutListener(ListenerId(1), listener),
        Op::PutAddress(vip(family).ip(), LocalAddress { vip: Some(vip_id), ..LocalAddress::default() }),
    ]);
    ops
}
