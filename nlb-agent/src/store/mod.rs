//! What outlives the agent, in one embedded database file, `nlb.redb`: the desired state, and what the agent
//! itself must remember ([`memory`]). Every write is durable when it returns, and whole or not at all.

mod error;
pub mod memory;
mod rows;

use std::{
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use redb::Database;
use tokio::sync::watch;

pub use self::error::{CommitError, StoreError};
use crate::model::{Now, Rule, State};

/// The file's name within the state directory.
const FILE_NAME: &str = "nlb.redb";

/// The desired state. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    database: Database,
    /// Held from reading the current state to publishing the next: there is one writer at a time.
    writer: Mutex<()>,
    current: watch::Sender<(u64, Arc<State>)>,
}

impl Store {
    /// Opens the store in `state_dir`, or makes it.
    ///
    /// # Errors
    /// No such directory, no rights, a second agent, a broken file, or one of a newer agent.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE_NAME);
        if !state_dir.is_dir() {
            return Err(StoreError::NoDirectory { path: state_dir.to_owned() });
        }
        let read = || {
            let database = Database::create(&path).map_err(|cause| StoreError::from_open(&path, cause))?;
            let (revision, state) = rows::open(&database).map_err(|failure| failure.at(&path))?;
            Ok((database, revision, state))
        };
        // redb asserts what its file should hold, so some damage shows as a panic. What it built is dropped
        // by then.
        let (database, revision, state) =
            panic::catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_panic| {
                Err(StoreError::Damaged {
                    path: path.clone(),
                    cause: "its pages contradict each other".to_owned(),
                })
            })?;
        let current = watch::Sender::new((revision, Arc::new(state)));
        Ok(Self { shared: Arc::new(Shared { path, database, writer: Mutex::new(()), current }) })
    }

    /// The state and its revision, which grows with every change.
    pub fn snapshot(&self) -> (u64, Arc<State>) {
        self.shared.current.borrow().clone()
    }

    /// Sees every new state; a slow reader misses those in between.
    pub fn subscribe(&self) -> watch::Receiver<(u64, Arc<State>)> {
        self.shared.current.subscribe()
    }

    /// Changes the state: all of `change` is stored, and on disk when this returns, or nothing is.
    ///
    /// Answers what `change` answered, and the revision of the state that holds it. Blocks for as long as the
    /// disk takes.
    ///
    /// # Errors
    /// [`CommitError::Refused`]: `change` failed, or the state it made breaks a [`Rule`].
    /// [`CommitError::Store`]: the disk failed.
    pub fn commit<T, E: From<Rule>>(
        &self,
        change: impl FnOnce(&mut State, Now) -> Result<T, E>,
    ) -> Result<(T, u64), CommitError<E>> {
        let Shared { path, database, writer: _, current } = &*self.shared;
        let _writer = self.writer();
        let (revision, old) = self.snapshot();
        let mut new = State::clone(&old);
        let answer = change(&mut new, now()).map_err(CommitError::Refused)?;
        if new == *old {
            return Ok((answer, revision));
        }
        new.check().map_err(|rule| CommitError::Refused(rule.into()))?;

        let revision = revision + 1;
        rows::write(database, &old, &new, revision)
            .map_err(|failure| CommitError::Store(failure.at(path)))?;
        current.send_replace((revision, Arc::new(new)));
        Ok((answer, revision))
    }

    /// A writer that panicked left nothing behind: what is shared changes in one step, after the disk.
    fn writer(&self) -> MutexGuard<'_, ()> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        new_id: || format!("{:032x}", rand::random::<u128>()),
    }
}

#[cfg(test)]
mod tests;
