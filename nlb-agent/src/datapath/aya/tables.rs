//! The maps, opened: arrays in the agent's memory, hash maps behind system calls.

use aya::{
    Ebpf,
    maps::{HashMap, LpmTrie, Map, MapData, PerCpuArray},
};
use nlb_common::{
    abi::{
        acl::AclKey,
        backend::{Backend, Egress},
        clock::Clock,
        conn::{ConnV4, ConnV6},
        conn_set::ConnSet,
        counters::Traffic,
        flow::{FlowSet, Links, Tags},
        fragment::{FragmentKey, FragmentPorts},
        interface::Interface,
        listener::{Listener, ListenerBucket},
        maps::name,
        persistence::PersistenceSet,
        service::Service,
        sweep::Sweep,
        vip::{LocalAddress, Snat},
    },
    addr::{V4, V6},
};

use super::{loader::map_error, mapped::Mapped};
use crate::datapath::DatapathError;

/// An address as a key that aya moves.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<A>(pub(super) A);

// SAFETY: transparent over integers.
unsafe impl aya::Pod for Key<V4> {}
// SAFETY: as above.
unsafe impl aya::Pod for Key<V6> {}

/// All maps that the agent reads or writes.
pub(super) struct Maps {
    pub(super) clock: Mapped<Clock>,
    pub(super) address_filter: Mapped<u64>,
    pub(super) addresses_v4: HashMap<MapData, Key<V4>, LocalAddress>,
    pub(super) addresses_v6: HashMap<MapData, Key<V6>, LocalAddress>,
    pub(super) acls_v4: LpmTrie<MapData, AclKey<V4>, u32>,
    pub(super) acls_v6: LpmTrie<MapData, AclKey<V6>, u32>,
    pub(super) snats: [Mapped<Snat>; 2],
    pub(super) listener_buckets: Mapped<ListenerBucket>,
    pub(super) listeners: Mapped<Listener>,
    pub(super) services: Mapped<Service>,
    pub(super) arena: Mapped<u32>,
    pub(super) backends: Mapped<Backend>,
    pub(super) egresses: Mapped<Egress>,
    pub(super) interfaces: HashMap<MapData, u32, Interface>,
    pub(super) flows: Mapped<FlowSet>,
    pub(super) flow_links: Mapped<Links>,
    pub(super) flow_tags: Mapped<Tags>,
    pub(super) half_open: Mapped<FlowSet>,
    pub(super) conn_sets: [Mapped<ConnSet>; 2],
    pub(super) conns_v4: Mapped<ConnV4>,
    pub(super) conns_v6: Mapped<ConnV6>,
    pub(super) conn_links: [Mapped<u32>; 2],
    pub(super) persistence: Mapped<PersistenceSet>,
    pub(super) active: Mapped<u64>,
    pub(super) sweep: Mapped<Sweep>,
    pub(super) fragments: HashMap<MapData, FragmentKey, FragmentPorts>,
    pub(super) events: PerCpuArray<MapData, u64>,
    pub(super) verdicts: PerCpuArray<MapData, u64>,
    pub(super) listener_counters: PerCpuArray<MapData, Traffic>,
    pub(super) backend_counters: PerCpuArray<MapData, Traffic>,
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, DatapathError> {
    ebpf.take_map(name)
        .ok_or_else(|| map_error("find", name, &std::io::Error::from(std::io::ErrorKind::NotFound)))
}

fn mapped<T: aya::Pod>(ebpf: &mut Ebpf, name: &'static str) -> Result<Mapped<T>, DatapathError> {
    match take(ebpf, name)? {
        Map::Array(map) => Mapped::new(name, &map),
        _ => Err(DatapathError::Map { operation: "open", map: name, cause: "it is no array".to_owned() }),
    }
}

fn opened<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, DatapathError> {
    T::try_from(take(ebpf, name)?).map_err(|cause| map_error("open", name, &cause))
}

impl Maps {
    /// Takes the maps out of a loaded object.
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            clock: mapped(ebpf, name::CLOCK)?,
            address_filter: mapped(ebpf, name::ADDRESS_FILTER)?,
            addresses_v4: opened(ebpf, name::ADDRESSES_V4)?,
            addresses_v6: opened(ebpf, name::ADDRESSES_V6)?,
            acls_v4: opened(ebpf, name::ACLS_V4)?,
            acls_v6: opened(ebpf, name::ACLS_V6)?,
            snats: [mapped(ebpf, name::SNATS_V4)?, mapped(ebpf, name::SNATS_V6)?],
            listener_buckets: mapped(ebpf, name::LISTENER_BUCKETS)?,
            listeners: mapped(ebpf, name::LISTENERS)?,
            services: mapped(ebpf, name::SERVICES)?,
            arena: mapped(ebpf, name::ARENA)?,
            backends: mapped(ebpf, name::BACKENDS)?,
            egresses: mapped(ebpf, name::EGRESSES)?,
            interfaces: opened(ebpf, name::INTERFACES)?,
            flows: mapped(ebpf, name::FLOWS)?,
            flow_links: mapped(ebpf, name::FLOW_LINKS)?,
            flow_tags: mapped(ebpf, name::FLOW_TAGS)?,
            half_open: mapped(ebpf, name::HALF_OPEN)?,
            conn_sets: [mapped(ebpf, name::CONN_SETS_V4)?, mapped(ebpf, name::CONN_SETS_V6)?],
            conns_v4: mapped(ebpf, name::CONNS_V4)?,
            conns_v6: mapped(ebpf, name::CONNS_V6)?,
            conn_links: [mapped(ebpf, name::CONN_LINKS_V4)?, mapped(ebpf, name::CONN_LINKS_V6)?],
            persistence: mapped(ebpf, name::PERSISTENCE)?,
            active: mapped(ebpf, name::ACTIVE)?,
            sweep: mapped(ebpf, name::SWEEP)?,
            fragments: opened(ebpf, name::FRAGMENTS)?,
            events: opened(ebpf, name::EVENTS)?,
            verdicts: opened(ebpf, name::VERDICTS)?,
            listener_counters: opened(ebpf, name::LISTENER_COUNTERS)?,
            backend_counters: opened(ebpf, name::BACKEND_COUNTERS)?,
        })
    }
}
