//! What is counted, next to what the tables hold.

use std::collections::BTreeMap;

use aya::{
    Pod,
    maps::{Array, Map, MapData},
};
use nlb_agent::datapath::{BackendId, Datapath as _, FlowCounts, aya::AyaDatapath};
use nlb_common::{
    abi::{
        conn::{self, Conn, Status},
        flow::{self, FlowSet, Key, Links, Tags, Value},
        maps::{DEFAULT_DNATS, DEFAULT_SNATS, name},
        persistence::{self, PersistenceSet, Use},
    },
    addr::{V4, V6},
};

use crate::bench::Bench;

/// No test has more.
const BACKENDS: u32 = 32;

/// Sweeps, and compares every backend's active connections with what the sweep found; `Err`: those that differ. Nothing
/// else may be going on.
pub(crate) fn active(datapath: &mut AyaDatapath) -> Result<FlowCounts, String> {
    let found = datapath.sweep().map_err(|error| error.to_string())?;
    let ids: Vec<_> = (1..=BACKENDS).map(BackendId).chain(found.backends.keys().copied()).collect();
    let counted = datapath.traffic(&ids).map_err(|error| error.to_string())?;
    let wrong: Vec<_> = (counted.iter())
        .map(|(id, traffic)| (id, traffic.active, found.backends.get(id).map_or(0, |flows| flows.active)))
        .filter(|(_, counted, there)| counted != there)
        .map(|(id, counted, there)| format!("backend {id}: {counted} counted, {there} in the tables"))
        .collect();
    if wrong.is_empty() { Ok(found) } else { Err(wrong.join("; ")) }
}

/// Compares the connections that every persistence entry counts with the active flows that are linked to it.
#[track_caller]
pub(crate) fn links(bench: &Bench) {
    let mut linked: BTreeMap<u32, u32> = BTreeMap::new();
    let mut add = |link| *linked.entry(link).or_default() += 1;
    let links: Array<_, Links> = open(bench, name::FLOW_LINKS);
    for (set, FlowSet { entries }) in (0..).zip(all::<FlowSet>(bench, name::FLOWS)) {
        for (way, entry) in entries.iter().enumerate() {
            let value = Value(entry.value);
            if value.is_active() && value.is_linked() {
                add(links.get(&set, 0).unwrap()[way]);
            }
        }
    }
    conns::<V4>(bench, name::CONNS_V4, name::CONN_LINKS_V4).into_iter().for_each(&mut add);
    conns::<V6>(bench, name::CONNS_V6, name::CONN_LINKS_V6).into_iter().for_each(&mut add);
    for (set, PersistenceSet { entries }) in (0..).zip(all::<PersistenceSet>(bench, name::PERSISTENCE)) {
        for (way, entry) in (0..).zip(entries) {
            let link = persistence::link(set, way);
            let there = linked.remove(&link).unwrap_or_default();
            let counted = Use(entry.use_).connections();
            assert_eq!(counted, there, "connections of persistence entry {link}, and those in the tables");
        }
    }
    assert_eq!(linked, BTreeMap::new(), "flows linked to what is no entry");
}

/// Every flow of the flow table has its tag, without which a SYN would not find it. Of IPv6 flows, whose keys tell their hash.
#[track_caller]
pub(crate) fn tags(bench: &Bench) {
    let tags: Array<_, Tags> = open(bench, name::FLOW_TAGS);
    for (set, FlowSet { entries }) in (0..).zip(all::<FlowSet>(bench, name::FLOWS)) {
        for (way, entry) in entries.iter().enumerate() {
            if Value(entry.value).is_live() && Key(entry.key).client_v4().is_none() {
                let there = tags.get(&flow::pair(set), 0).unwrap().to_le_bytes()[flow::tag_byte(set, way)];
                // The key is the hash, in all bits that the tag has.
                assert_eq!(there, flow::tag(entry.key), "set {set}, way {way}");
            }
        }
    }
}

/// How much of the room for `dnat` tests use.
const PLACES: u32 = 256;

/// The links of the active connections of the first SNAT address, and of `dnat`.
fn conns<A: Copy>(bench: &Bench, name: &str, links: &str) -> Vec<u32>
where
    Conn<A>: Pod,
{
    let table: Array<_, Conn<A>> = open(bench, name);
    let links: Array<_, u32> = open(bench, links);
    assert_eq!(table.len(), (DEFAULT_SNATS + DEFAULT_DNATS) * conn::PORTS);
    let is_linked = |index: &u32| {
        let status = Status(table.get(index, 0).unwrap().status);
        status.state().is_active() && status.is_linked()
    };
    let first = conn::index(0, crate::scene::FIRST_PORT);
    let dnat = conn::index(DEFAULT_SNATS, 0);
    (first..first + u32::from(crate::scene::PORTS))
        .chain(dnat..dnat + PLACES)
        .filter(is_linked)
        .map(|index| links.get(&index, 0).unwrap())
        .collect()
}

fn all<T: Pod>(bench: &Bench, name: &str) -> Vec<T> {
    open::<T>(bench, name).iter().map(Result::unwrap).collect()
}

fn open<T: Pod>(bench: &Bench, name: &str) -> Array<MapData, T> {
    let map = MapData::from_pin(bench.maps().join(name)).unwrap();
    Array::try_from(Map::Array(map)).unwrap()
}
