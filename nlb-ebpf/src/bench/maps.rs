//! The maps of the benchmark.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
};
use nlb_common::{
    abi::{
        bench::{
            reference::{
                self, Flow, FlowKey, ListenerKey, MAX_BACKENDS, MAX_LISTENERS, OuterV4, OuterV6, verdict,
            },
            traffic::{Plan, State},
        },
        counters::Traffic,
    },
    addr::{V4, V6},
};

#[map]
pub(crate) static PLAN: Array<Plan> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static STATE: Array<State> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[map]
pub(crate) static LISTENERS_V4: HashMap<ListenerKey<V4>, u32> = HashMap::with_max_entries(MAX_LISTENERS, 0);

#[map]
pub(crate) static LISTENERS_V6: HashMap<ListenerKey<V6>, u32> = HashMap::with_max_entries(MAX_LISTENERS, 0);

#[map]
pub(crate) static FLOWS_V4: LruHashMap<FlowKey<V4>, Flow> = LruHashMap::with_max_entries(reference::FLOWS, 0);

#[map]
pub(crate) static FLOWS_V6: LruHashMap<FlowKey<V6>, Flow> = LruHashMap::with_max_entries(reference::FLOWS, 0);

#[map]
pub(crate) static RING: Array<u32> = Array::with_max_entries(reference::RING, 0);

#[map]
pub(crate) static BACKENDS_V4: Array<OuterV4> = Array::with_max_entries(MAX_BACKENDS, 0);

#[map]
pub(crate) static BACKENDS_V6: Array<OuterV6> = Array::with_max_entries(MAX_BACKENDS, 0);

#[map]
pub(crate) static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(verdict::COUNT, 0);

#[map]
pub(crate) static BACKEND_COUNTERS: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_BACKENDS, 0);
