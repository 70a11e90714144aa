//! The real datapath: the kernel's, through aya. Nothing else in the agent names aya.

mod acls;
mod arena;
mod clear;
mod device;
mod encode;
mod filter;
mod links;
mod loader;
mod log;
mod mapped;
mod read;
mod sweep;
mod tables;
mod time;
mod words;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{Ebpf, programs::Xdp};
use nix::time::{ClockId, clock_gettime};
use nlb_common::{
    abi::{
        maps::{DEFAULT_FLOWS, DEFAULT_PERSISTENCE},
        service::Stretch,
    },
    ticks::Ticks,
};

pub use self::log::ProgramLog;
use self::{
    arena::Arena,
    loader::{Loaded, PinDirectory},
    sweep::{Ends, FlowTable, Judge, Persistence, Reserved},
    tables::Maps,
    write::Clock,
};
use super::{
    Acl, AclId, BackendId, Datapath, DatapathError, Family, FlowCounts, Image, Op, PersistenceEntry, Slots,
    SnatSlot, TableUse, Traffic,
};
use crate::{config::XdpMode, status::InterfaceStatus};

/// What the kernel's datapath is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where programs, links and maps are pinned; on a BPF file system.
    pub bpffs: PathBuf,
    /// Where the program is attached.
    pub interfaces: Vec<String>,
    /// How it is attached.
    pub xdp_mode: XdpMode,
    /// Whether the program logs every packet that it drops.
    pub log_drops: bool,
    /// What the tables are made for, if they are not there yet.
    pub sizes: Sizes,
    /// Seed of the packet hash; `None`: a random one, or that of the tables that are there.
    pub hash_seed: Option<u64>,
}

/// What the tables have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Flows of the flow table.
    pub flows: u32,
    /// Clients of the persistence table.
    pub persistence: u32,
    /// Slots of the connection tables.
    pub slots: Slots,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { flows: DEFAULT_FLOWS, persistence: DEFAULT_PERSISTENCE, slots: Slots::default() }
    }
}

/// A connection that a packet opens while an access list changes may be missed by the sweep that comes right then.
const SWEEPS_THAT_ASK: u8 = 2;

/// The kernel's datapath. It goes on without this value: programs, links and maps are pinned.
pub struct AyaDatapath {
    ebpf: Ebpf,
    maps: Maps,
    arena: Arena,
    clock: Clock,
    hash_seed: u64,
    slots: Slots,
    verified_instructions: Option<u32>,
    reserved: [Reserved; 2],
    /// The access lists in the maps.
    acls: BTreeMap<AclId, Arc<Acl>>,
    /// How many sweeps have still to ask whether clients of connections are allowed: some may be denied lately.
    unchecked: u8,
    interfaces: Vec<InterfaceStatus>,
    /// Last, so that the directory stays locked as long as anything above is used.
    _pins: PinDirectory,
}

impl AyaDatapath {
    /// Loads the program, adopts or makes the maps, and attaches the program to its interfaces, in the place of
    /// that of an earlier agent where there is one.
    ///
    /// # Errors
    /// Rights, kernel, file system, interface or another agent stand in the way: which, and what to do.
    pub fn open(options: &Options) -> Result<Self, DatapathError> {
        let mut datapath = Self::load(options)?;
        let program = loader::program(&mut datapath.ebpf)?;
        datapath.interfaces = links::attach(program, &options.bpffs, &options.interfaces, options.xdp_mode)?;
        Ok(datapath)
    }

    /// As [`open`](Self::open), without attaching: for test runs.
    ///
    /// # Errors
    /// As for `open`.
    pub fn load(options: &Options) -> Result<Self, DatapathError> {
        links::ensure_exist(&options.interfaces)?;
        let pins = PinDirectory::open(&options.bpffs)?;
        let Loaded { mut ebpf, hash_seed, slots, adopted, verified_instructions } =
            loader::load(&pins, options)?;
        let maps = Maps::open(&mut ebpf)?;
        time::set(&mut ebpf, &maps.clock);
        let arena = Arena::new(maps.arena.len(), stretches(&maps)?);
        tracing::info!(adopted, bpffs = %options.bpffs.display(), "datapath maps open");
        let mut datapath = Self {
            ebpf,
            maps,
            arena,
            clock: Clock::start(),
            hash_seed,
            slots,
            verified_instructions,
            reserved: Default::default(),
            acls: BTreeMap::new(),
            unchecked: SWEEPS_THAT_ASK,
            interfaces: Vec::new(),
            _pins: pins,
        };
        datapath.acls = datapath.read()?.acls;
        datapath.recover()?;
        Ok(datapath)
    }

    /// The loaded program, for test runs.
    ///
    /// # Errors
    /// The object has no such program.
    pub fn program(&mut self) -> Result<&mut Xdp, DatapathError> {
        loader::program(&mut self.ebpf)
    }

    /// How many instructions the verifier went through, in all programs together; `None`: the kernel is older than 5.16.
    #[must_use]
    pub fn verified_instructions(&self) -> Option<u32> {
        self.verified_instructions
    }

    /// The program's own log; `None` once it was taken.
    pub fn take_log(&mut self) -> Option<ProgramLog> {
        ProgramLog::take(&mut self.ebpf)
    }

    /// As [`sweep`](Datapath::sweep), at a moment of the caller's choice.
    ///
    /// # Errors
    /// As for `sweep`.
    pub fn sweep_at(&mut self, now: Ticks) -> Result<FlowCounts, DatapathError> {
        let mut counts = FlowCounts::default();
        let [mut reserved_v4, mut reserved_v6] = std::mem::take(&mut self.reserved);
        let acls = (self.unchecked > 0).then_some(&self.acls);
        let (judge, ends) = (Judge::new(&self.maps, now, acls)?, self.ends(now));
        self.v4().sweep(&self.used_slots(Family::V4)?, &judge, &ends, &mut reserved_v4, &mut counts)?;
        self.v6().sweep(&self.used_slots(Family::V6)?, &judge, &ends, &mut reserved_v6, &mut counts)?;
        for table in FlowTable::all(&self.maps) {
            table.sweep(&judge, &ends, &mut counts)?;
        }
        Persistence(&self.maps.persistence).sweep(&judge, &mut counts)?;
        self.reserved = [reserved_v4, reserved_v6];
        self.unchecked = self.unchecked.saturating_sub(1);
        Ok(counts)
    }

    fn used_slots(&self, family: Family) -> Result<Vec<SnatSlot>, DatapathError> {
        let snats = &self.maps.snats[family.index()];
        let mut slots = Vec::new();
        for slot in 0..snats.len() {
            if let (Ok(id), true) = (u16::try_from(slot), snats.read(slot)?.ports != 0) {
                slots.push(SnatSlot(id));
            }
        }
        Ok(slots)
    }

    fn v4(&self) -> sweep::Tables<'_, nlb_common::addr::V4> {
        let Maps { conns_v4: conns, conn_links: [links, _], conn_sets: [sets, _], .. } = &self.maps;
        sweep::Tables { family: Family::V4, conns, links, sets, hash_seed: self.hash_seed }
    }

    fn v6(&self) -> sweep::Tables<'_, nlb_common::addr::V6> {
        let Maps { conns_v6: conns, conn_links: [_, links], conn_sets: [_, sets], .. } = &self.maps;
        sweep::Tables { family: Family::V6, conns, links, sets, hash_seed: self.hash_seed }
    }

    fn ends(&self, now: Ticks) -> Ends<'_> {
        let Maps { sweep, active, persistence, .. } = &self.maps;
        Ends { sweep, active, persistence, now }
    }

    /// Finishes what a killed agent had begun to end.
    fn recover(&self) -> Result<(), DatapathError> {
        let ends = self.ends(now());
        self.v4().recover(&ends)?;
        self.v6().recover(&ends)?;
        FlowTable::all(&self.maps).iter().try_for_each(|table| table.recover(&ends))
    }
}

/// Detaches the program everywhere and removes everything that is pinned: established connections end.
///
/// # Errors
/// A running agent holds the directory, or the kernel does not let it go.
pub fn detach(bpffs: &Path) -> Result<(), DatapathError> {
    let pins = PinDirectory::open(bpffs)?;
    links::remove_all(pins.path())
}

/// The stretches of the arena that services name.
fn stretches(maps: &Maps) -> Result<Vec<Stretch>, DatapathError> {
    let mut stretches = Vec::new();
    for index in 1..maps.services.len() {
        for picks in maps.services.read(index)?.picks {
            stretches.extend([picks.turns, picks.ring].map(Stretch::from_word));
        }
    }
    Ok(stretches)
}

/// The datapath's clock, as the program reads it.
#[must_use]
pub fn now() -> Ticks {
    let now =
        clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or_else(|_| std::time::Duration::ZERO, Into::into);
    Ticks::from_nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

impl Datapath for AyaDatapath {
    fn image(&self) -> Result<Image, DatapathError> {
        self.read()
    }

    fn apply(&mut self, op: &Op) -> Result<(), DatapathError> {
        self.write(op)
    }

    fn slots(&self) -> Slots {
        self.slots
    }

    fn sweep(&mut self) -> Result<FlowCounts, DatapathError> {
        time::adjust(&mut self.ebpf, &self.maps.clock);
        self.sweep_at(now())
    }

    fn exclude_ports(
        &mut self,
        family: Family,
        slot: SnatSlot,
        ports: &BTreeSet<u16>,
    ) -> Result<(), DatapathError> {
        match family {
            Family::V4 => self.v4().exclude(slot, ports),
            Family::V6 => self.v6().exclude(slot, ports),
        }
    }

    fn traffic(&self, backends: &[BackendId]) -> Result<BTreeMap<BackendId, Traffic>, DatapathError> {
        self.read_traffic(backends)
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        self.read_verdicts()
    }

    fn events(&self) -> Result<Vec<u64>, DatapathError> {
        self.read_events()
    }

    fn tables(&self) -> Result<Vec<TableUse>, DatapathError> {
        self.read_tables()
    }

    fn persistence(&self) -> Result<Vec<PersistenceEntry>, DatapathError> {
        self.read_persistence()
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.interfaces.clone()
    }
}
