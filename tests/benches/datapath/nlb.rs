//! The datapath itself, with maps of its own, attached to nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use aya::programs::ProgramFd;
use nlb_agent::{
    config::XdpMode,
    datapath::{
        Datapath as _, FlowCounts, Op,
        aya::{self as kernel, AyaDatapath, Options, Sizes},
    },
};

use crate::wrapper::{Left, through};

const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "nlb-bench-";

/// A loaded datapath; its pins are removed when this is dropped.
pub(crate) struct Nlb {
    /// The program.
    pub(crate) fd: ProgramFd,
    /// `None` only at the end.
    datapath: Option<AyaDatapath>,
    path: PathBuf,
}

impl Nlb {
    /// Loads it and carries out these changes.
    pub(crate) fn load(ops: &[Op]) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", process::id()));
        let options = Options {
            bpffs: path.clone(),
            interfaces: Vec::new(),
            xdp_mode: XdpMode::Auto,
            log_drops: false,
            sizes: Sizes::default(),
            hash_seed: None,
        };
        let mut datapath = AyaDatapath::load(&options)?;
        for op in ops {
            datapath.apply(op)?;
        }
        let fd = datapath.program()?.fd()?.try_clone()?;
        Ok(Self { fd, datapath: Some(datapath), path })
    }

    /// How many packets met each verdict.
    pub(crate) fn verdicts(&self) -> Result<Vec<u64>> {
        Ok(self.datapath.as_ref().context("it is loaded")?.verdicts()?)
    }

    /// One walk of the agent over the tables.
    pub(crate) fn sweep(&mut self) -> Result<FlowCounts> {
        Ok(self.datapath.as_mut().context("it is loaded")?.sweep()?)
    }

    /// One packet through the program, without the wrapper.
    pub(crate) fn through(&mut self, frame: &[u8]) -> Result<Left> {
        through(self.datapath.as_mut().context("it is loaded")?.program()?, frame)
    }
}

impl Drop for Nlb {
    fn drop(&mut self) {
        self.datapath = None;
        if let Err(error) = kernel::detach(&self.path) {
            eprintln!("{} stays behind: {error}", self.path.display());
        }
    }
}

/// Removes what killed runs left behind.
pub(crate) fn remove_leftovers() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            // Another run may be quicker.
            let _ = kernel::detach(&entry.path());
        }
    }
}
