//! What is written is what is read back.

use std::time::Duration;

use nlb_agent::{
    datapath::{
        Backend, BackendId, BackendState, Datapath as _, Egress, EgressId, Family, Image, Listener,
        ListenerId, LocalAddress, NextHop, Op, Service, ServiceId, Snat, SnatRange, SnatSlot, VipId,
    },
    model::{OnDrainExpiry, Protocol},
};

use crate::bench::Bench;

/// One of everything, at the ends of what the maps hold.
fn ops() -> Vec<Op> {
    let local = |vip: Option<u32>, snat: Option<u16>, host| LocalAddress {
        vip: vip.map(VipId),
        snat: snat.map(SnatSlot),
        host,
    };
    let backend = |address: &str, state, next_hop, first, count| Backend {
        address: address.parse().unwrap(),
        state,
        next_hop,
        snat: SnatRange { first: SnatSlot(first), count },
    };
    let listener = |vip, protocol, port, service, seconds, closed_to_new| Listener {
        vip: VipId(vip),
        protocol,
        port,
        service: ServiceId(service),
        idle_timeout: Duration::from_secs(seconds),
        closed_to_new,
    };
    let hop = Some(NextHop { egress: EgressId(1023), mac: [2, 0, 0, 0, 0, 0xfe] });
    let ids = |numbers: &[u32]| numbers.iter().copied().map(BackendId).collect();
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
        Op::PutService(ServiceId(1), Service { wheels: [ids(&[1, 2, 1]), ids(&[32_767])] }),
        Op::PutService(ServiceId(4095), Service { wheels: [ids(&[]), ids(&[32_767, 32_767])] }),
        Op::PutService(ServiceId(2), Service::default()),
        Op::PutListener(ListenerId(1), listener(1, Protocol::Tcp, 80, 1, 1800, false)),
        Op::PutListener(ListenerId(2), listener(1, Protocol::Udp, 80, 2, 1, true)),
        Op::PutListener(ListenerId(8191), listener(4096, Protocol::Tcp, 65_535, 4095, 86_400, false)),
        Op::PutAddress("10.0.0.10".parse().unwrap(), local(Some(1), None, false)),
        Op::PutAddress("10.1.0.1".parse().unwrap(), local(None, Some(0), true)),
        Op::PutAddress("10.1.0.4".parse().unwrap(), local(Some(2), Some(3), true)),
        Op::PutAddress("fd00::10".parse().unwrap(), local(Some(4096), None, true)),
        Op::PutAddress("fd00:1::1".parse().unwrap(), local(None, Some(1), false)),
    ]
}

const GOLDEN: &str = "\
address 10.0.0.10 vip=1
address 10.1.0.1 snat=0 host
address 10.1.0.4 vip=2 snat=3 host
address fd00::10 vip=4096 host
address fd00:1::1 snat=1
snat v4/0 10.1.0.1 ports=1024+64511
snat v4/3 10.1.0.4 ports=65535+1
snat v6/1 fd00:1::1 ports=2+3
listener 1 vip=1 tcp/80 service=1 idle=1800s
listener 2 vip=1 udp/80 service=2 idle=1s closed-to-new
listener 8191 vip=4096 tcp/65535 service=4095 idle=86400s
service 1 v4 [1 2 1]
service 1 v6 [32767]
service 2 v4 []
service 2 v6 []
service 4095 v4 []
service 4095 v6 [32767 32767]
backend 1 10.1.0.11:8080 serving snat=0+4 via=1023 02:00:00:00:00:fe
backend 2 10.1.0.12:65535 expired-reset snat=3+1 unresolved
backend 32767 [fd00:1::11]:1 expired-silent snat=0+0 via=1023 02:00:00:00:00:fe
egress 1 ifindex=2 02:00:00:00:00:01
egress 1023 ifindex=4294967295 ff:ff:ff:ff:ff:ff vlan=4094
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
    let Image { addresses, snats, listeners, services, backends, egresses } = image;
    let ops = (addresses.keys().map(|&address| Op::RemoveAddress(address)))
        .chain(listeners.iter().map(|(&id, &listener)| Op::RemoveListener(id, listener)))
        .chain(services.keys().map(|&id| Op::RemoveService(id)))
        .chain(backends.keys().map(|&id| Op::RemoveBackend(id)))
        .chain(snats.keys().map(|&(family, slot)| Op::RemoveSnat(family, slot)))
        .chain(egresses.keys().map(|&id| Op::RemoveEgress(id)));
    for op in ops {
        bench.apply(&[op.clone(), op]);
    }
    assert_eq!(bench.datapath().image().unwrap(), Image::default());
}

#[test]
fn what_may_be_replaced_reads_back_replaced() {
    let mut bench = Bench::with(&ops());
    let mut image = bench.datapath().image().unwrap();
    let listener =
        Listener { closed_to_new: true, service: ServiceId(4095), ..image.listeners[&ListenerId(1)] };
    let backend =
        Backend { state: BackendState::Serving, next_hop: None, ..image.backends[&BackendId(32_767)] };
    let service = Service { wheels: [vec![BackendId(2); 100], Vec::new()] };
    for op in [
        Op::PutListener(ListenerId(1), listener),
        Op::PutBackend(BackendId(32_767), backend),
        Op::PutService(ServiceId(1), service),
        Op::PutAddress("10.0.0.10".parse().unwrap(), LocalAddress { host: true, ..LocalAddress::default() }),
    ] {
        image.apply(&op);
        bench.apply(&[op]);
        assert_eq!(bench.datapath().image().unwrap(), image);
    }
}
