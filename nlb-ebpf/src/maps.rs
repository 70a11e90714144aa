//! The maps. A map that is pinned keeps the size it was made with; those of the flow, connection and persistence tables are
//! set when they are made.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray},
};
use nlb_common::{
    abi::{
        acl::AclKey,
        active::Active,
        backend::{Backend, Egress},
        clock::Clock,
        conn::{ConnV4, ConnV6, PORTS},
        conn_set::ConnSet,
        counters::Traffic,
        flow::{FlowSet, Links, Tags, pair},
        fragment::{FragmentKey, FragmentPorts},
        interface::Interface,
        listener::{Listener, ListenerBucket},
        maps::{
            ACL_ENTRIES, DEFAULT_DNATS, DEFAULT_FLOWS, DEFAULT_PERSISTENCE, DEFAULT_SNATS, FRAGMENTED,
            HALF_OPEN_SETS, LISTENER_BUCKETS as BUCKETS, MAX_ADDRESSES, MAX_BACKENDS, MAX_EGRESSES,
            MAX_INTERFACES, MAX_LISTENERS, MAX_SERVICES, MAX_SLOTS, conn_sets, flow_sets, persistence_sets,
            programs::SLOTS as PROGRAM_SLOTS,
        },
        meta::Meta,
        persistence::PersistenceSet,
        service::Service,
        sweep::Sweep,
        vip::{LocalAddress, Snat, filter},
    },
    addr::{V4, V6},
    event, verdict,
};

/// Slots of a connection table.
const SNATS: u32 = DEFAULT_SNATS + DEFAULT_DNATS;
/// Entries of a connection table.
const CONNS: u32 = SNATS * PORTS;
/// Sets that they are found in.
const CONN_SETS: u32 = conn_sets(DEFAULT_SNATS, DEFAULT_DNATS);

#[map]
pub(crate) static META: Array<Meta> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(PROGRAM_SLOTS, 0);

#[map]
pub(crate) static CLOCK: Array<Clock> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static ADDRESS_FILTER: Array<u64> = Array::with_max_entries(filter::WORDS, BPF_F_MMAPABLE);

#[map]
pub(crate) static ADDRESSES_V4: HashMap<V4, LocalAddress> = HashMap::with_max_entries(MAX_ADDRESSES, 0);

#[map]
pub(crate) static ADDRESSES_V6: HashMap<V6, LocalAddress> = HashMap::with_max_entries(MAX_ADDRESSES, 0);

#[map]
pub(crate) static ACLS_V4: LpmTrie<AclKey<V4>, u32> = LpmTrie::with_max_entries(ACL_ENTRIES, 0);

#[map]
pub(crate) static ACLS_V6: LpmTrie<AclKey<V6>, u32> = LpmTrie::with_max_entries(ACL_ENTRIES, 0);

#[map]
pub(crate) static SNATS_V4: Array<Snat> = Array::with_max_entries(SNATS, BPF_F_MMAPABLE);

#[map]
pub(crate) static SNATS_V6: Array<Snat> = Array::with_max_entries(SNATS, BPF_F_MMAPABLE);

#[map]
pub(crate) static LISTENER_BUCKETS: Array<ListenerBucket> = Array::with_max_entries(BUCKETS, BPF_F_MMAPABLE);

#[map]
pub(crate) static LISTENERS: Array<Listener> = Array::with_max_entries(MAX_LISTENERS, BPF_F_MMAPABLE);

#[map]
pub(crate) static SERVICES: Array<Service> = Array::with_max_entries(MAX_SERVICES, BPF_F_MMAPABLE);

#[map]
pub(crate) static ARENA: Array<u32> = Array::with_max_entries(MAX_SLOTS, BPF_F_MMAPABLE);

#[map]
pub(crate) static BACKENDS: Array<Backend> = Array::with_max_entries(MAX_BACKENDS, BPF_F_MMAPABLE);

#[map]
pub(crate) static EGRESSES: Array<Egress> = Array::with_max_entries(MAX_EGRESSES, BPF_F_MMAPABLE);

#[map]
pub(crate) static INTERFACES: HashMap<u32, Interface> = HashMap::with_max_entries(MAX_INTERFACES, 0);

#[map]
pub(crate) static FLOWS: Array<FlowSet> = Array::with_max_entries(flow_sets(DEFAULT_FLOWS), BPF_F_MMAPABLE);

#[map]
pub(crate) static FLOW_LINKS: Array<Links> =
    Array::with_max_entries(flow_sets(DEFAULT_FLOWS), BPF_F_MMAPABLE);

#[map]
pub(crate) static FLOW_TAGS: Array<Tags> =
    Array::with_max_entries(pair(flow_sets(DEFAULT_FLOWS)), BPF_F_MMAPABLE);

#[map]
pub(crate) static HALF_OPEN: Array<FlowSet> = Array::with_max_entries(HALF_OPEN_SETS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONN_SETS_V4: Array<ConnSet> = Array::with_max_entries(CONN_SETS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONN_SETS_V6: Array<ConnSet> = Array::with_max_entries(CONN_SETS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONNS_V4: Array<ConnV4> = Array::with_max_entries(CONNS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONNS_V6: Array<ConnV6> = Array::with_max_entries(CONNS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONN_LINKS_V4: Array<u32> = Array::with_max_entries(CONNS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONN_LINKS_V6: Array<u32> = Array::with_max_entries(CONNS, BPF_F_MMAPABLE);

#[map]
pub(crate) static PERSISTENCE: Array<PersistenceSet> =
    Array::with_max_entries(persistence_sets(DEFAULT_PERSISTENCE), BPF_F_MMAPABLE);

#[map]
pub(crate) static ACTIVE: Array<Active> = Array::with_max_entries(MAX_BACKENDS, BPF_F_MMAPABLE);

/// The agent's alone; made here so that it is pinned with the others.
#[map]
pub(crate) static SWEEP: Array<Sweep> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts> =
    LruHashMap::with_max_entries(FRAGMENTED, 0);

#[map]
pub(crate) static HANDOVER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static EVENTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(event::COUNT, 0);

#[map]
pub(crate) static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(verdict::COUNT, 0);

#[map]
pub(crate) static LISTENER_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_LISTENERS, 0);

#[map]
pub(crate) static BACKEND_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_BACKENDS, 0);
