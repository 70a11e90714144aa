//! What the reconciler answers to those who ask.

use std::collections::BTreeMap;

use tracing::error;

use super::Reconciler;
use crate::{
    datapath::{BackendId, Datapath},
    model::{BackendService, Name},
    reconcile::{Query, Status, handle::Persistence, report},
};

impl<D: Datapath> Reconciler<D> {
    pub(super) fn answer(&self, query: Query) {
        // Whoever asked may have gone away.
        match query {
            Query::Status(answer) => drop(answer.send(self.status())),
            Query::Persistence(service, answer) => drop(answer.send(self.persistence(service.as_ref()))),
        }
    }

    fn persistence(&self, service: Option<&Name>) -> Persistence {
        if let Some(name) = service {
            self.state.get::<BackendService>(name)?;
        }
        Ok(report::persistence(self, &self.datapath.persistence()?, service))
    }

    fn status(&self) -> Status {
        let ids: Vec<BackendId> = self.image.backends.keys().copied().collect();
        let traffic = self.datapath.traffic(&ids).unwrap_or_else(|error| {
            error!(%error, "counters cannot be read");
            BTreeMap::new()
        });
        Status {
            backends: report::backends(self, &traffic, self.inlets.clock.now_ms()),
            verdicts: report::verdicts(&self.datapath.verdicts().unwrap_or_default()),
            events: report::events(&self.datapath.events().unwrap_or_default()),
            tables: self.datapath.tables().unwrap_or_default(),
            snats: report::snats(&self.image, &self.flows),
            fail_open: report::failing_open(self),
            interfaces: self.datapath.interfaces(),
        }
    }
}
