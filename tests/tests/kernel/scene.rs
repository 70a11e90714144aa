//! The scene of most tests: in each family a VIP with listeners, a VIP that is the host's own, a SNAT address and
//! three servers.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nlb_agent::{
    datapath::{
        Backend, BackendId, BackendState, Egress, EgressId, Eligibility, Family, Forward, Listener,
        ListenerId, LocalAddress, NextHop, Op, Service, ServiceId, Snat, SnatRange, SnatSlot, Tracking,
        Turns, VipId,
    },
    model::Protocol,
};

use crate::bench::{Bench, LOOPBACK};

/// The listeners' TCP port.
pub(crate) const TCP_PORT: u16 = 80;
/// The listeners' UDP port.
pub(crate) const UDP_PORT: u16 = 53;
/// A port where nothing listens.
pub(crate) const OTHER_PORT: u16 = 81;
/// The servers' port.
pub(crate) const SERVER_PORT: u16 = 8080;
/// The first port of SNAT.
pub(crate) const FIRST_PORT: u16 = 20_000;
/// How many SNAT ports there are.
pub(crate) const PORTS: u16 = 10_000;
/// The listeners' idle timeout.
pub(crate) const IDLE: Duration = Duration::from_secs(1800);
/// The service of all listeners.
pub(crate) const SERVICE: ServiceId = ServiceId(1);
/// Where the balancer's own frames to servers come from.
pub(crate) const EGRESS_MAC: [u8; 6] = [0x02, 0, 0, 0, 1, 0x01];

/// The ways out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Where packets come in.
    Back,
    /// The same, with a VLAN tag.
    BackTagged,
    /// Another interface.
    Away,
    /// Another interface, with a VLAN tag.
    AwayTagged,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Back, Self::BackTagged, Self::Away, Self::AwayTagged];

    /// Its number.
    pub(crate) fn id(self) -> EgressId {
        EgressId(self as u16 + 1)
    }

    /// Its tag.
    pub(crate) fn vlan(self) -> Option<u16> {
        matches!(self, Self::BackTagged | Self::AwayTagged).then_some(300)
    }

    /// Its interface.
    pub(crate) fn ifindex(self) -> u32 {
        if matches!(self, Self::Back | Self::BackTagged) { LOOPBACK } else { 4242 }
    }
}

fn address(family: Family, v4: &str, v6: &str) -> IpAddr {
    let text = if family == Family::V4 { v4 } else { v6 };
    text.parse().expect("a test's address")
}

/// The `n`-th client, with a port of its own.
pub(crate) fn client(family: Family, n: u16) -> SocketAddr {
    SocketAddr::new(address(family, "10.9.0.5", "fd00:9::5"), 1024 + n)
}

/// An address and port on the VIP.
pub(crate) fn vip(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(address(family, "10.0.0.10", "fd00::10"), port)
}

/// An address and port on the VIP that is the host's own.
pub(crate) fn host_vip(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(address(family, "10.0.0.11", "fd00::11"), port)
}

/// An address and port on the SNAT address.
pub(crate) fn snat(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(address(family, "10.1.0.1", "fd00:1::1"), port)
}

/// Somebody the balancer has nothing to do with.
pub(crate) fn stranger(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(address(family, "192.0.2.7", "2001:db8::7"), port)
}

/// The three backends of a family.
pub(crate) fn backends(family: Family) -> [BackendId; 3] {
    let first = 1 + 3 * family.index() as u32;
    [BackendId(first), BackendId(first + 1), BackendId(first + 2)]
}

/// The server of the family's `index`-th backend.
pub(crate) fn server(family: Family, index: usize) -> SocketAddr {
    let base = address(family, "10.1.0.11", "fd00:1::11");
    let address = match base {
        IpAddr::V4(base) => IpAddr::from((u32::from(base) + index as u32).to_be_bytes()),
        IpAddr::V6(base) => IpAddr::from((u128::from(base) + index as u128).to_be_bytes()),
    };
    SocketAddr::new(address, SERVER_PORT)
}

/// The MAC address of the `index`-th server.
pub(crate) fn server_mac(index: usize) -> [u8; 6] {
    [0x02, 0, 0, 0, 2, index as u8]
}

/// The listener of a family and protocol.
pub(crate) fn listener(family: Family, protocol: Protocol) -> (ListenerId, Listener) {
    let udp = protocol == Protocol::Udp;
    let id = ListenerId(1 + family.index() as u32 + 2 * u32::from(udp));
    let port = if udp { UDP_PORT } else { TCP_PORT };
    let listener = Listener {
        vip: vip_id(family),
        address: vip(family, 0).ip(),
        protocol,
        port,
        service: SERVICE,
        idle_timeout: IDLE,
        closed_to_new: false,
        tracking: Tracking::Nat,
        acl: None,
    };
    (id, listener)
}

/// The VIP's number.
pub(crate) fn vip_id(family: Family) -> VipId {
    VipId(1 + family.index() as u32)
}

/// The family's `index`-th backend.
pub(crate) fn backend(family: Family, index: usize) -> (BackendId, Backend) {
    let backend = Backend {
        address: server(family, index),
        state: BackendState::Serving,
        next_hop: Some(NextHop { egress: Way::Back.id(), mac: server_mac(index) }),
        snat: SnatRange { first: SnatSlot(0), count: 1 },
        forward: Forward::Nat,
        eligibility: Eligibility::Eligible,
        max_len: None,
    };
    (backends(family)[index], backend)
}

/// The family's `index`-th backend, changed.
pub(crate) fn changed(family: Family, index: usize, change: impl FnOnce(&mut Backend)) -> Op {
    let (id, mut backend) = backend(family, index);
    change(&mut backend);
    Op::PutBackend(id, backend)
}

/// The service with these wheels, slots named by the index of their backend; the same in both families.
pub(crate) fn wheel(slots: &[usize]) -> Op {
    let mut service = Service::default();
    for family in Family::ALL {
        let slots = slots.iter().map(|&slot| backends(family)[slot]).collect();
        service.picks[family.index()].turns = Turns::Wheel(slots);
    }
    Op::PutService(SERVICE, service)
}

/// The SNAT address of a family with so many ports.
pub(crate) fn snat_op(family: Family, ports: u16) -> Op {
    Op::PutSnat(family, SnatSlot(0), Snat { address: snat(family, 0).ip(), first_port: FIRST_PORT, ports })
}

/// Everything, in an order in which an agent would write it.
pub(crate) fn ops() -> Vec<Op> {
    let mut ops = Vec::new();
    for way in Way::ALL {
        ops.push(Op::PutEgress(
            way.id(),
            Egress { ifindex: way.ifindex(), mac: EGRESS_MAC, vlan: way.vlan() },
        ));
    }
    for family in Family::ALL {
        ops.push(snat_op(family, PORTS));
        let snat_address = LocalAddress { snat: Some(SnatSlot(0)), host: true, ..LocalAddress::default() };
        ops.push(Op::PutAddress(snat(family, 0).ip(), snat_address));
        ops.extend((0..3).map(|index| changed(family, index, |_| ())));
    }
    ops.push(wheel(&[0, 1, 2]));
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (id, listener) = listener(family, protocol);
            ops.push(Op::PutListener(id, listener));
        }
        let vip_address = LocalAddress { vip: Some(vip_id(family)), ..LocalAddress::default() };
        ops.push(Op::PutAddress(vip(family, 0).ip(), vip_address));
        let id = VipId(3 + family.index() as u32);
        let host_address = LocalAddress { vip: Some(id), host: true, ..LocalAddress::default() };
        ops.push(Op::PutAddress(host_vip(family, 0).ip(), host_address));
    }
    ops
}

/// A bench with the scene set.
pub(crate) fn bench() -> Bench {
    Bench::with(&ops())
}
