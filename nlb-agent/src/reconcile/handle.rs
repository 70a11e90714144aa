//! How the rest of the agent talks to the reconciler.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::status::{BackendStatus, InterfaceStatus, VerdictCount};

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
    /// Where the datapath is attached.
    pub interfaces: Vec<InterfaceStatus>,
}

/// A cheap, cloneable door to the reconciler.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) queries: mpsc::Sender<oneshot::Sender<Status>>,
}

impl Handle {
    /// A handle whose other end is in the hands of a test.
    #[cfg(test)]
    pub(crate) fn fake() -> (Self, watch::Sender<Applied>, mpsc::Receiver<oneshot::Sender<Status>>) {
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
        self.queries.send(answer).await.ok()?;
        status.await.ok()
    }
}
