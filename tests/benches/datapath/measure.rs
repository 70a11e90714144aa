//! Rounds of measurements, scenario after scenario, each with the empty program behind the same wrapper.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nlb_agent::datapath::Family;
use nlb_tests::packet::flag;

use crate::{
    check::{self, Targets, check_verdicts},
    instance::Pool,
    scenario::{Scenario, Table},
    traffic::{self, Mode, Sender},
    wrapper::Wrapper,
};

/// How much processor time a measurement takes.
const RUN: Duration = Duration::from_millis(50);
/// Packets of the run that tells how many a measurement needs.
const TRIAL: u32 = 20_000;
/// Packets of a measurement.
const PACKETS: std::ops::RangeInclusive<u32> = TRIAL..=5_000_000;
/// Packets before a measurement: enough for the caches, or for one that no cache can hold.
const WARM_UP: std::ops::RangeInclusive<u32> = 10_000..=500_000;

/// One packet out of so many may meet another verdict while time is taken: among some hundred thousand new flows a few
/// find their set of the flow table full by chance.
const STRAYS: u32 = 5_000;

/// What makes the wrapper's own cost.
type WrapperKey = (Family, Sender, u32);

/// What was measured of a scenario, a value for each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Nanoseconds of a packet, with wrapper and loop.
    pub(crate) gross: Vec<f64>,
    /// Nanoseconds of the empty program in the same round.
    pub(crate) empty: Vec<f64>,
    /// Packets of a measurement.
    pub(crate) packets: u32,
    /// Flows that were followed one by one, before and after.
    pub(crate) targets: Targets,
}

impl Series {
    /// What the program itself costs.
    pub(crate) fn net(&self) -> impl Iterator<Item = f64> {
        self.gross.iter().zip(&self.empty).map(|(gross, empty)| gross - empty)
    }
}

/// All that is needed to measure.
pub(crate) struct Runner<'a> {
    pub(crate) wrapper: Wrapper,
    pub(crate) object: &'a [u8],
    pub(crate) scenarios: &'a [Scenario],
    pool: Pool,
    seed: u32,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(object: &'a [u8], scenarios: &'a [Scenario]) -> Result<Self> {
        Ok(Self { wrapper: Wrapper::load(object)?, object, scenarios, pool: Pool::default(), seed: 0 })
    }

    /// Checks, measures, checks again; a series for each scenario.
    pub(crate) fn run(&mut self, rounds: u32) -> Result<Vec<Series>> {
        let scenarios = self.scenarios;
        let mut all = Vec::new();
        for scenario in scenarios {
            let of = || format!("`{}`", scenario.name);
            let targets = self.check(scenario).with_context(of)?;
            let packets = self.calibrate(scenario).with_context(of)?;
            eprintln!("checked {}, {packets} packets a run", scenario.name);
            all.push(Series { packets, targets, ..Series::default() });
        }
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            self.round(&mut all)?;
        }
        for (scenario, series) in scenarios.iter().zip(&all) {
            self.check_again(scenario, &series.targets)
                .with_context(|| format!("`{}`, afterwards", scenario.name))?;
        }
        Ok(all)
    }

    fn check(&mut self, scenario: &Scenario) -> Result<Targets> {
        let instance = self.pool.get(&mut self.wrapper, self.object, scenario)?;
        check::check(&mut self.wrapper, instance, scenario)
    }

    /// Flows that were known at the start still go where they went.
    fn check_again(&mut self, scenario: &Scenario, before: &Targets) -> Result<()> {
        if matches!(scenario.table, Table::Renewed { .. }) {
            return Ok(());
        }
        for (flow, target) in self.check(scenario)? {
            let earlier = before.get(&flow);
            ensure!(
                earlier.is_none_or(|&earlier| earlier == target),
                "{flow:?} went to {earlier:?}, then to {target}"
            );
        }
        Ok(())
    }

    /// How many packets a measurement of a scenario has.
    fn calibrate(&mut self, scenario: &Scenario) -> Result<u32> {
        if let Table::Renewed { packets, .. } = scenario.table {
            return Ok(packets - WARM_UP.start());
        }
        let gross = self.measure(scenario, TRIAL)?;
        let packets = (RUN.as_nanos() as f64 / gross) as u32;
        Ok(packets.clamp(*PACKETS.start(), *PACKETS.end()))
    }

    fn round(&mut self, all: &mut [Series]) -> Result<()> {
        let scenarios = self.scenarios;
        let mut empties = BTreeMap::<WrapperKey, f64>::new();
        for (scenario, series) in scenarios.iter().zip(all) {
            let key = (scenario.family, scenario.sender, scenario.mode.numbers().0);
            let empty = match empties.get(&key) {
                Some(&known) => known,
                None => {
                    let measured = self.measure_empty(scenario)?;
                    *empties.entry(key).or_insert(measured)
                }
            };
            series.empty.push(empty);
            let gross = self.measure(scenario, series.packets);
            series.gross.push(gross.with_context(|| format!("`{}`", scenario.name))?);
        }
        Ok(())
    }

    /// Nanoseconds of a packet.
    fn measure(&mut self, scenario: &Scenario, packets: u32) -> Result<f64> {
        self.seed += 1;
        let instance = self.pool.get(&mut self.wrapper, self.object, scenario)?;
        let plan = traffic::plan(scenario.family, scenario.sender, scenario.mode, [flag::ACK, flag::SYN]);
        self.wrapper.aim(instance.fd(), plan, traffic::start(self.seed, instance.next))?;
        self.wrapper.run(warm_up(scenario))?;
        let before = instance.verdicts()?;
        let took = self.wrapper.run(packets)?;
        check_verdicts(scenario, &before, &instance.verdicts()?, packets, packets / STRAYS)?;
        instance.next = self.wrapper.state()?.next;
        Ok(took.as_nanos() as f64 / f64::from(packets))
    }

    /// Nanoseconds of a packet that meets the empty program.
    fn measure_empty(&mut self, scenario: &Scenario) -> Result<f64> {
        const PACKETS: u32 = 1_500_000;
        self.seed += 1;
        let plan = traffic::plan(scenario.family, scenario.sender, scenario.mode, [flag::ACK, flag::SYN]);
        let empty = self.wrapper.empty.try_clone()?;
        self.wrapper.aim(&empty, plan, traffic::start(self.seed, 0))?;
        self.wrapper.run(*WARM_UP.start())?;
        let took = self.wrapper.run(PACKETS)?;
        Ok(took.as_nanos() as f64 / f64::from(PACKETS))
    }
}

/// Packets before the measurement: each flow twice.
fn warm_up(scenario: &Scenario) -> u32 {
    let flows = match scenario.mode {
        Mode::Fixed | Mode::Never => 1,
        Mode::Sequential(flows) | Mode::Random(flows) | Mode::Flood(flows) => flows,
    };
    (2 * flows).clamp(*WARM_UP.start(), *WARM_UP.end())
}
