//! A datapath without a kernel, for tests of the agent's logic.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    BackendId, Datapath, DatapathError, Family, FlowCounts, Image, Op, PersistenceEntry, Slots, SnatSlot,
    TableUse, Traffic,
};
use crate::status::InterfaceStatus;

/// What a fake datapath holds; shared, so that a test sees it, and a second agent finds it.
#[derive(Clone, Debug, Default)]
pub struct FakeDatapath {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    image: Image,
    flows: FlowCounts,
    log: Vec<Op>,
    events: Vec<u64>,
    tables: Vec<TableUse>,
    persistence: Vec<PersistenceEntry>,
    slots: Slots,
}

impl FakeDatapath {
    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets what the next sweeps find.
    pub fn set_flows(&self, flows: FlowCounts) {
        self.with(|inner| inner.flows = flows);
    }

    /// Sets how often each event happened, in the order of their numbers; those left out never did.
    pub fn set_events(&self, events: Vec<u64>) {
        self.with(|inner| inner.events = events);
    }

    /// Sets how full the tables are.
    pub fn set_tables(&self, tables: Vec<TableUse>) {
        self.with(|inner| inner.tables = tables);
    }

    /// Sets which client comes back to which backend.
    pub fn set_persistence(&self, entries: Vec<PersistenceEntry>) {
        self.with(|inner| inner.persistence = entries);
    }

    /// Sets how many slots there are.
    pub fn set_slots(&self, slots: Slots) {
        self.with(|inner| inner.slots = slots);
    }

    /// What it holds.
    pub fn snapshot(&self) -> Image {
        self.with(|inner| inner.image.clone())
    }

    /// The changes since the last call, in their order.
    pub fn take_log(&self) -> Vec<Op> {
        self.with(|inner| std::mem::take(&mut inner.log))
    }
}

impl Datapath for FakeDatapath {
    fn image(&self) -> Result<Image, DatapathError> {
        Ok(self.snapshot())
    }

    fn apply(&mut self, op: &Op) -> Result<(), DatapathError> {
        self.with(|inner| {
            inner.image.apply(op);
            inner.log.push(op.clone());
        });
        Ok(())
    }

    fn slots(&self) -> Slots {
        self.with(|inner| inner.slots)
    }

    fn sweep(&mut self) -> Result<FlowCounts, DatapathError> {
        Ok(self.with(|inner| inner.flows.clone()))
    }

    fn exclude_ports(
        &mut self,
        _family: Family,
        _slot: SnatSlot,
        _ports: &BTreeSet<u16>,
    ) -> Result<(), DatapathError> {
        Ok(())
    }

    fn traffic(&self, backends: &[BackendId]) -> Result<BTreeMap<BackendId, Traffic>, DatapathError> {
        let active = |id| self.with(|inner| inner.flows.backends.get(&id).map_or(0, |flows| flows.active));
        Ok(backends.iter().map(|&id| (id, Traffic { active: active(id), ..Traffic::default() })).collect())
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        Ok(vec![0; nlb_common::verdict::COUNT as usize])
    }

    fn events(&self) -> Result<Vec<u64>, DatapathError> {
        let mut events = self.with(|inner| inner.events.clone());
        events.resize(nlb_common::event::COUNT as usize, 0);
        Ok(events)
    }

    fn tables(&self) -> Result<Vec<TableUse>, DatapathError> {
        Ok(self.with(|inner| inner.tables.clone()))
    }

    fn persistence(&self) -> Result<Vec<PersistenceEntry>, DatapathError> {
        Ok(self.with(|inner| inner.persistence.clone()))
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        Vec::new()
    }
}
