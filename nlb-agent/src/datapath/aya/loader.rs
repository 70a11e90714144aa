//! From the embedded object to maps and a loaded program; adopts what an earlier agent pinned.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, Map, MapData, ProgramArray},
    programs::{ProgramError, ProgramFd, Xdp},
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::{
        statfs::{BPF_FS_MAGIC, statfs},
        utsname::uname,
    },
};
use nlb_common::abi::{
    LAYOUT_VERSION,
    conn::PORTS,
    flow,
    maps::{
        CONN_MASK_V4, CONN_MASK_V6, FLOW_MASK, HASH_SEED, PERSISTENCE_MASK, PROGRAM, REDIRECT_TO_SELF,
        conn_sets, flow_sets, name, persistence_sets, programs,
    },
    meta::Meta,
};
use tracing::info;

use super::{Options, device::is_veth, time};
use crate::datapath::{DatapathError, Family, Slots};

/// The compiled nlb-ebpf.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/nlb-ebpf.o"));

/// How much of the verifier's log an error shows: its end says why.
const LOG_TAIL: usize = 600;

/// The pin directory, locked for this agent.
#[derive(Debug)]
pub(super) struct PinDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

/// What loading brought.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) hash_seed: u64,
    /// The slots of the connection tables.
    pub(super) slots: Slots,
    /// Whether the maps are those of an earlier agent.
    pub(super) adopted: bool,
    /// Of all programs together; `None`: the kernel does not tell.
    pub(super) verified_instructions: Option<u32>,
}

impl PinDirectory {
    /// Makes and locks the directory.
    pub(super) fn open(path: &Path) -> Result<Self, DatapathError> {
        let error = |cause: io::Error| DatapathError::PinDirectory { path: path.to_owned(), cause };
        if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
            ensure_bpffs(parent, path)?;
        }
        fs::create_dir_all(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => DatapathError::NotPermitted,
            _ => error(cause),
        })?;
        ensure_bpffs(path, path)?;
        let directory = File::open(path).map_err(error)?;
        let lock = Flock::lock(directory, FlockArg::LockExclusiveNonblock)
            .map_err(|_| DatapathError::InUse { path: path.to_owned() })?;
        fs::create_dir_all(path.join("maps")).map_err(error)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn map(&self, name: &str) -> PathBuf {
        self.path.join("maps").join(name)
    }
}

fn ensure_bpffs(existing: &Path, asked: &Path) -> Result<(), DatapathError> {
    match statfs(existing) {
        Ok(stat) if stat.filesystem_type() == BPF_FS_MAGIC => Ok(()),
        _ => Err(DatapathError::NoBpffs { path: asked.to_owned() }),
    }
}

/// Makes the maps, or takes the pinned ones, and loads the program.
///
/// What no interface or option needs is dead code in the loaded program.
pub(super) fn load(pins: &PinDirectory, options: &Options) -> Result<Loaded, DatapathError> {
    let pinned = pinned_meta(pins)?;
    let hash_seed = match (pinned, options.hash_seed) {
        (Some(meta), Some(wanted)) if meta.hash_seed != wanted => {
            return Err(DatapathError::Seed { path: pins.path().to_owned() });
        }
        (Some(meta), _) => meta.hash_seed,
        (None, wanted) => wanted.unwrap_or_else(rand::random),
    };
    let flow_sets = pinned_len(pins, name::FLOWS)?.unwrap_or(flow_sets(options.sizes.flows));
    let persistence_sets =
        pinned_len(pins, name::PERSISTENCE)?.unwrap_or(persistence_sets(options.sizes.persistence));
    let slots = slots(pins, pinned, options.sizes.slots)?;
    let (flow_mask, persistence_mask) = (flow_sets - 1, persistence_sets - 1);
    let log_level = if options.log_drops { aya_log::Level::Debug as u8 } else { 0 };

    let mut loader = EbpfLoader::new();
    loader.override_global(HASH_SEED, &hash_seed, true).override_global(FLOW_MASK, &flow_mask, true);
    loader.override_global(PERSISTENCE_MASK, &persistence_mask, true);
    loader.map_max_entries(name::FLOWS, flow_sets).map_max_entries(name::FLOW_LINKS, flow_sets);
    loader.map_max_entries(name::FLOW_TAGS, flow::pair(flow_sets));
    loader.map_max_entries(name::PERSISTENCE, persistence_sets);
    let conn_masks = size_conns(&mut loader, slots);
    let [mask_v4, mask_v6] = &conn_masks;
    loader.override_global(CONN_MASK_V4, mask_v4, true).override_global(CONN_MASK_V6, mask_v6, true);
    let redirect_to_self =
        u32::from(options.interfaces.iter().any(|interface| is_veth(interface).unwrap_or(false)));
    loader.override_global(REDIRECT_TO_SELF, &redirect_to_self, true);
    loader.override_global(aya_log::LEVEL, &log_level, true);
    for &name in name::ALL {
        loader.map_pin_path(name, pins.map(name));
    }
    let started = Instant::now();
    let mut ebpf = loader.load(OBJECT).map_err(|error| explain_maps(&error))?;
    let mut instructions = verified(&mut ebpf, PROGRAM)?.1;
    let mut called = Vec::new();
    for &name in programs::NAMES {
        let (program, its_instructions) = verified(&mut ebpf, name)?;
        instructions = instructions.zip(its_instructions).map(|(sum, its)| sum + its);
        called.push(program);
    }
    info!(
        verified_instructions = instructions,
        load_ms = started.elapsed().as_millis(),
        "datapath program loaded"
    );
    // Whichever entry packets come to, an earlier agent's or this one's: they know each other by the maps' layout.
    set_programs(&mut ebpf, &called)?;
    time::load(&mut ebpf);
    if pinned.is_none() {
        let dnat_slots = slots.dnats;
        write_meta(&mut ebpf, Meta { layout_version: LAYOUT_VERSION, dnat_slots, hash_seed })?;
    }
    Ok(Loaded { ebpf, hash_seed, slots, adopted: pinned.is_some(), verified_instructions: instructions })
}

/// The slots that the pinned connection tables have, or else those `wanted`.
fn slots(pins: &PinDirectory, pinned: Option<Meta>, wanted: Slots) -> Result<Slots, DatapathError> {
    let Some(Meta { dnat_slots: dnats, .. }) = pinned else {
        return Ok(wanted);
    };
    let mut slots = Slots { dnats, ..wanted };
    for (family, map) in Family::ALL.into_iter().zip([name::SNATS_V4, name::SNATS_V6]) {
        if let Some(all) = pinned_len(pins, map)? {
            slots.snats[family.index()] = all.saturating_sub(dnats);
        }
    }
    Ok(slots)
}

/// Has the connection tables be made with these slots; the masks of their sets.
fn size_conns(loader: &mut EbpfLoader<'_>, slots: Slots) -> [u32; 2] {
    let Slots { snats: [v4, v6], dnats } = slots;
    let mut size = |snats: u32, [slots, sets, conns, links]: [&'static str; 4]| {
        let all = snats + dnats;
        loader.map_max_entries(slots, all).map_max_entries(sets, conn_sets(snats, dnats));
        loader.map_max_entries(conns, all * PORTS).map_max_entries(links, all * PORTS);
        conn_sets(snats, dnats) - 1
    };
    [
        size(v4, [name::SNATS_V4, name::CONN_SETS_V4, name::CONNS_V4, name::CONN_LINKS_V4]),
        size(v6, [name::SNATS_V6, name::CONN_SETS_V6, name::CONNS_V6, name::CONN_LINKS_V6]),
    ]
}

/// How many entries a pinned map has; `None` if there is none yet.
fn pinned_len(pins: &PinDirectory, map: &'static str) -> Result<Option<u32>, DatapathError> {
    let Ok(pinned) = MapData::from_pin(pins.map(map)) else {
        return Ok(None);
    };
    let info = pinned.info().map_err(|cause| map_error("read", map, &cause))?;
    Ok(Some(info.max_entries()))
}

/// The program of a loaded object that packets come to.
pub(super) fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    named(ebpf, PROGRAM)
}

fn named<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, DatapathError> {
    let missing =
        || DatapathError::Refused { kernel: kernel(), cause: format!("the object has no program {name}") };
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or_else(missing)
}

/// Has the kernel verify a program; its handle, and the number of instructions that it went through.
fn verified(ebpf: &mut Ebpf, name: &str) -> Result<(ProgramFd, Option<u32>), DatapathError> {
    let program = named(ebpf, name)?;
    program.load().map_err(|error| explain_program(&error))?;
    let handle = program.fd().and_then(|fd| Ok(fd.try_clone()?)).map_err(|error| explain_program(&error))?;
    Ok((handle, program.info().ok().and_then(|info| info.verified_instruction_count())))
}

/// Makes these the programs that are called, in the order of their slots.
fn set_programs(ebpf: &mut Ebpf, programs: &[ProgramFd]) -> Result<(), DatapathError> {
    let missing = || map_error("find", name::PROGRAMS, &io::Error::from(io::ErrorKind::NotFound));
    let map = ebpf.map_mut(name::PROGRAMS).ok_or_else(missing)?;
    let mut map = ProgramArray::try_from(map).map_err(|cause| map_error("open", name::PROGRAMS, &cause))?;
    (0..).zip(programs).try_for_each(|(slot, program)| {
        map.set(slot, program, 0).map_err(|cause| map_error("write", name::PROGRAMS, &cause))
    })
}

/// What the maps say about themselves; `None` if there are none yet.
fn pinned_meta(pins: &PinDirectory) -> Result<Option<Meta>, DatapathError> {
    let Ok(map) = MapData::from_pin(pins.map(name::META)) else {
        return Ok(None);
    };
    let error = |cause: &dyn std::error::Error| map_error("read", name::META, cause);
    let map = Array::<_, Meta>::try_from(Map::Array(map)).map_err(|cause| error(&cause))?;
    let meta = map.get(&0, 0).map_err(|cause| error(&cause))?;
    match meta.layout_version {
        // An agent died between making the maps and saying what they are: nothing was attached yet.
        0 => Ok(None),
        LAYOUT_VERSION => Ok(Some(meta)),
        found => Err(DatapathError::Layout { path: pins.path().to_owned(), found, expected: LAYOUT_VERSION }),
    }
}

fn write_meta(ebpf: &mut Ebpf, meta: Meta) -> Result<(), DatapathError> {
    let missing = || map_error("find", name::META, &io::Error::from(io::ErrorKind::NotFound));
    let map = ebpf.map_mut(name::META).ok_or_else(missing)?;
    let mut map = Array::<_, Meta>::try_from(map).map_err(|cause| map_error("open", name::META, &cause))?;
    map.set(0, meta, 0).map_err(|cause| map_error("write", name::META, &cause))
}

/// An error of a map operation.
pub(super) fn map_error(
    operation: &'static str,
    map: &'static str,
    cause: &(impl std::error::Error + ?Sized),
) -> DatapathError {
    let mut text = cause.to_string();
    let mut cause = cause.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    DatapathError::Map { operation, map, cause: text }
}

/// Whether the kernel said, somewhere down the chain, that rights are missing.
fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn explain_maps(error: &EbpfError) -> DatapathError {
    if is_permission(error) {
        return DatapathError::NotPermitted;
    }
    DatapathError::Maps { kernel: kernel(), cause: error.to_string() }
}

fn explain_program(error: &ProgramError) -> DatapathError {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            if io_error.kind() == io::ErrorKind::PermissionDenied && log.is_empty() {
                return DatapathError::NotPermitted;
            }
            let tail = log.char_indices().rev().nth(LOG_TAIL).map_or(0, |(at, _)| at);
            DatapathError::Refused {
                kernel: kernel(),
                cause: format!("{io_error}; its log ends: {}", &log[tail..]),
            }
        }
        other => DatapathError::Refused { kernel: kernel(), cause: other.to_string() },
    }
}

fn kernel() -> String {
    uname().map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned())
}
