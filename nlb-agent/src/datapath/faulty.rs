//! A datapath that fails at times, around another one.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BackendId, Datapath, DatapathError, Family, FlowCounts, Image, Op, PersistenceEntry, Slots, SnatSlot,
    TableUse, Traffic,
};
use crate::status::InterfaceStatus;

/// Fails writes as a schedule says; before or after they took effect.
pub struct FaultyDatapath<D> {
    inner: D,
    fault: Box<dyn FnMut(&Op) -> Fault + Send>,
}

/// What becomes of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It works.
    None,
    /// It fails and has no effect.
    Before,
    /// It takes effect, but is said to have failed.
    After,
}

impl<D> FaultyDatapath<D> {
    /// Asks `fault` about every write.
    pub fn new(inner: D, fault: impl FnMut(&Op) -> Fault + Send + 'static) -> Self {
        Self { inner, fault: Box::new(fault) }
    }
}

impl<D: Datapath> Datapath for FaultyDatapath<D> {
    fn image(&self) -> Result<Image, DatapathError> {
        self.inner.image()
    }

    fn apply(&mut self, op: &Op) -> Result<(), DatapathError> {
        let fault = (self.fault)(op);
        if fault != Fault::Before {
            self.inner.apply(op)?;
        }
        if fault == Fault::None { Ok(()) } else { Err(DatapathError::Injected) }
    }

    fn slots(&self) -> Slots {
        self.inner.slots()
    }

    fn sweep(&mut self) -> Result<FlowCounts, DatapathError> {
        self.inner.sweep()
    }

    fn exclude_ports(
        &mut self,
        family: Family,
        slot: SnatSlot,
        ports: &BTreeSet<u16>,
    ) -> Result<(), DatapathError> {
        self.inner.exclude_ports(family, slot, ports)
    }

    fn traffic(&self, backends: &[BackendId]) -> Result<BTreeMap<BackendId, Traffic>, DatapathError> {
        self.inner.traffic(backends)
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        self.inner.verdicts()
    }

    fn events(&self) -> Result<Vec<u64>, DatapathError> {
        self.inner.events()
    }

    fn tables(&self) -> Result<Vec<TableUse>, DatapathError> {
        self.inner.tables()
    }

    fn persistence(&self) -> Result<Vec<PersistenceEntry>, DatapathError> {
        self.inner.persistence()
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.inner.interfaces()
    }
}
