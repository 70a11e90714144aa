//! The wrapper program: aimed at a program, told what to send, run.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use nix::time::{ClockId, clock_gettime};
use nlb_common::abi::bench::{
    name,
    traffic::{FRAME_LEN, Plan, State},
};

use crate::scene::INTERFACE;

/// Room for what a program puts in front.
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
}

/// A packet as a program left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// What the kernel was told.
    pub(crate) action: Action,
    /// The frame.
    pub(crate) frame: Vec<u8>,
}

/// The loaded wrapper.
pub(crate) struct Wrapper {
    ebpf: Ebpf,
    plan: Array<MapData, Plan>,
    state: Array<MapData, State>,
    programs: ProgramArray<MapData>,
    /// [`name::EMPTY`].
    pub(crate) empty: ProgramFd,
    /// [`name::PARSE_TX`].
    pub(crate) parse_tx: ProgramFd,
}

impl Wrapper {
    /// Loads it from the compiled nlb-bench.
    pub(crate) fn load(object: &[u8]) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        // The reference's maps come along, but nobody uses them in this instance.
        for map in [name::FLOWS_V4, name::FLOWS_V6] {
            loader.map_max_entries(map, 64);
        }
        let mut ebpf = loader.load(object).context("load nlb-bench")?;
        let mut take = |map| ebpf.take_map(map).with_context(|| format!("nlb-bench has no map {map}"));
        let plan = take(name::PLAN)?.try_into()?;
        let state = take(name::STATE)?.try_into()?;
        let programs = take(name::PROGRAMS)?.try_into()?;
        load_program(&mut ebpf, name::WRAPPER)?;
        let empty = load_program(&mut ebpf, name::EMPTY)?;
        let parse_tx = load_program(&mut ebpf, name::PARSE_TX)?;
        Ok(Self { ebpf, plan, state, programs, empty, parse_tx })
    }

    /// Prepares runs of a program; the wrapper starts in `state`.
    pub(crate) fn aim(&mut self, program: &ProgramFd, plan: Plan, state: State) -> Result<()> {
        self.programs.set(0, program, 0).context("put a program behind the wrapper")?;
        self.plan.set(0, plan, 0).context("write PLAN")?;
        self.state.set(0, state, 0).context("write STATE")
    }

    /// Where the wrapper stands.
    pub(crate) fn state(&self) -> Result<State> {
        self.state.get(&0, 0).context("read STATE")
    }

    /// So many packets in one go; the time the processor spent on them.
    pub(crate) fn run(&self, packets: u32) -> Result<Duration> {
        let context = context(FRAME_LEN);
        let options = TestRunOptions {
            data_in: Some(&[0; FRAME_LEN]),
            ctx_in: Some(&context),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let program = self.program()?;
        let before = thread_time()?;
        let result = program.test_run(options).context("run the wrapper")?;
        let after = thread_time()?;
        if result.return_value == 0 {
            bail!("the wrapper, or the program behind it, aborted");
        }
        Ok(after - before)
    }

    /// So many packets one by one.
    pub(crate) fn steps(&self, packets: u32) -> Result<Vec<Left>> {
        let program = self.program()?;
        (0..packets).map(|_| through(program, &[0; FRAME_LEN])).collect()
    }

    fn program(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(name::WRAPPER).context("nlb-bench has no wrapper")?;
        Ok(program.try_into()?)
    }
}

/// Loads a program of an object.
pub(crate) fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    let program = ebpf.program_mut(name).with_context(|| format!("nlb-bench has no program {name}"))?;
    let program: &mut Xdp = program.try_into()?;
    program.load().with_context(|| format!("load {name}"))?;
    Ok(program.fd()?.try_clone()?)
}

/// One packet through a program.
pub(crate) fn through(program: &Xdp, frame: &[u8]) -> Result<Left> {
    let context = context(frame.len());
    let mut out = vec![0; frame.len() + GROWTH];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).context("run one packet")?;
    out.truncate(result.data_size_out as usize);
    let action = match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Tx,
        other => bail!("XDP action {other} (0: aborted): {frame:02x?}"),
    };
    Ok(Left { action, frame: out })
}

/// A `struct xdp_md`: `data`, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
fn context(len: usize) -> Vec<u8> {
    [0, len as u32, 0, INTERFACE, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Reads the compiled nlb-bench.
pub(crate) fn read_object(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}: run `cargo xtask bench`", path.display()))
}
