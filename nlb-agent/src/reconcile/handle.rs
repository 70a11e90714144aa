//! How the rest of the agent talks to the reconciler.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    datapath::{DatapathError, TableUse},
    model::{Name, Rule},
    status::{
        BackendStatus, EventCount, FailOpenStatus, InterfaceStatus, PersistenceStatus, SnatStatus,
        VerdictCount,
    },
};

/// What the reconciler has brought into the datapath.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The newest revision of the desired state that the datapath holds completely.
    pub revision: u64,
    /// Why the next one is not there yet, if it was tried.
    pub failure: Option<(u64, String)>,
}

/// The datapath does not hold a revision yet; the reconciler keeps trying.
#[derive(Debug, thiserror::Error)]
#[error(
    "revision {revision} is stored, but the datapath could not be written yet: {cause}; the agent keeps trying"
)]
pub struct NotApplied {
    /// The revision.
    pub revision: u64,
    /// What the datapath said.
    pub cause: String,
}

/// The answer to [`Handle::status`].
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// One for each (listener, backend), and for each backend without a listener.
    pub backends: Vec<BackendStatus>,
    /// One for each verdict, in the order of their numbers.
    pub verdicts: Vec<VerdictCount>,
    /// One for each event, in the order of their numbers.
    pub events: Vec<EventCount>,
    /// How full the datapath's tables are.
    pub tables: Vec<TableUse>,
    /// One for each source address of `nat`.
    pub snats: Vec<SnatStatus>,
    /// One for each backend service and address family.
    pub fail_open: Vec<FailOpenStatus>,
    /// Where the datapath is attached.
    pub interfaces: Vec<InterfaceStatus>,
}

/// Persistence entries cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PersistenceError {
    /// There is no such service.
    #[error(transparent)]
    Unknown(#[from] Rule),
    /// The datapath cannot be read.
    #[error("persistence entries cannot be read: {0}")]
    Datapath(#[from] DatapathError),
    /// The reconciler is gone.
    #[error("the agent is shutting down")]
    ShuttingDown,
}

/// The answer to [`Handle::persistence`].
pub(crate) type Persistence = Result<Vec<PersistenceStatus>, PersistenceError>;

/// What the reconciler can be asked; each with where the answer goes.
#[derive(Debug)]
pub(crate) enum Query {
    /// What the datapath does now.
    Status(oneshot::Sender<Status>),
    /// Which client comes back to which server; of one service, or of all.
    Persistence(Option<Name>, oneshot::Sender<Persistence>),
}

/// A cheap, cloneable door to the reconciler.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) queries: mpsc::Sender<Query>,
}

impl Handle {
    /// A handle whose other end is in the hands of a test.
    #[cfg(test)]
    pub(crate) fn fake() -> (Self, watch::Sender<Applied>, mpsc::Receiver<Query>) {
        let (applied, queries) = (watch::Sender::new(Applied::default()), mpsc::channel(1));
        (Self { applied: applied.subscribe(), queries: queries.0 }, applied, queries.1)
    }

    /// Waits until the datapath holds `revision`.
    ///
    /// # Errors
    /// The datapath refused, did not manage within `patience`, or the reconciler is gone.
    pub async fn applied(&self, revision: u64, patience: Duration) -> Result<(), NotApplied> {
        let mut applied = self.applied.clone();
        let settled = applied.wait_for(|applied| {
            applied.revision >= revision
                || applied.failure.as_ref().is_some_and(|(failed, _)| *failed >= revision)
        });
        let not_applied = |cause: &str| NotApplied { revision, cause: cause.to_owned() };
        match tokio::time::timeout(patience, settled).await {
            Err(_elapsed) => Err(not_applied("it takes longer than usual")),
            Ok(Err(_closed)) => Err(not_applied("the agent is shutting down")),
            Ok(Ok(now)) if now.revision >= revision => Ok(()),
            Ok(Ok(now)) => Err(not_applied(now.failure.as_ref().map_or("unknown", |(_, cause)| cause))),
        }
    }

    /// Waits until the datapath holds what it was last given.
    ///
    /// # Errors
    /// As [`applied`](Self::applied).
    pub async fn settled(&self, patience: Duration) -> Result<(), NotApplied> {
        let wanted = {
            let applied = self.applied.borrow();
            applied.failure.as_ref().map_or(applied.revision, |(failed, _)| *failed)
        };
        self.applied(wanted, patience).await
    }

    /// What the datapath does now; `None` when the agent is shutting down.
    pub async fn status(&self) -> Option<Status> {
        let (answer, status) = oneshot::channel();
        self.queries.send(Query::Status(answer)).await.ok()?;
        status.await.ok()
    }

    /// Which client comes back to which server: of one backend service, or of all.
    ///
    /// # Errors
    /// There is no such service, the datapath cannot be read, or the reconciler is gone.
    pub async fn persistence(
        &self,
        service: Option<Name>,
    ) -> Result<Vec<PersistenceStatus>, PersistenceError> {
        let (answer, persistence) = oneshot::channel();
        let query = Query::Persistence(service, answer);
        self.queries.send(query).await.map_err(|_| PersistenceError::ShuttingDown)?;
        persistence.await.map_err(|_| PersistenceError::ShuttingDown)?
    }
}
