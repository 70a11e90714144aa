//! A datapath without a kernel, for tests of the agent's logic.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use super::{BackendId, Datapath, DatapathError, Family, FlowCounts, Image, Op, SnatSlot, Traffic};
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
}

impl FakeDatapath {
    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets what the next sweeps find.
    pub fn set_flows(&self, flows: FlowCounts) {
        self.with(|inner| inner.flows = flows);
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
        Ok(backends.iter().map(|&id| (id, Traffic::default())).collect())
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        Ok(vec![0; nlb_common::verdict::COUNT as usize])
    }

    fn events(&self) -> Result<Vec<u64>, DatapathError> {
        Ok(vec![0; nlb_common::event::Event::ALL.len()])
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        Vec::new()
    }
}
