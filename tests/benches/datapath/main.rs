//! What a packet costs in the datapath, next to what it costs in a balancer of the best known kind of design.
//!
//! `BPF_PROG_TEST_RUN` with `repeat` runs a wrapper program, which makes a packet and calls the measured one in its place:
//! [`wrapper`]. Every scenario ([`scenario`]) is checked packet by packet before it is timed ([`check`]); all are measured
//! in turn, round after round ([`measure`]).

mod args;
mod check;
mod instance;
mod measure;
mod nlb;
#[path = "../../tests/kernel/parsed.rs"]
mod parsed;
mod reference;
mod report;
mod scenario;
mod scene;
mod stats;
mod sweep;
mod traffic;
mod wrapper;

use std::{collections::BTreeSet, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::{Pid, geteuid},
};

use self::{args::Args, measure::Runner, report::Report, scenario::Scenario, sweep::Sweep};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    ensure!(geteuid().is_root(), "loading BPF programs needs root");
    let object = wrapper::read_object(&args.object)?;
    let scenarios = selected(&args.filter);
    let with_sweep = sweep::NAME.contains(&args.filter);
    ensure!(with_sweep || !scenarios.is_empty(), "no scenario's name contains {:?}", args.filter);
    nlb::remove_leftovers();
    pin().context("stay on one processor")?;

    let all = Runner::new(&object, &scenarios)?.run(args.rounds)?;
    let sweep = with_sweep.then(|| Sweep::measure(&object, args.rounds)).transpose().context(sweep::NAME)?;
    let report = Report::new(&scenarios, &all, sweep, args.rounds)?;
    report.print();
    args.json.iter().try_for_each(|path| report.write(path))
}

/// The scenarios whose names contain `filter`, and those they are compared with.
fn selected(filter: &str) -> Vec<Scenario> {
    let mut wanted = BTreeSet::new();
    for scenario in scenario::all().into_iter().filter(|scenario| scenario.name.contains(filter)) {
        wanted.extend(scenario.reference);
        wanted.extend([scenario.name, scenario::baseline_name(scenario.family)]);
    }
    scenario::all().into_iter().filter(|scenario| wanted.contains(&scenario.name)).collect()
}

/// Keeps this thread on the last of the processors it may use: the first has most of the machine's interrupts.
fn pin() -> Result<()> {
    let me = Pid::from_raw(0);
    let allowed = sched_getaffinity(me)?;
    let last = (0..CpuSet::count()).rev().find(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("no processor is allowed")?)?;
    Ok(sched_setaffinity(me, &one)?)
}
