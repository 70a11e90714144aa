//! Loaded datapaths. Loading is what costs: seconds on an emulated machine. So a test that is done leaves its datapath
//! to the next one, which finds every table empty. The seed of the hash stays.

use std::{
    fs, mem,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use nlb_agent::{
    config::XdpMode,
    datapath::{
        DatapathError,
        aya::{self as kernel, AyaDatapath, Options, Sizes},
    },
};

/// Where the maps of all tests are pinned, each test's in a directory with this prefix.
const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "nlb-test-";

/// Those that wait for their next test.
static SPARE: Mutex<Vec<Loaded>> = Mutex::new(Vec::new());

/// A loaded datapath, attached to nothing unless its options name interfaces.
pub(crate) struct Loaded {
    /// `None` only while it is loaded anew.
    datapath: Option<AyaDatapath>,
    options: Options,
}

impl Loaded {
    /// One with empty tables that an earlier test left; if there is none, it is loaded now.
    pub(crate) fn take() -> Self {
        /// Whether a kernel refused it, which takes it a minute on an emulated machine.
        static REFUSED: AtomicBool = AtomicBool::new(false);
        let left = spare().pop();
        if let Some(mut left) = left {
            left.datapath().clear().unwrap();
            return left;
        }
        assert!(!REFUSED.load(Ordering::Relaxed), "the program does not load: an earlier test says why");
        Self::new(options()).unwrap_or_else(|error| {
            REFUSED.store(true, Ordering::Relaxed);
            panic!("{error}")
        })
    }

    /// One that is loaded now, so that it has to be [removed](Self::remove).
    pub(crate) fn new(options: Options) -> Result<Self, DatapathError> {
        assert!(nix::unistd::geteuid().is_root(), "the kernel tier loads BPF programs: run it as root");
        remove_leftovers();
        match AyaDatapath::open(&options) {
            Ok(datapath) => Ok(Self { datapath: Some(datapath), options }),
            Err(error) => {
                Self { datapath: None, options }.remove();
                Err(error)
            }
        }
    }

    /// Leaves it to another test.
    pub(crate) fn leave(self) {
        remove_spare_at_the_end();
        spare().push(self);
    }

    /// Removes it.
    pub(crate) fn remove(self) {
        let Self { datapath, options: Options { bpffs, .. } } = self;
        // It locks what is to be removed.
        drop(datapath);
        if let Err(error) = kernel::detach(&bpffs) {
            eprintln!("{} stays behind: {error}", bpffs.display());
        }
    }

    /// The datapath.
    pub(crate) fn datapath(&mut self) -> &mut AyaDatapath {
        self.datapath.as_mut().expect("it is loaded")
    }

    /// Where its maps are pinned.
    pub(crate) fn maps(&self) -> PathBuf {
        self.options.bpffs.join("maps")
    }

    /// Ends the datapath as the end of an agent does, and loads it again.
    pub(crate) fn reload(&mut self) {
        self.datapath = None;
        self.datapath = Some(AyaDatapath::open(&self.options).unwrap());
    }
}

/// What tests load if they have no wishes of their own, with a directory of its own.
pub(crate) fn options() -> Options {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Options {
        bpffs: Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", process::id())),
        interfaces: Vec::new(),
        xdp_mode: XdpMode::Auto,
        log_drops: false,
        sizes: Sizes { flows: 1 << 14, persistence: 1 << 12, ..Sizes::default() },
        hash_seed: None,
    }
}

fn spare() -> MutexGuard<'static, Vec<Loaded>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the spare ones removed when the process ends: a test binary has no other end that it could do something at.
fn remove_spare_at_the_end() {
    extern "C" fn remove_spare() {
        mem::take(&mut *spare()).into_iter().for_each(Loaded::remove);
    }
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the function is there until the process ends.
        let refused = unsafe { libc::atexit(remove_spare) };
        assert_eq!(refused, 0, "no room for a function to call at the end");
    });
}

/// Removes what killed runs left behind.
fn remove_leftovers() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            // Another test may be quicker.
            let _ = kernel::detach(&entry.path());
        }
    }
}
