//! Loaded programs with tables of their own, filled through the program itself.

use std::collections::{BTreeMap, btree_map::Entry};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::ProgramFd;
use nlb_agent::datapath::{Family, FlowCounts};
use nlb_tests::packet::{Frame, flag};

use crate::{
    nlb::Nlb,
    parsed::Parsed,
    reference::Reference,
    scenario::{Scenario, Subject, Table},
    scene,
    traffic::{self, Flags, Mode, Sender},
    wrapper::{Action, Wrapper},
};

/// The first flow that is new: above all that are picked from.
const FIRST_NEW: u32 = 1 << 22;

/// Half-open flows that there is room for at a time.
const ROOM: u32 = 4096;

/// What scenarios may share.
type Key = (Subject, Family, Table);

/// The instances there are.
#[derive(Default)]
pub(crate) struct Pool(BTreeMap<Key, Instance>);

/// A loaded program.
pub(crate) struct Instance {
    program: Program,
    family: Family,
    /// Whether the balancer sees clients alone.
    is_tunnel: bool,
    /// The next flow that was never there.
    pub(crate) next: u32,
}

#[expect(clippy::large_enum_variant, reason = "there are a dozen")]
enum Program {
    Baseline(ProgramFd),
    Reference(Reference),
    Nlb(Nlb),
}

impl Pool {
    /// The instance for a measurement of a scenario.
    pub(crate) fn get(
        &mut self,
        wrapper: &mut Wrapper,
        object: &[u8],
        scenario: &Scenario,
    ) -> Result<&mut Instance> {
        let key = (scenario.subject, scenario.family, scenario.table);
        if matches!(scenario.table, Table::Renewed { .. }) {
            self.0.remove(&key);
        }
        match self.0.entry(key) {
            Entry::Occupied(made) => Ok(made.into_mut()),
            Entry::Vacant(place) => {
                let made = Instance::new(wrapper, object, scenario);
                Ok(place.insert(made.with_context(|| format!("prepare `{}`", scenario.name))?))
            }
        }
    }
}

impl Instance {
    fn new(wrapper: &mut Wrapper, object: &[u8], scenario: &Scenario) -> Result<Self> {
        let family = scenario.family;
        let program = match scenario.subject {
            Subject::Baseline => Program::Baseline(wrapper.parse_tx.try_clone()?),
            Subject::Reference => Program::Reference(Reference::load(object, family)?),
            Subject::Service { servers, kind } => {
                Program::Nlb(Nlb::load(&scene::service(family, servers, kind))?)
            }
        };
        let is_tunnel = matches!(scenario.subject, Subject::Service { kind, .. } if kind != scene::Kind::Nat);
        let mut instance = Self { program, family, is_tunnel, next: FIRST_NEW };
        match scenario.table {
            Table::Holds(flows) => instance.establish(wrapper, flows)?,
            // Flows that were established before stay; what was half-open before would leave room when it is not any more.
            Table::Full { new, established } if is_tunnel => {
                instance.establish(wrapper, established)?;
                instance.overrun(wrapper, new)?;
            }
            Table::Full { new, established } => {
                instance.overrun(wrapper, new)?;
                instance.establish(wrapper, established)?;
            }
            Table::Renewed { new, .. } => instance.overrun(wrapper, new)?,
        }
        Ok(instance)
    }

    /// The program.
    pub(crate) fn fd(&self) -> &ProgramFd {
        match &self.program {
            Program::Baseline(fd) => fd,
            Program::Reference(reference) => &reference.fd,
            Program::Nlb(nlb) => &nlb.fd,
        }
    }

    /// How many packets met each verdict; nothing if nobody counts.
    pub(crate) fn verdicts(&self) -> Result<Vec<u64>> {
        match &self.program {
            Program::Baseline(_) => Ok(Vec::new()),
            Program::Reference(reference) => reference.verdicts(),
            Program::Nlb(nlb) => nlb.verdicts(),
        }
    }

    /// One walk of the agent over the tables.
    pub(crate) fn sweep(&mut self) -> Result<FlowCounts> {
        match &mut self.program {
            Program::Nlb(nlb) => nlb.sweep(),
            Program::Baseline(_) | Program::Reference(_) => bail!("nobody sweeps here"),
        }
    }

    /// New flows, each of one SYN.
    fn overrun(&mut self, wrapper: &mut Wrapper, flows: u32) -> Result<()> {
        if flows > 0 {
            self.aim(wrapper, Mode::Never, [flag::SYN; 2])?;
            wrapper.run(flows)?;
            self.next += flows;
        }
        Ok(())
    }

    /// Flows 0, 1, ... with a whole handshake.
    fn establish(&mut self, wrapper: &mut Wrapper, flows: u32) -> Result<()> {
        if flows == 0 {
            return Ok(());
        }
        if self.is_tunnel {
            return self.introduce(wrapper, flows);
        }
        self.aim(wrapper, Mode::Sequential(flows), [flag::SYN; 2])?;
        match self.program {
            Program::Nlb(_) => self.shake_hands(wrapper, flows)?,
            Program::Baseline(_) | Program::Reference(_) => wrapper.run(flows).map(drop)?,
        }
        self.aim(wrapper, Mode::Sequential(flows), [flag::ACK; 2])?;
        wrapper.run(flows).map(drop)
    }

    /// SYNs through the wrapper, and the servers' answers.
    fn shake_hands(&mut self, wrapper: &mut Wrapper, flows: u32) -> Result<()> {
        let Program::Nlb(nlb) = &mut self.program else { return Ok(()) };
        for forwarded in wrapper.steps(flows)? {
            ensure!(forwarded.action == Action::Tx, "a SYN was not forwarded: {forwarded:02x?}");
            let Parsed { from, to, .. } = Parsed::of(&forwarded.frame);
            let answer = Frame::tcp(to, from, flag::SYN_ACK).build();
            let answered = nlb.through(&answer)?;
            ensure!(answered.action == Action::Tx, "an answer was not sent on: {answered:02x?}");
        }
        Ok(())
    }

    /// Flows 0, 1, ... with a SYN and an ACK each, no more at a time than there is room for half-open ones.
    fn introduce(&mut self, wrapper: &mut Wrapper, flows: u32) -> Result<()> {
        for first in (0..flows).step_by(ROOM as usize) {
            let count = ROOM.min(flows - first);
            for flags in [flag::SYN, flag::ACK] {
                let plan = traffic::plan(self.family, Sender::Clients, Mode::Never, [flags; 2]);
                wrapper.aim(self.fd(), plan, traffic::start(0, first))?;
                wrapper.run(count)?;
            }
        }
        Ok(())
    }

    fn aim(&self, wrapper: &mut Wrapper, mode: Mode, flags: Flags) -> Result<()> {
        let first = if mode == Mode::Never { self.next } else { 0 };
        let plan = traffic::plan(self.family, Sender::Clients, mode, flags);
        wrapper.aim(self.fd(), plan, traffic::start(0, first))
    }
}
