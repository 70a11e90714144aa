//! Many clients, each opening one fresh connection after the other.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::get;
use crate::world::Namespace;

/// One connection with one request.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When the client began to connect.
    pub began: Instant,
    /// From there to the end of the answer, or to the failure.
    pub took: Duration,
    /// The server's name, or what went wrong.
    pub answer: Result<String, String>,
}

impl Exchange {
    fn with(target: SocketAddr) -> Self {
        let began = Instant::now();
        let answer = get(target, "/").map_err(|error| error.to_string());
        Self { began, took: began.elapsed(), answer }
    }
}

/// How many exchanges each server answered.
pub fn shares<'a>(exchanges: impl IntoIterator<Item = &'a Exchange>) -> BTreeMap<&'a str, usize> {
    let mut shares = BTreeMap::new();
    for server in exchanges.into_iter().filter_map(|exchange| exchange.answer.as_deref().ok()) {
        *shares.entry(server).or_default() += 1;
    }
    shares
}

/// Makes 600 connections to a target whose servers `a`, `b` and `c` have the weights 1, 2 and 3: none fails, and each server
/// gets its share, to a hundredth.
///
/// # Errors
/// One fails, or a server gets another share; or as [`burst`].
pub fn split_by_weight(namespace: &Namespace, target: SocketAddr) -> Result<()> {
    let exchanges = burst(namespace, target, 600, 10)?;
    let failures: Vec<_> = exchanges.iter().filter_map(|exchange| exchange.answer.as_ref().err()).collect();
    ensure!(failures.is_empty(), "{target}: {failures:?}");
    let shares = shares(&exchanges);
    println!("{target}: {shares:?}");
    for (server, expected) in [("a", 100_usize), ("b", 200), ("c", 300)] {
        let share = shares.get(server).copied().unwrap_or_default();
        ensure!(
            share.abs_diff(expected) <= expected / 100,
            "{target}: {server} has another share: {shares:?}"
        );
    }
    Ok(())
}

/// Makes exactly `connections` connections to `target`, by `clients` at a time.
///
/// # Errors
/// The namespace cannot be entered; a connection that fails is an [`Exchange`] like any other.
pub fn burst(
    namespace: &Namespace,
    target: SocketAddr,
    connections: usize,
    clients: usize,
) -> Result<Vec<Exchange>> {
    let taken = AtomicUsize::new(0);
    let client = || -> Result<Vec<Exchange>> {
        namespace.enter()?;
        let mine = std::iter::repeat_with(|| taken.fetch_add(1, Ordering::Relaxed));
        Ok(mine.take_while(|number| *number < connections).map(|_| Exchange::with(target)).collect())
    };
    let exchanges = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let exchanges =
            clients.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
        exchanges.collect::<Result<Vec<_>>>()
    })?;
    Ok(exchanges.into_iter().flatten().collect())
}

/// Clients that go on until they are stopped.
#[derive(Debug)]
pub struct Load {
    stopping: Arc<AtomicBool>,
    exchanges: mpsc::Receiver<Exchange>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `clients` clients, which take the `targets` in turn and rest for `pause` after each connection.
    ///
    /// # Errors
    /// The namespace cannot be entered, or a thread cannot be made.
    pub fn start(
        namespace: &Namespace,
        targets: &[SocketAddr],
        clients: usize,
        pause: Duration,
    ) -> Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (sender, exchanges) = mpsc::channel();
        let mut load = Self { stopping: Arc::clone(&stopping), exchanges, clients: Vec::new() };
        // Threads inherit their maker's namespace.
        namespace.run(|| {
            for number in 0..clients {
                let (stopping, sender) = (Arc::clone(&stopping), sender.clone());
                let targets: Vec<_> =
                    targets.iter().copied().cycle().skip(number).take(targets.len()).collect();
                let client = move || {
                    for target in targets.into_iter().cycle() {
                        if stopping.load(Ordering::Relaxed) || sender.send(Exchange::with(target)).is_err() {
                            break;
                        }
                        thread::park_timeout(pause);
                    }
                };
                let client = thread::Builder::new().stack_size(256 << 10).spawn(client);
                load.clients.push(client.context("cannot start a client")?);
            }
            anyhow::Ok(())
        })??;
        Ok(load)
    }

    /// What has been done since this was asked last.
    pub fn news(&self) -> Vec<Exchange> {
        self.exchanges.try_iter().collect()
    }

    /// Stops the clients; what has been done since [`Load::news`] was asked last.
    pub fn stop(mut self) -> Vec<Exchange> {
        self.end();
        self.news()
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        for client in &self.clients {
            client.thread().unpark();
        }
        for client in self.clients.drain(..) {
            // A client does nothing that panics; if it did, what it has done still counts.
            let _ = client.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
