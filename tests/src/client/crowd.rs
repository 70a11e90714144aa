//! Very many connections that stay open.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Connection;
use crate::world::Namespace;

/// How many threads look after the connections.
const THREADS: usize = 8;
/// How many connections a thread asks before it waits for the first one's answer.
const BATCH: usize = 64;
/// How long a connection may be silent: on a busy machine TCP has to send a segment again a few times, each time waiting for
/// twice as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// File descriptors for all else.
const SPARE: u64 = 1024;

/// Established connections, each to the server that it got.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    connection: Connection,
    server: String,
}

impl Crowd {
    /// Opens `size` connections to the `targets` in turn, with one exchange on each.
    ///
    /// # Errors
    /// One of them fails; the namespace cannot be entered; so many files may not be open.
    pub fn open(namespace: &Namespace, targets: &[SocketAddr], size: usize) -> Result<Self> {
        allow_files(size as u64 + SPARE)?;
        let taken = AtomicUsize::new(0);
        let client = || -> Result<Vec<Member>> {
            namespace.enter()?;
            let mine = std::iter::repeat_with(|| taken.fetch_add(1, Ordering::Relaxed));
            let mine = mine.take_while(|number| *number < size);
            mine.map(|number| Ok(Member::open(targets[number % targets.len()])?)).collect()
        };
        let members = thread::scope(|scope| {
            let clients: Vec<_> = (0..THREADS).map(|_| scope.spawn(client)).collect();
            let joined =
                clients.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
            joined.collect::<Result<Vec<_>>>()
        })?;
        Ok(Self { members: members.into_iter().flatten().collect() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// An exchange on every connection.
    ///
    /// # Errors
    /// A connection is gone, or silent for a minute, or ends at another server than before: how many, and the first one.
    pub fn exchange(&mut self) -> Result<()> {
        let share = self.members.len().div_ceil(THREADS).max(1);
        let failures: Vec<io::Error> = thread::scope(|scope| {
            let clients: Vec<_> =
                self.members.chunks_mut(share).map(|members| scope.spawn(|| exchange(members))).collect();
            let joined =
                clients.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client panicked")));
            joined.collect::<Result<Vec<_>>>()
        })?
        .into_iter()
        .flatten()
        .collect();
        let first = failures.first().map(ToString::to_string).unwrap_or_default();
        ensure!(
            failures.is_empty(),
            "{} of {} connections failed, the first: {first}",
            failures.len(),
            self.len()
        );
        Ok(())
    }
}

impl Member {
    fn open(target: SocketAddr) -> io::Result<Self> {
        let mut connection = Connection::open(target)?;
        let server = connection.get("/")?;
        connection.be_patient(PATIENCE)?;
        Ok(Self { connection, server })
    }

    fn hear(&mut self) -> io::Result<()> {
        let server = self.connection.answer()?;
        if server == self.server {
            Ok(())
        } else {
            Err(io::Error::other(format!("server {server} answers on a connection to {}", self.server)))
        }
    }
}

/// Returns the failures.
fn exchange(members: &mut [Member]) -> Vec<io::Error> {
    let mut failures = Vec::new();
    for batch in members.chunks_mut(BATCH) {
        let asked: Vec<_> = batch.iter_mut().map(|member| member.connection.ask("/", "keep-alive")).collect();
        let heard = batch.iter_mut().zip(asked).map(|(member, asked)| asked.and_then(|()| member.hear()));
        failures.extend(heard.filter_map(Result::err));
    }
    failures
}

/// Lets this process have at least so many files open.
fn allow_files(files: u64) -> Result<()> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).context("cannot tell how many files may be open")?;
    if soft >= files {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, files, hard.max(files))
        .with_context(|| format!("cannot open {files} files"))
}
