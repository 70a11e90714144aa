//! The loaded program on a test bench: maps of its own, attached to nothing.

use std::{path::PathBuf, thread};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use nlb_agent::datapath::{
    Datapath as _, Op,
    aya::{AyaDatapath, Options, Sizes},
};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::Frame;

use crate::{
    loaded::{self, Loaded},
    parsed::Parsed,
    recount,
};

/// Index of the loopback device, which every network namespace has: the packets of test runs come in there.
pub(crate) const LOOPBACK: u32 = 1;

/// Room for the tags that a packet may get.
const GROWTH: usize = 64;

/// Why a bench has a datapath.
const LOADED: &str = "it is there until the bench is dropped";

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

/// A datapath of its own as long as the test goes on.
pub(crate) struct Bench {
    /// `None` only at the end.
    loaded: Option<Loaded>,
    /// Whether another test may have it afterwards.
    is_special: bool,
}

impl Bench {
    /// A datapath with empty maps.
    pub(crate) fn new() -> Self {
        Self { loaded: Some(Loaded::take()), is_special: false }
    }

    /// A datapath with empty maps, those that grow with traffic of this size.
    pub(crate) fn sized(sizes: Sizes) -> Self {
        Self::special(Options { sizes, ..loaded::options() })
    }

    /// A datapath of these options, loaded now and for this test alone.
    pub(crate) fn special(options: Options) -> Self {
        let loaded = Loaded::new(options).unwrap_or_else(|error| panic!("{error}"));
        Self { loaded: Some(loaded), is_special: true }
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
        self.loaded().datapath()
    }

    /// Where its maps are pinned.
    pub(crate) fn maps(&self) -> PathBuf {
        self.loaded.as_ref().expect(LOADED).maps()
    }

    /// Ends the datapath as the end of an agent does, and loads it again.
    pub(crate) fn restart(&mut self) {
        self.loaded().reload();
    }

    /// The program once more, for another thread.
    pub(crate) fn another(&mut self) -> Xdp {
        let pin = self.maps().with_file_name("program");
        if !pin.exists() {
            self.datapath().program().unwrap().pin(&pin).unwrap();
        }
        Xdp::from_pin(&pin, XdpAttachType::Interface).unwrap()
    }

    fn loaded(&mut self) -> &mut Loaded {
        self.loaded.as_mut().expect(LOADED)
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
                let sent =
                    ["FORWARD", "REPLY", "RESET", "ANSWER"].iter().any(|prefix| name.starts_with(prefix));
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
        let Some(mut loaded) = self.loaded.take() else { return };
        let counts = recount::active(loaded.datapath());
        // What a failed test leaves behind may be what failed.
        if self.is_special || counts.is_err() || thread::panicking() {
            loaded.remove();
        } else {
            loaded.leave();
        }
        if let (Err(wrong), false) = (counts, thread::panicking()) {
            panic!("active connections: {wrong}");
        }
    }
}

/// A `struct xdp_md`: `data`, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
fn context(len: usize, ifindex: u32) -> Vec<u8> {
    let len = u32::try_from(len).expect("a frame is short");
    [0, len, 0, ifindex, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}
