//! A datapath that the agent and the test both hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use nlb_agent::{
    datapath::{
        BackendId, Datapath, DatapathError, Family, FlowCounts, Image, Op, PersistenceEntry, Slots, SnatSlot,
        TableUse, Traffic,
        aya::{AyaDatapath, Options},
    },
    status::InterfaceStatus,
};

/// The real one.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<AyaDatapath>>);

impl Shared {
    /// Loads the program, and makes or adopts the maps.
    pub(crate) fn load(options: &Options) -> Self {
        let datapath = AyaDatapath::load(options).unwrap_or_else(|error| panic!("{error}"));
        Self(Arc::new(Mutex::new(datapath)))
    }

    /// Takes it for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, AyaDatapath> {
        self.0.lock().unwrap()
    }
}

impl Datapath for Shared {
    fn image(&self) -> Result<Image, DatapathError> {
        self.lock().image()
    }

    fn apply(&mut self, op: &Op) -> Result<(), DatapathError> {
        self.lock().apply(op)
    }

    fn slots(&self) -> Slots {
        self.lock().slots()
    }

    fn sweep(&mut self) -> Result<FlowCounts, DatapathError> {
        self.lock().sweep()
    }

    fn exclude_ports(
        &mut self,
        family: Family,
        slot: SnatSlot,
        ports: &BTreeSet<u16>,
    ) -> Result<(), DatapathError> {
        self.lock().exclude_ports(family, slot, ports)
    }

    fn traffic(&self, backends: &[BackendId]) -> Result<BTreeMap<BackendId, Traffic>, DatapathError> {
        self.lock().traffic(backends)
    }

    fn verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        self.lock().verdicts()
    }

    fn events(&self) -> Result<Vec<u64>, DatapathError> {
        self.lock().events()
    }

    fn tables(&self) -> Result<Vec<TableUse>, DatapathError> {
        self.lock().tables()
    }

    fn persistence(&self) -> Result<Vec<PersistenceEntry>, DatapathError> {
        self.lock().persistence()
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        Vec::new()
    }
}
