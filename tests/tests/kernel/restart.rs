//! What is pinned outlives the agent.

use aya::maps::{Array, Map, MapData};
use nlb_agent::datapath::{Datapath as _, Family, Op, Service, ServiceId, Turns};
use nlb_common::{
    abi::{LAYOUT_VERSION, maps::name, meta::Meta},
    verdict::Verdict,
};
use nlb_tests::packet::flag;

use crate::{bench::Bench, connection::Connection, scene};

/// What the pinned maps say about themselves.
pub(crate) fn meta(bench: &Bench) -> Meta {
    let map = MapData::from_pin(bench.maps().join(name::META)).unwrap();
    Array::<_, Meta>::try_from(Map::Array(map)).unwrap().get(&0, 0).unwrap()
}

#[test]
fn a_new_agent_finds_maps_seed_counters_and_flows_as_they_were() {
    let mut bench = scene::bench();
    let mut flows = Vec::new();
    for family in Family::ALL {
        for n in 0..20 {
            flows.push(Connection::established(&mut bench, family, n));
        }
    }
    let image = bench.datapath().image().unwrap();
    let (before, verdicts) = (meta(&bench), bench.datapath().verdicts().unwrap());
    assert_eq!(before.layout_version, LAYOUT_VERSION);

    for _ in 0..2 {
        bench.restart();
        assert_eq!(bench.datapath().image().unwrap().to_string(), image.to_string());
        assert_eq!(bench.datapath().image().unwrap(), image);
        assert_eq!(meta(&bench), before);
        for flow in &flows {
            flow.goes_on(&mut bench);
            bench.expect(&flow.answer(flag::ACK), Verdict::Reply);
        }
    }
    let after = bench.datapath().verdicts().unwrap();
    let forwarded = Verdict::Forward as usize;
    assert_eq!(after[forwarded], verdicts[forwarded] + 80, "counters go on");

    let counts = bench.datapath().sweep().unwrap();
    let active: u64 = counts.backends.values().map(|flows| flows.active).sum();
    assert_eq!(active, 40);
}

/// The arena is found as it was, too: a new wheel does not overwrite one in use.
#[test]
fn wheels_written_after_a_restart_leave_the_others_alone() {
    let mut bench = scene::bench();
    bench.apply(&[scene::wheel(&[0, 1, 1, 2, 2, 2])]);
    bench.restart();
    let mut other = Service::default();
    other.picks[0].turns = Turns::Wheel(vec![scene::backends(Family::V4)[0]; 9]);
    bench.apply(&[Op::PutService(ServiceId(2), other.clone())]);
    let image = bench.datapath().image().unwrap();
    assert_eq!(image.services[&ServiceId(2)], other);
    let slots = |family: Family| [0, 1, 1, 2, 2, 2].map(|slot| scene::backends(family)[slot]).to_vec();
    for family in Family::ALL {
        let turns = &image.services[&scene::SERVICE].picks[family.index()].turns;
        assert_eq!(*turns, Turns::Wheel(slots(family)));
    }
}
