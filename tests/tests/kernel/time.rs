//! The program's clock.

use aya::maps::{Array, Map, MapData};
use nlb_agent::datapath::Datapath as _;
use nlb_common::abi::{clock::Clock, maps::name};

use crate::bench::Bench;

fn clock(bench: &Bench) -> Array<MapData, Clock> {
    let map = MapData::from_pin(bench.maps().join(name::CLOCK)).expect("it is pinned");
    Array::try_from(Map::Array(map)).expect("an array of clocks")
}

/// How far the program's clock is from the kernel's, in jiffies.
fn error(clock: Clock) -> u64 {
    let [jiffies, nanos, _] = clock.sample;
    let told = Clock::at(clock.jiffy, clock.offset, jiffies).expect("a jiffy's length is known");
    told.abs_diff(nanos) / clock.jiffy
}

#[test]
fn the_agent_finds_out_what_a_jiffy_is_worth() {
    let clock = clock(&Bench::new()).get(&0, 0).unwrap();
    assert!([10_000_000, 4_000_000, 3_333_333, 1_000_000].contains(&clock.jiffy), "{clock:?}");
    assert!(error(clock) <= 2, "{clock:?}");
}

#[test]
fn a_clock_that_goes_wrong_is_set_right() {
    let mut bench = Bench::new();
    let mut map = clock(&bench);
    let right = map.get(&0, 0).unwrap();
    let wrong = Clock { offset: right.offset.wrapping_sub(1_000_000_000), ..right };
    map.set(0, wrong, 0).unwrap();
    bench.datapath().sweep().unwrap();
    let after = map.get(&0, 0).unwrap();
    assert!(error(after) <= 2, "{after:?} after {wrong:?}");
}
