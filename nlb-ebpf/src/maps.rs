//! The maps. A map that is pinned keeps the size it was made with.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use nlb_common::{
    abi::{
        backend::{Backend, Egress},
        conn::{ConnV4, ConnV6, PORTS},
        counters::Traffic,
        flow::FlowSet,
        listener::{Listener, ListenerKey},
        maps::{
            FLOW_SETS, MAX_ADDRESSES, MAX_BACKENDS, MAX_EGRESSES, MAX_LISTENERS, MAX_SERVICES, MAX_SLOTS,
            MAX_SNATS,
        },
        meta::Meta,
        service::Service,
        vip::{LocalAddress, Snat},
    },
    addr::{V4, V6},
    verdict,
};

#[map]
pub(crate) static META: Array<Meta> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static ADDRESSES_V4: HashMap<V4, LocalAddress> = HashMap::with_max_entries(MAX_ADDRESSES, 0);

#[map]
pub(crate) static ADDRESSES_V6: HashMap<V6, LocalAddress> = HashMap::with_max_entries(MAX_ADDRESSES, 0);

#[map]
pub(crate) static SNATS_V4: Array<Snat> = Array::with_max_entries(MAX_SNATS, BPF_F_MMAPABLE);

#[map]
pub(crate) static SNATS_V6: Array<Snat> = Array::with_max_entries(MAX_SNATS, BPF_F_MMAPABLE);

#[map]
pub(crate) static LISTENER_INDEX: HashMap<ListenerKey, u32> = HashMap::with_max_entries(MAX_LISTENERS, 0);

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
pub(crate) static FLOWS_V4: Array<FlowSet> = Array::with_max_entries(FLOW_SETS, BPF_F_MMAPABLE);

#[map]
pub(crate) static FLOWS_V6: Array<FlowSet> = Array::with_max_entries(FLOW_SETS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONNS_V4: Array<ConnV4> = Array::with_max_entries(MAX_SNATS * PORTS, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONNS_V6: Array<ConnV6> = Array::with_max_entries(MAX_SNATS * PORTS, BPF_F_MMAPABLE);

#[map]
pub(crate) static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(verdict::COUNT, 0);

#[map]
pub(crate) static LISTENER_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_LISTENERS, 0);

#[map]
pub(crate) static BACKEND_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_BACKENDS, 0);
