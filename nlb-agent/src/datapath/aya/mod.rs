//! The real datapath: the kernel's, through aya. Nothing else in the agent names aya.

mod arena;
mod device;
mod encode;
mod links;
mod loader;
mod log;
mod mapped;
mod read;
mod sweep;
mod tables;
mod words;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::Xdp};
use nix::time::{ClockId, clock_gettime};
use nlb_common::{abi::service::Wheel, ticks::Ticks};

pub use self::log::ProgramLog;
use self::{
    arena::Arena,
    loader::{Loaded, PinDirectory},
    sweep::Reserved,
    tables::Maps,
    write::Clock,
};
use super::{
    BackendId, Datapath, DatapathError, Family, FlowCounts, Image, Op, PersistenceEntry, SnatSlot, TableUse,
    Traffic,
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
}

/// The kernel's datapath. It goes on without this value: programs, links and maps are pinned.
pub struct AyaDatapath {
    ebpf: Ebpf,
    maps: Maps,
    arena: Arena,
    clock: Clock,
    hash_seed: u64,
    reserved: [Reserved; 2],
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
        let Loaded { mut ebpf, hash_seed, adopted } = loader::load(&pins, options)?;
        let maps = Maps::open(&mut ebpf)?;
        let arena = Arena::new(maps.arena.len(), wheels(&maps)?);
        tracing::info!(adopted, bpffs = %options.bpffs.display(), "datapath maps open");
        Ok(Self {
            ebpf,
            maps,
            arena,
            clock: Clock::start(),
            hash_seed,
            reserved: Default::default(),
            interfaces: Vec::new(),
            _pins: pins,
        })
    }

    /// The loaded program, for test runs.
    ///
    /// # Errors
    /// The object has no such program.
    pub fn program(&mut self) -> Result<&mut Xdp, DatapathError> {
        loader::program(&mut self.ebpf)
    }

    /// The program's own log; `None` once it was taken.
    pub fn take_log(&mut self) -> Option<ProgramLog> {
        ProgramLog::take(&mut self.ebpf)
    }

    fn slots(&self, family: Family) -> Result<Vec<SnatSlot>, DatapathError> {
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
        let Maps { conns_v4, flows, listeners, backends, .. } = &self.maps;
        let family = Family::V4;
        let flows = &flows[family.index()];
        sweep::Tables { family, conns: conns_v4, flows, listeners, backends, hash_seed: self.hash_seed }
    }

    fn v6(&self) -> sweep::Tables<'_, nlb_common::addr::V6> {
        let Maps { conns_v6, flows, listeners, backends, .. } = &self.maps;
        let family = Family::V6;
        let flows = &flows[family.index()];
        sweep::Tables { family, conns: conns_v6, flows, listeners, backends, hash_seed: self.hash_seed }
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

/// The wheels that services name.
fn wheels(maps: &Maps) -> Result<Vec<Wheel>, DatapathError> {
    let mut wheels = Vec::new();
    for index in 1..maps.services.len() {
        wheels.extend(maps.services.read(index)?.wheels.map(Wheel::from_word));
    }
    Ok(wheels)
}

/// The datapath's clock, as the program reads it.
fn now() -> Ticks {
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

    fn sweep(&mut self) -> Result<FlowCounts, DatapathError> {
        let mut counts = FlowCounts::default();
        let [mut reserved_v4, mut reserved_v6] = std::mem::take(&mut self.reserved);
        self.v4().sweep(&self.slots(Family::V4)?, now(), &mut reserved_v4, &mut counts)?;
        self.v6().sweep(&self.slots(Family::V6)?, now(), &mut reserved_v6, &mut counts)?;
        self.reserved = [reserved_v4, reserved_v6];
        Ok(counts)
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

    // TODO(datapath)
    fn events(&self) -> Result<Vec<u64>, DatapathError> {
        Ok(Vec::new())
    }

    // TODO(datapath)
    fn tables(&self) -> Result<Vec<TableUse>, DatapathError> {
        Ok(Vec::new())
    }

    // TODO(datapath)
    fn persistence(&self) -> Result<Vec<PersistenceEntry>, DatapathError> {
        Ok(Vec::new())
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.interfaces.clone()
    }
}
