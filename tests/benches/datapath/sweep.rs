//! What a sweep costs: one walk of the agent over all its tables, with a million flows that stay.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use nlb_agent::datapath::Family;
use serde::Serialize;

use crate::{
    instance::Pool,
    scenario::{self, Subject, Table},
    scene::Kind,
    stats::Quartiles,
    wrapper::Wrapper,
};

/// What `--filter` looks at.
pub(crate) const NAME: &str = "sweep 1M flows IPv4";

/// How many flows there are.
const FLOWS: u32 = 1_000_000;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Sweep {
    /// Flows that every sweep found.
    flows: u64,
    /// Processor time of the sweeping thread.
    milliseconds: Quartiles,
}

impl Sweep {
    /// Fills a table through the program, and sweeps.
    pub(crate) fn measure(object: &[u8], rounds: u32) -> Result<Self> {
        let scenario = scenario::all().into_iter().find(|scenario| {
            let is_tunnel = matches!(scenario.subject, Subject::Service { kind: Kind::Ipip(..), .. });
            is_tunnel && scenario.family == Family::V4 && scenario.table == Table::Holds(FLOWS)
        });
        let scenario = scenario.context("no scenario has a million flows")?;
        let (mut wrapper, mut pool) = (Wrapper::load(object)?, Pool::default());
        let instance = pool.get(&mut wrapper, object, &scenario)?;
        let mut times = Vec::new();
        let mut flows = 0;
        // The first one finds its own view of the tables not mapped yet.
        for round in 0..=rounds {
            let before = cpu_time()?;
            let found = instance.sweep()?;
            let time = cpu_time()?.saturating_sub(before);
            flows = found.backends.values().map(|flows| flows.held).sum();
            // One in a thousand is balanced without an entry, its sets being full.
            ensure!(flows > u64::from(FLOWS) * 99 / 100, "the sweep found {flows} flows only");
            if round > 0 {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
        Ok(Self { flows, milliseconds: Quartiles::of(times) })
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        let Self { flows, milliseconds: Quartiles { p25, median, p75 } } = self;
        println!("{NAME}: {median:.1} ms of processor time ({p25:.1} to {p75:.1}), {flows} flows found");
    }
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
