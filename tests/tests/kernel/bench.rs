//! The loaded program on a test bench: maps of its own, attached to nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use nlb_agent::{
    config::XdpMode,
    datapath::{
        Datapath as _, Op,
        aya::{self as kernel, AyaDatapath, Options, Sizes},
    },
};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::Frame;

use crate::{parsed::Parsed, recount};

/// Index of the loopback device, which every network namespace has: the packets of test runs come in there.
pub(crate) const LOOPBACK: u32 = 1;

/// Room for the tags that a packet may get.
const GROWTH: usize = 64;

/// What the kernel is told to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Give it to the network stack.
    Pass,
    /// Forget it.
    Drop,
    /// Send it from where it came in.
    Tx,
    /// Send it from another interface. From which one, a test run does not tell; the e2e tier does.
    Redirect,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What the kernel was told.
    pub(crate) action: Action,
    /// The one counter that moved.
    pub(crate) verdict: Verdict,
    /// The packet as it was left.
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    /// The packet, read by the oracle.
    pub(crate) fn parsed(&self) -> Parsed {
        Parsed::of(&self.bytes)
    }
}

/// A datapath of its own, removed when this is dropped.
pub(crate) struct Bench {
    /// `None` only while it is loaded anew, and at the end.
    datapath: Option<AyaDatapath>,
    sizes: Sizes,
    path: PathBuf,
}

impl Bench {
    /// A datapath with empty maps.
    pub(crate) fn new() -> Self {
        Self::sized(Sizes { flows: 1 << 14, persistence: 1 << 12 })
    }

    /// A datapath with empty maps, those that grow with traffic of this size.
    pub(crate) fn sized(sizes: Sizes) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "the kernel tier loads BPF programs: run it as root");
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", process::id()));
        Self { datapath: Some(load(&path, sizes)), sizes, path }
    }

    /// The datapath with these changes made.
    pub(crate) fn with(ops: &[Op]) -> Self {
        let mut bench = Self::new();
        bench.apply(ops);
        bench
    }

    /// Makes changes.
    pub(crate) fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            self.datapath().apply(op).unwrap();
        }
    }

    /// The datapath.
    pub(crate) fn datapath(&mut self) -> &mut AyaDatapath {
        self.datapath.as_mut().expect("it is loaded")
    }

    /// Where its maps are pinned.
    pub(crate) fn maps(&self) -> PathBuf {
        self.path.join("maps")
    }

    /// Ends the datapath as the end of an agent does, and loads it again.
    pub(crate) fn restart(&mut self) {
        self.datapath = None;
        self.datapath = Some(load(&self.path, self.sizes));
    }

    /// The program once more, for another thread.
    pub(crate) fn another(&mut self) -> Xdp {
        let pin = self.path.join("program");
        if !pin.exists() {
            self.datapath().program().unwrap().pin(&pin).unwrap();
        }
        Xdp::from_pin(&pin, XdpAttachType::Interface).unwrap()
    }

    /// One packet through the program. Exactly one verdict is counted, once.
    pub(crate) fn run(&mut self, bytes: &[u8]) -> Run {
        let before = self.datapath().verdicts().unwrap();
        let (action, out) = self.run_uncounted(bytes);
        let after = self.datapath().verdicts().unwrap();
        let moved: Vec<(Verdict, u64)> = (Verdict::ALL.iter())
            .zip(after.iter().zip(&before))
            .map(|(&verdict, (after, before))| (verdict, after - before))
            .filter(|&(_, count)| count != 0)
            .collect();
        let [(verdict, 1)] = moved[..] else {
            panic!("one packet, but counted were {moved:?}: {bytes:02x?}")
        };
        Run { action, verdict, bytes: out }
    }

    /// As [`run`](Self::run), but nobody looks at the counters.
    pub(crate) fn run_uncounted(&mut self, bytes: &[u8]) -> (Action, Vec<u8>) {
        test_run(self.datapath().program().unwrap(), bytes)
    }

    /// One packet through the program.
    pub(crate) fn send(&mut self, frame: &Frame) -> Run {
        self.run(&frame.build())
    }

    /// One packet that is to meet a verdict, and the action that goes with it.
    #[track_caller]
    pub(crate) fn expect(&mut self, frame: &Frame, verdict: Verdict) -> Run {
        let run = self.send(frame);
        assert_eq!(run.verdict, verdict, "{frame:?}");
        let name = verdict.name();
        match run.action {
            Action::Pass => {
                assert!(name.starts_with("PASS"), "{name}: {frame:?}");
                assert_eq!(run.bytes, frame.build(), "a packet that is passed on is left alone");
            }
            Action::Drop => assert!(name.starts_with("DROP"), "{name}: {frame:?}"),
            Action::Tx | Action::Redirect => {
                let sent = ["FORWARD", "REPLY", "RESET"].iter().any(|prefix| name.starts_with(prefix));
                assert!(sent, "{name}: {frame:?}");
            }
        }
        run
    }
}

/// One packet through a program: what the kernel is told, and the packet as it was left.
pub(crate) fn test_run(program: &Xdp, bytes: &[u8]) -> (Action, Vec<u8>) {
    let mut out = vec![0; bytes.len() + GROWTH];
    let context = context(bytes.len(), LOOPBACK);
    let options = TestRunOptions {
        data_in: Some(bytes),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).unwrap_or_else(|error| panic!("{error:?}: {bytes:02x?}"));
    out.truncate(result.data_size_out as usize);
    let action = match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Tx,
        4 => Action::Redirect,
        other => panic!("no action of ours: {other} (0 is XDP_ABORTED): {bytes:02x?}"),
    };
    (action, out)
}

/// In the end of every test, what is counted is what the tables hold.
impl Drop for Bench {
    fn drop(&mut self) {
        let counts = self.datapath.take().map(|mut datapath| recount::active(&mut datapath));
        if let Err(error) = kernel::detach(&self.path) {
            eprintln!("{} stays behind: {error}", self.path.display());
        }
        if let (Some(Err(wrong)), false) = (counts, thread::panicking()) {
            panic!("active connections: {wrong}");
        }
    }
}

const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "nlb-test-";

fn load(path: &Path, sizes: Sizes) -> AyaDatapath {
    let options = Options {
        bpffs: path.to_owned(),
        interfaces: Vec::new(),
        xdp_mode: XdpMode::Auto,
        log_drops: false,
        sizes,
        hash_seed: None,
    };
    AyaDatapath::load(&options).unwrap_or_else(|error| panic!("{error}"))
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

/// A `struct xdp_md`: `data`, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
fn context(len: usize, ifindex: u32) -> Vec<u8> {
    let len = u32::try_from(len).expect("a frame is short");
    [0, len, 0, ifindex, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}
