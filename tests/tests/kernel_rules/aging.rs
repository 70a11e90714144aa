//! A simulated clock for the kernel's side: nobody can set the clock that the program reads, so everything that the maps
//! remember the time of is made older instead, which is the same.

use std::{
    marker::PhantomData,
    mem::offset_of,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use nlb_common::abi::{
    backend::{Backend, state},
    conn::{ConnV4, ConnV6, PORTS},
    flow::{FlowSet, Value},
    maps::name,
    persistence::{Owner, PersistenceSet},
};

/// A pinned array in memory.
struct Mapped<T> {
    memory: MmapRaw,
    entries: PhantomData<T>,
}

impl<T> Mapped<T> {
    fn open(maps: &Path, name: &str) -> Self {
        let map = MapData::from_pin(maps.join(name)).unwrap();
        let info = map.info().unwrap();
        assert_eq!(info.value_size() as usize, size_of::<T>(), "{name}");
        let len = size_of::<T>() * info.max_entries() as usize;
        let memory = MmapOptions::new().len(len).map_raw(map.fd().as_fd().as_raw_fd()).unwrap();
        Self { memory, entries: PhantomData }
    }

    /// The first `count` entries. No packet is on its way, and the agent waits.
    fn entries(&mut self, count: usize) -> &mut [T] {
        let count = count.min(self.memory.len() / size_of::<T>());
        // SAFETY: within the mapping; the types are plain data, and nobody else touches the maps meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), count) }
    }
}

/// The maps that remember times.
pub(crate) struct Aging {
    flows: Mapped<FlowSet>,
    half_open: Mapped<FlowSet>,
    persistence: Mapped<PersistenceSet>,
    backends: Mapped<Backend>,
    conns_v4: Mapped<ConnV4>,
    conns_v6: Mapped<ConnV6>,
}

impl Aging {
    /// Those pinned in a directory.
    pub(crate) fn of(maps: &Path) -> Self {
        Self {
            flows: Mapped::open(maps, name::FLOWS),
            half_open: Mapped::open(maps, name::HALF_OPEN),
            persistence: Mapped::open(maps, name::PERSISTENCE),
            backends: Mapped::open(maps, name::BACKENDS),
            conns_v4: Mapped::open(maps, name::CONNS_V4),
            conns_v6: Mapped::open(maps, name::CONNS_V6),
        }
    }

    /// Makes all of it so many ticks older; of the connections those of the first SNAT address, which is the only one.
    pub(crate) fn age(&mut self, ticks: u32) {
        let Self { flows, half_open, persistence, backends, conns_v4, conns_v6 } = self;
        for set in [flows, half_open].into_iter().flat_map(|table| table.entries(usize::MAX)) {
            for entry in set.entries.iter_mut().filter(|entry| Value(entry.value).is_live()) {
                entry.value = older(entry.value, ticks);
            }
        }
        for entry in persistence.entries(usize::MAX).iter_mut().flat_map(|set| &mut set.entries) {
            if entry.owner != Owner::FREE.0 {
                entry.use_ = older(entry.use_, ticks);
            }
        }
        for backend in backends.entries(usize::MAX) {
            if matches!(backend.state, state::DRAINING_RESET | state::DRAINING_SILENT) {
                backend.deadline = backend.deadline.wrapping_sub(ticks);
            }
        }
        const { assert!(offset_of!(ConnV4, last_seen) == offset_of!(ConnV6, last_seen)) };
        let v4 = conns_v4.entries(PORTS as usize).iter_mut().map(|conn| &mut conn.last_seen);
        let v6 = conns_v6.entries(PORTS as usize).iter_mut().map(|conn| &mut conn.last_seen);
        for last_seen in v4.chain(v6).filter(|last_seen| **last_seen != 0) {
            *last_seen = last_seen.wrapping_sub(ticks);
        }
    }
}

/// A word whose upper half is a moment.
fn older(word: u64, ticks: u32) -> u64 {
    word.wrapping_sub(u64::from(ticks) << 32)
}
