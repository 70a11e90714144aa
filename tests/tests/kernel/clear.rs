//! What one test leaves behind is no other test's.

use std::{collections::BTreeSet, os::fd::AsFd as _};

use aya::maps::{MapData, MapType};
use memmap2::MmapOptions;
use nlb_agent::{
    datapath::{
        Backend, BackendId, BackendState, Datapath as _, Eligibility, Family, FlowCounts, Forward, Image, Op,
        Service, ServiceId, Tracking, Turns,
    },
    model::{OnDrainExpiry, Protocol},
};
use nlb_common::{abi::maps::name, verdict::Verdict};
use nlb_tests::packet::Frame;

use crate::{
    bench::Bench,
    connection::Connection,
    restart::meta,
    scene::{self, IDLE, SERVICE, UDP_PORT, client, vip},
};

/// The tunnels' service.
const TUNNELS: ServiceId = ServiceId(2);

/// The family's backend behind a tunnel.
fn tunnel(family: Family) -> (BackendId, Backend) {
    let (BackendId(id), backend) = scene::backend(family, 0);
    let source = scene::snat(family, 0).ip();
    (BackendId(id + 100), Backend { forward: Forward::Ipip(Some(source)), ..backend })
}

/// A service that remembers clients, with one backend in each family.
fn service(of: impl Fn(Family) -> BackendId) -> Service {
    let mut service = Service { persistence: Some(IDLE), ..Service::default() };
    for family in Family::ALL {
        service.picks[family.index()].turns = Turns::Wheel(vec![of(family)]);
    }
    service
}

/// Has every table hold something.
fn use_everything(bench: &mut Bench) {
    bench.apply(&scene::ops());
    let expired = BackendState::Expired(OnDrainExpiry::Reset);
    bench.apply(&[
        Op::PutService(SERVICE, service(|family| scene::backends(family)[0])),
        Op::PutService(TUNNELS, service(|family| tunnel(family).0)),
    ]);
    for family in Family::ALL {
        let (id, backend) = tunnel(family);
        let (listener_id, mut listener) = scene::listener(family, Protocol::Udp);
        bench.apply(&[Op::PutBackend(id, backend), Op::RemoveListener(listener_id, listener)]);
        (listener.service, listener.tracking) = (TUNNELS, Tracking::Full);
        bench.apply(&[Op::PutListener(listener_id, listener)]);

        Connection::established(bench, family, 1);
        let datagram = |n| Frame::udp(client(family, n), vip(family, UDP_PORT));
        for n in [1, 1, 2] {
            bench.expect(&datagram(n), Verdict::Forward);
        }
        // The sweeper ends its flows and writes down that it does.
        let state = expired;
        bench.apply(&[Op::PutBackend(id, Backend { state, eligibility: Eligibility::Draining, ..backend })]);
        bench.datapath().sweep().unwrap();
        bench.apply(&[Op::PutBackend(id, backend)]);
        for n in [3, 3, 4] {
            bench.expect(&datagram(n), Verdict::Forward);
        }
    }
}

/// The tables in shared memory of which not every byte is zero, and how many tables there are; read past the agent.
fn used(bench: &Bench) -> (BTreeSet<&'static str>, usize) {
    let (mut used, mut count) = (BTreeSet::new(), 0);
    // Seed and layout, and what a jiffy is worth, are not a table's content.
    for name in name::ALL.iter().copied().filter(|&name| name != name::META && name != name::CLOCK) {
        let map = MapData::from_pin(bench.maps().join(name)).unwrap();
        let info = map.info().unwrap();
        if info.map_type().unwrap() != MapType::Array {
            continue;
        }
        count += 1;
        let len = info.value_size().next_multiple_of(8) as usize * info.max_entries() as usize;
        // SAFETY: nobody writes into the map meanwhile.
        let bytes = unsafe { MmapOptions::new().len(len).map(&map.fd().as_fd()) }.unwrap();
        if bytes.iter().any(|&byte| byte != 0) {
            used.insert(name);
        }
    }
    (used, count)
}

#[test]
fn a_cleared_datapath_is_as_a_new_one() {
    let mut bench = Bench::new();
    assert_eq!(used(&bench).0, BTreeSet::new(), "whatever ran before");
    use_everything(&mut bench);
    let (before, count) = (meta(&bench), used(&bench).1);
    assert_eq!(used(&bench).0.len(), count, "only {:?}", used(&bench).0);

    let datapath = bench.datapath();
    datapath.clear().unwrap();
    assert_eq!(datapath.image().unwrap(), Image::default());
    assert_eq!(datapath.sweep().unwrap(), FlowCounts::default());
    assert!(datapath.verdicts().unwrap().iter().chain(&datapath.events().unwrap()).all(|&count| count == 0));
    for family in Family::ALL {
        let ids = [scene::backends(family)[0], tunnel(family).0];
        assert!(datapath.traffic(&ids).unwrap().values().all(|traffic| *traffic == Default::default()));
    }
    assert_eq!(used(&bench).0, BTreeSet::new());
    assert_eq!(meta(&bench), before, "seed and layout stay");

    bench.apply(&scene::ops());
    for family in Family::ALL {
        Connection::established(&mut bench, family, 1);
    }
}
