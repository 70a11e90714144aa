//! All tables as if they had just been made.

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use nlb_common::{
    abi::{backend::Backend, listener::Listener, maps::name},
    event::Event,
    verdict::Verdict,
};

use super::{AyaDatapath, acls, arena::Arena, loader::map_error, tables::Maps, write::zero};
use crate::datapath::DatapathError;

impl AyaDatapath {
    /// Empties every table and starts every counter anew, as if the maps had just been made: seed and sizes stay.
    /// For test runs, which would have to load the program for each test otherwise. No packet may be on its way.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn clear(&mut self) -> Result<(), DatapathError> {
        let Self {
            ebpf: _,
            maps,
            arena,
            clock: _,
            hash_seed: _,
            slots: _,
            verified_instructions: _,
            reserved,
            acls,
            unchecked,
            interfaces: _,
            _pins: _,
        } = self;
        clear_counters(maps)?;
        clear_tables(maps)?;
        *arena = Arena::new(maps.arena.len(), []);
        *reserved = Default::default();
        acls.clear();
        *unchecked = 0;
        Ok(())
    }
}

/// Those of listeners and backends that have been in use: to write each one takes a system call.
fn clear_counters(maps: &mut Maps) -> Result<(), DatapathError> {
    for index in 0..maps.listeners.len() {
        if maps.listeners.read(index)? != Listener::default() {
            zero(&mut maps.listener_counters, index, name::LISTENER_COUNTERS)?;
        }
    }
    for index in 0..maps.backends.len() {
        if maps.backends.read(index)? != Backend::default() {
            zero(&mut maps.backend_counters, index, name::BACKEND_COUNTERS)?;
        }
    }
    (0..Event::ALL.len() as u32).try_for_each(|index| zero(&mut maps.events, index, name::EVENTS))?;
    (0..Verdict::ALL.len() as u32).try_for_each(|index| zero(&mut maps.verdicts, index, name::VERDICTS))
}

/// Everything else.
fn clear_tables(maps: &mut Maps) -> Result<(), DatapathError> {
    // Whoever adds a table finds that it is to be named here.
    let Maps {
        // What a jiffy is worth stays.
        clock: _,
        address_filter,
        addresses_v4,
        addresses_v6,
        acls_v4,
        acls_v6,
        snats: [snats_v4, snats_v6],
        listener_buckets,
        listeners,
        services,
        arena,
        backends,
        egresses,
        interfaces,
        flows,
        flow_links,
        flow_tags,
        half_open,
        conn_sets: [conn_sets_v4, conn_sets_v6],
        conns_v4,
        conns_v6,
        conn_links: [conn_links_v4, conn_links_v6],
        persistence,
        active,
        sweep,
        fragments,
        events: _,
        verdicts: _,
        listener_counters: _,
        backend_counters: _,
    } = maps;
    remove_all(addresses_v4, name::ADDRESSES_V4)?;
    remove_all(addresses_v6, name::ADDRESSES_V6)?;
    remove_all(interfaces, name::INTERFACES)?;
    acls::remove_all(acls_v4, name::ACLS_V4)?;
    acls::remove_all(acls_v6, name::ACLS_V6)?;
    address_filter.fill_with_zeroes();
    snats_v4.fill_with_zeroes();
    snats_v6.fill_with_zeroes();
    listener_buckets.fill_with_zeroes();
    listeners.fill_with_zeroes();
    services.fill_with_zeroes();
    arena.fill_with_zeroes();
    backends.fill_with_zeroes();
    egresses.fill_with_zeroes();
    flows.fill_with_zeroes();
    flow_links.fill_with_zeroes();
    flow_tags.fill_with_zeroes();
    half_open.fill_with_zeroes();
    conn_sets_v4.fill_with_zeroes();
    conn_sets_v6.fill_with_zeroes();
    conns_v4.fill_with_zeroes();
    conns_v6.fill_with_zeroes();
    conn_links_v4.fill_with_zeroes();
    conn_links_v6.fill_with_zeroes();
    persistence.fill_with_zeroes();
    active.fill_with_zeroes();
    sweep.fill_with_zeroes();
    remove_all(fragments, name::FRAGMENTS)?;
    Ok(())
}

fn remove_all<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
) -> Result<(), DatapathError> {
    let keys = map.keys().collect::<Result<Vec<_>, _>>().map_err(|cause| map_error("read", name, &cause))?;
    keys.iter().try_for_each(|key| map.remove(key)).map_err(|cause| map_error("write", name, &cause))
}
