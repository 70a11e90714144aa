use tonic::{Code, Status};

use super::{apply::ApplyError, convert::Invalid};
use crate::{
    config::manifest::ManifestError,
    datapath::DatapathError,
    model::{Name, Rule},
    reconcile::{NotApplied, PersistenceError},
    store::{CommitError, StoreError},
};

/// Why a request was not, or not completely, fulfilled.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// A field of the request is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A manifest in the request is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What is asked for breaks a rule.
    #[error(transparent)]
    Rule(#[from] Rule),
    /// Several resources could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A group has no such server.
    #[error("server group {group}: server {server} does not exist")]
    NoServer {
        /// The group.
        group: Name,
        /// The server.
        server: Name,
    },
    /// The disk failed; nothing changed.
    #[error("nothing was changed: {0}")]
    Store(#[source] StoreError),
    /// Stored, but not in the datapath yet.
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
    /// The datapath cannot be read.
    #[error("the datapath cannot be read: {0}")]
    Datapath(#[source] DatapathError),
    /// The agent is about to end.
    #[error("the agent is shutting down")]
    ShuttingDown,
}

impl From<CommitError<Self>> for ApiError {
    fn from(error: CommitError<Self>) -> Self {
        match error {
            CommitError::Refused(error) => error,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

impl From<PersistenceError> for ApiError {
    fn from(error: PersistenceError) -> Self {
        match error {
            PersistenceError::Unknown(rule) => Self::Rule(rule),
            PersistenceError::Datapath(cause) => Self::Datapath(cause),
            PersistenceError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// The one place where errors become status codes.
impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let code = match &error {
            ApiError::Invalid(_) | ApiError::Manifest(_) | ApiError::Apply(ApplyError::Twice { .. }) => {
                Code::InvalidArgument
            }
            ApiError::NoServer { .. } => Code::NotFound,
            ApiError::Rule(rule) | ApiError::Apply(ApplyError::Rule { rule, .. }) => code(rule),
            ApiError::Store(_)
            | ApiError::Apply(ApplyError::Store(_))
            | ApiError::NotApplied(_)
            | ApiError::Datapath(_)
            | ApiError::ShuttingDown => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// `InvalidArgument` is what could never be right; `FailedPrecondition` is what another state would allow.
fn code(rule: &Rule) -> Code {
    match rule {
        Rule::NotFound { .. } => Code::NotFound,
        Rule::AlreadyExists { .. } => Code::AlreadyExists,
        Rule::RevisionMoved { .. } => Code::Aborted,
        Rule::NoAddress { .. }
        | Rule::AddressTwice { .. }
        | Rule::GroupTwice { .. }
        | Rule::SecurityGroupTwice { .. }
        | Rule::TooManyRules { .. }
        | Rule::TooManyCidrs { .. }
        | Rule::FieldConflict { .. }
        | Rule::ServerNameTwice { .. }
        | Rule::ServerAddressTwice { .. } => Code::InvalidArgument,
        Rule::Immutable { .. }
        | Rule::InUse { .. }
        | Rule::DeleteProtected { .. }
        | Rule::DanglingReference { .. }
        | Rule::AddressTaken { .. }
        | Rule::PortTaken { .. }
        | Rule::ProtocolMismatch { .. }
        | Rule::IdleTimeoutOfDnlb { .. }
        | Rule::ListenerPortNotKept { .. }
        | Rule::ServerPortNotKept { .. }
        | Rule::ListenerConflict { .. }
        | Rule::ProductsMixed { .. }
        | Rule::BackendTwice { .. } => Code::FailedPrecondition,
    }
}
