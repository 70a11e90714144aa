//! What is written is what is read back.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nlb_agent::{
    datapath::{
        Access, Acl, AclId, Backend, BackendId, BackendState, Datapath as _, Egress, EgressId, Eligibility,
        Family, Forward, Image, Listener, ListenerId, LocalAddress, NextHop, Op, Picks, Ring, RingKey,
        Service, ServiceId, Snat, SnatRange, SnatSlot, Tracking, Turns, VipId,
    },
    model::{OnDrainExpiry, Protocol},
};
use nlb_common::{abi::ring::Slot, ticks::Ticks};

use crate::bench::Bench;

/// One of everything, at the ends of what the maps hold.
fn ops() -> Vec<Op> {
    let local = |vip: Option<u32>, snat: Option<u16>, host| LocalAddress {
        vip: vip.map(VipId),
        snat: snat.map(SnatSlot),
        host,
        ..LocalAddress::default()
    };
    let backend = |address: &str, state, next_hop, first, count| Backend {
        address: address.parse().unwrap(),
        state,
        next_hop,
        snat: SnatRange { first: SnatSlot(first), count },
        forward: Forward::Nat,
        eligibility: Eligibility::Eligible,
        max_len: None,
    };
    let tunnel = |address, source: Option<&str>, eligibility| Backend {
        forward: Forward::Ipip(source.map(|source| source.parse().unwrap())),
        eligibility,
        ..backend(address, BackendState::Serving, None, 0, 0)
    };
    let listener = |vip, at: &str, protocol, service, seconds, tracking| {
        let at: SocketAddr = at.parse().unwrap();
        Listener {
            vip: VipId(vip),
            address: at.ip(),
            protocol,
            port: at.port(),
            service: ServiceId(service),
            idle_timeout: Duration::from_secs(seconds),
            closed_to_new: seconds == 1,
            tracking,
            acl: None,
        }
    };
    let acl = |entries: &[(&str, Access)]| {
        let entries = entries.iter().map(|(cidr, access)| (cidr.parse().unwrap(), *access)).collect();
        Arc::new(Acl { entries })
    };
    let hop = Some(NextHop { egress: EgressId(1023), mac: [2, 0, 0, 0, 0, 0xfe] });
    let wheel = |numbers: &[u32]| Turns::Wheel(numbers.iter().copied().map(BackendId).collect());
    let ring = |by, slots: &[u32]| Ring { by, slots: slots.iter().copied().map(Slot).collect() };
    let turns = |turns| Picks { turns, ring: Ring::default() };
    let draining = |expiry| BackendState::Draining(expiry, Ticks(77));
    vec![
        Op::PutEgress(EgressId(1), Egress { ifindex: 2, mac: [2, 0, 0, 0, 0, 1], vlan: None }),
        Op::PutEgress(EgressId(1023), Egress { ifindex: u32::MAX, mac: [0xff; 6], vlan: Some(4094) }),
        Op::PutSnat(
            Family::V4,
            SnatSlot(0),
            Snat { address: "10.1.0.1".parse().unwrap(), first_port: 1024, ports: 64_511 },
        ),
        Op::PutSnat(
            Family::V4,
            SnatSlot(3),
            Snat { address: "10.1.0.4".parse().unwrap(), first_port: 65_535, ports: 1 },
        ),
        Op::PutSnat(
            Family::V6,
            SnatSlot(1),
            Snat { address: "fd00:1::1".parse().unwrap(), first_port: 2, ports: 3 },
        ),
        Op::PutBackend(BackendId(1), backend("10.1.0.11:8080", BackendState::Serving, hop, 0, 4)),
        Op::PutBackend(
            BackendId(2),
            backend("10.1.0.12:65535", BackendState::Expired(OnDrainExpiry::Reset), None, 3, 1),
        ),
        Op::PutBackend(
            BackendId(32_767),
            backend("[fd00:1::11]:1", BackendState::Expired(OnDrainExpiry::Silent), hop, 0, 0),
        ),
        Op::PutBackend(BackendId(3), backend("10.1.0.13:80", draining(OnDrainExpiry::Silent), hop, 0, 1)),
        Op::PutBackend(BackendId(4), tunnel("10.1.0.14:80", Some("10.1.0.1"), Eligibility::Weight)),
        Op::PutBackend(BackendId(5), tunnel("[fd00:1::15]:80", Some("fd00:1::1"), Eligibility::Unhealthy)),
        Op::PutBackend(BackendId(6), tunnel("10.1.0.16:80", None, Eligibility::Draining)),
        Op::PutSnat(Family::V4, SnatSlot(4), Snat::room(Family::V4)),
        Op::PutBackend(
            BackendId(7),
            Backend { forward: Forward::Dnat, ..backend("10.1.0.17:80", BackendState::Serving, None, 4, 1) },
        ),
        Op::PutService(
            ServiceId(1),
            Service {
                picks: [turns(wheel(&[1, 2, 1])), turns(wheel(&[32_767]))],
                persistence: Some(Duration::from_secs(86_400)),
                balance_unknown: false,
            },
        ),
        Op::PutService(
            ServiceId(4095),
            Service {
                picks: [
                    Picks {
                        turns: Turns::Fewest(vec![(BackendId(1), 65_535), (BackendId(32_767), 1)]),
                        ring: ring(RingKey::Flow, &[1, 1, 0x0002_0001, 0x0001_0001]),
                    },
                    Picks { turns: Turns::default(), ring: ring(RingKey::Source, &[32_767; 4]) },
                ],
                persistence: None,
                balance_unknown: true,
            },
        ),
        Op::PutService(ServiceId(2), Service::default()),
        Op::PutAcl(
            AclId(1),
            acl(&[
                ("0.0.0.0/0", Access::Allow),
                ("10.0.0.0/8", Access::Deny),
                ("10.9.0.5", Access::Allow),
                ("::/0", Access::Allow),
            ]),
        ),
        Op::PutAcl(AclId(0xff_ffff), acl(&[("10.0.0.0/8", Access::Allow), ("fd00:9::5", Access::Deny)])),
        Op::PutListener(ListenerId(1), listener(1, "10.0.0.10:80", Protocol::Tcp, 1, 1800, Tracking::Nat)),
        Op::PutListener(ListenerId(2), listener(1, "10.0.0.10:80", Protocol::Udp, 2, 1, Tracking::Full)),
        Op::PutListener(
            ListenerId(3),
            Listener {
                acl: Some(AclId(0xff_ffff)),
                ..listener(2, "10.1.0.4:80", Protocol::Tcp, 4095, 300, Tracking::Transition)
            },
        ),
        Op::PutListener(
            ListenerId(8191),
            listener(4096, "[fd00::10]:65535", Protocol::Tcp, 4095, 86_400, Tracking::None),
        ),
        Op::PutInterface(1, [2, 0, 0, 0, 0, 0x10]),
        Op::PutInterface(u32::MAX, [0xfe; 6]),
        Op::PutListener(ListenerId(4), listener(1, "10.0.0.10:81", Protocol::Tcp, 1, 300, Tracking::Dnat)),
        Op::PutAddress("10.0.0.10".parse().unwrap(), local(Some(1), None, false)),
        Op::PutAddress(
            "10.0.0.12".parse().unwrap(),
            LocalAddress { announce: true, ..local(Some(5), None, false) },
        ),
        Op::PutAddress(
            "fd00::12".parse().unwrap(),
            LocalAddress { announce: true, echo: true, ..local(Some(6), None, true) },
        ),
        Op::PutAddress("10.1.0.1".parse().unwrap(), local(None, Some(0), true)),
        Op::PutAddress("10.1.0.4".parse().unwrap(), local(Some(2), Some(3), true)),
        Op::PutAddress("fd00::10".parse().unwrap(), local(Some(4096), None, true)),
        Op::PutAddress("fd00:1::1".parse().unwrap(), local(None, Some(1), false)),
    ]
}

const GOLDEN: &str = "\
address 10.0.0.10 vip=1
address 10.0.0.12 vip=5 announce
address 10.1.0.1 snat=0 host
address 10.1.0.4 vip=2 snat=3 host
address fd00::10 vip=4096 host
address fd00::12 vip=6 host announce echo
address fd00:1::1 snat=1
snat v4/0 10.1.0.1 ports=1024+64511
snat v4/3 10.1.0.4 ports=65535+1
dnat v4/4 places=65535
snat v6/1 fd00:1::1 ports=2+3
acl 1 0.0.0.0/0 allow
acl 1 10.0.0.0/8 deny
acl 1 10.9.0.5/32 allow
acl 1 ::/0 allow
acl 16777215 10.0.0.0/8 allow
acl 16777215 fd00:9::5/128 deny
listener 1 vip=1 tcp/10.0.0.10:80 service=1 idle=1800s nat
listener 2 vip=1 udp/10.0.0.10:80 service=2 idle=1s full closed-to-new
listener 3 vip=2 tcp/10.1.0.4:80 service=4095 idle=300s transition acl=16777215
listener 4 vip=1 tcp/10.0.0.10:81 service=1 idle=300s dnat
listener 8191 vip=4096 tcp/[fd00::10]:65535 service=4095 idle=86400s none
service 1 v4 [1 2 1]
service 1 v6 [32767]
service 1 persistence=86400s
service 2 v4 []
service 2 v6 []
service 4095 v4 fewest [1*65535 32767*1] ring by flow {1:4} window:1 settling:1
service 4095 v6 [] ring by source {32767:4}
service 4095 balances unknown flows
backend 1 10.1.0.11:8080 serving eligible snat=0+4 via=1023 02:00:00:00:00:fe
backend 2 10.1.0.12:65535 expired-reset eligible snat=3+1 unresolved
backend 3 10.1.0.13:80 draining-silent eligible snat=0+1 via=1023 02:00:00:00:00:fe
backend 4 10.1.0.14:80 serving weight-0 ipip=10.1.0.1 unresolved
backend 5 [fd00:1::15]:80 serving unhealthy ipip=fd00:1::1 unresolved
backend 6 10.1.0.16:80 serving draining ipip unresolved
backend 7 10.1.0.17:80 serving eligible dnat=4+1 unresolved
backend 32767 [fd00:1::11]:1 expired-silent eligible snat=0+0 via=1023 02:00:00:00:00:fe
egress 1 ifindex=2 02:00:00:00:00:01
egress 1023 ifindex=4294967295 ff:ff:ff:ff:ff:ff vlan=4094
interface 1 02:00:00:00:00:10
interface 4294967295 fe:fe:fe:fe:fe:fe
";

#[test]
fn every_change_reads_back_as_the_image_says_and_twice_is_once() {
    let mut bench = Bench::new();
    let mut image = Image::default();
    assert_eq!(bench.datapath().image().unwrap(), image);
    for op in ops() {
        image.apply(&op);
        for _ in 0..2 {
            bench.apply(std::slice::from_ref(&op));
        }
        // A service without slots is seen only through its listener.
        if op == Op::PutService(ServiceId(2), Service::default()) {
            continue;
        }
        let mut seen = bench.datapath().image().unwrap();
        seen.services
            .extend(image.services.get(&ServiceId(2)).map(|service| (ServiceId(2), service.clone())));
        assert_eq!(seen, image, "after {op:?}");
    }
    assert_eq!(bench.datapath().image().unwrap().to_string(), GOLDEN);
    remove_all(&mut bench, &image);
}

fn remove_all(bench: &mut Bench, image: &Image) {
    let Image { addresses, snats, acls, listeners, services, backends, egresses, interfaces } = image;
    let ops = (addresses.keys().map(|&address| Op::RemoveAddress(address)))
        .chain(listeners.iter().map(|(&id, &listener)| Op::RemoveListener(id, listener)))
        .chain(acls.iter().map(|(&id, acl)| Op::RemoveAcl(id, acl.clone())))
        .chain(services.keys().map(|&id| Op::RemoveService(id)))
        .chain(backends.keys().map(|&id| Op::RemoveBackend(id)))
        .chain(snats.keys().map(|&(family, slot)| Op::RemoveSnat(family, slot)))
        .chain(egresses.keys().map(|&id| Op::RemoveEgress(id)))
        .chain(interfaces.keys().map(|&index| Op::RemoveInterface(index)));
    for op in ops {
        bench.apply(&[op.clone(), op]);
    }
    assert_eq!(bench.datapath().image().unwrap(), Image::default());
}

#[test]
fn what_may_be_replaced_reads_back_replaced() {
    let mut bench = Bench::with(&ops());
    let mut image = bench.datapath().image().unwrap();
    let listener = Listener {
        closed_to_new: true,
        service: ServiceId(4095),
        acl: Some(AclId(1)),
        ..image.listeners[&ListenerId(1)]
    };
    let backend =
        Backend { state: BackendState::Serving, next_hop: None, ..image.backends[&BackendId(32_767)] };
    let mut service = Service::default();
    service.picks[0].turns = Turns::Wheel(vec![BackendId(2); 100]);
    let unkept = Service { persistence: None, ..image.services[&ServiceId(1)].clone() };
    for op in [
        Op::PutListener(ListenerId(1), listener),
        Op::PutBackend(BackendId(32_767), backend),
        Op::PutService(ServiceId(1), unkept),
        Op::PutService(ServiceId(1), service),
        Op::PutInterface(1, [2, 0, 0, 0, 0, 0x11]),
        Op::PutAddress("10.0.0.10".parse().unwrap(), LocalAddress { host: true, ..LocalAddress::default() }),
    ] {
        image.apply(&op);
        bench.apply(&[op]);
        assert_eq!(bench.datapath().image().unwrap(), image);
    }
}
