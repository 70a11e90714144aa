use std::{
    io,
    path::{Path, PathBuf},
};

use redb::{DatabaseError, StorageError};

/// The store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no state directory.
    #[error("state directory {} does not exist: create it, or name another with --state-dir", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The file cannot be opened for writing.
    #[error("cannot open {}: {cause}: the agent must be able to write there", path.display())]
    NoAccess {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another process has the file open.
    #[error("another agent uses {}: stop it, or give this one another --state-dir", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database, or was damaged.
    #[error("{} is damaged ({cause}): restore it from a backup, or move it away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The file was written by an agent that knows more.
    #[error(
        "{} has format {found}, this agent knows up to {known}: start the newer agent that wrote it",
        path.display()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u64,
        /// The newest format this agent knows.
        known: u64,
    },
    /// The disk failed.
    #[error("cannot use {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the database said.
        #[source]
        cause: Box<redb::Error>,
    },
}

impl StoreError {
    pub(super) fn from_open(path: &Path, cause: DatabaseError) -> Self {
        let path = path.to_owned();
        match cause {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse { path },
            DatabaseError::Storage(StorageError::Io(cause)) if cause.kind() != io::ErrorKind::InvalidData => {
                Self::NoAccess { path, cause }
            }
            cause @ (DatabaseError::UpgradeRequired(_)
            | DatabaseError::RepairAborted
            | DatabaseError::Storage(_)) => Self::Damaged { path, cause: cause.to_string() },
            cause => Self::Io { path, cause: Box::new(cause.into()) },
        }
    }
}

/// A change was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CommitError<E> {
    /// It was refused; nothing changed.
    #[error(transparent)]
    Refused(E),
    /// It could not be written; nothing changed.
    #[error(transparent)]
    Store(StoreError),
}

/// Why an operation on the database failed; [`Failure::at`] adds the file.
#[derive(Debug)]
pub(super) enum Failure {
    /// A row makes no sense.
    Row { table: &'static str, key: String, cause: String },
    /// The file is of a newer agent.
    TooNew { found: u64, known: u64 },
    /// The database failed.
    Database(Box<redb::Error>),
}

impl Failure {
    pub(super) fn at(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Row { table, key, cause } => {
                StoreError::Damaged { path, cause: format!("table {table}, key {key}: {cause}") }
            }
            Self::TooNew { found, known } => StoreError::TooNew { path, found, known },
            Self::Database(cause) => match *cause {
                redb::Error::Corrupted(cause) => StoreError::Damaged { path, cause },
                cause => StoreError::Io { path, cause: Box::new(cause) },
            },
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(cause: E) -> Self {
        Self::Database(Box::new(cause.into()))
    }
}
