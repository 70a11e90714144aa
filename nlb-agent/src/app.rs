//! The agent put together: what is started in which order, and how it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use nix::net::if_::if_nametoindex;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    announce, api,
    config::{Config, HashSeed, manifest},
    datapath::aya::{AyaDatapath, Options, Sizes},
    health, metrics, neigh,
    reconcile::{self, Clock, Inlets, Reconciler},
    store::Store,
};

/// How long the first changes may take before the agent says that it is ready all the same.
const FIRST_APPLY_WITHIN: Duration = Duration::from_secs(10);

/// The target of the program's own log lines.
const PROGRAM_LOG: &str = "nlb_agent::datapath::program";

/// Runs the agent until SIGTERM or SIGINT. The datapath goes on when it ends.
///
/// # Errors
/// Something that the agent needs is missing or wrong; nothing was changed then.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let manifests = read_manifests(&config)?;
    raise_file_limit();
    fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("cannot make the state directory {}", config.state_dir.display()))?;
    let store = Store::open(&config.state_dir)?;
    let socket = api::bind(&config.api.unix)?;
    let http = match config.http {
        Some(address) => Some(bind_http(address).await?),
        None => None,
    };
    let mut datapath = open_datapath(&config)?;

    let shutdown = CancellationToken::new();
    if let Some(log) = datapath.take_log() {
        tokio::spawn(log.run());
    }
    let (reconciler, handle, workers) = start_reconciler(&config, store.clone(), datapath, &shutdown).await?;

    // The stored state first, the manifests on top of it: so what a manifest removes is drained as it was stored.
    wait_applied(&handle, store.snapshot().0).await;
    if !manifests.is_empty() {
        let (changes, revision) = api::apply(&store, manifests)?;
        info!(resources = changes.len(), revision, "manifests applied");
        wait_applied(&handle, revision).await;
    }

    let mut workers = workers;
    workers.push(spawn_api(socket, store, handle.clone(), &shutdown));
    if let Some(listener) = http {
        workers.push(tokio::spawn(metrics::serve(listener, handle, shutdown.clone())));
    }
    info!(socket = %config.api.unix.display(), "ready");
    notify(&[sd_notify::NotifyState::Ready]);

    wait_for_signal().await?;
    info!("stopping; the datapath goes on");
    notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    for worker in workers {
        if worker.await.is_err() {
            error!("a task of the agent panicked");
        }
    }
    reconciler.join().map_err(|_| anyhow!("the reconciler panicked"))?;
    Ok(())
}

/// Reads all manifests before anything is touched, so that a mistake in one costs nothing.
fn read_manifests(config: &Config) -> anyhow::Result<Vec<manifest::Manifest>> {
    let mut manifests = Vec::new();
    for path in &config.manifests {
        let name = path.display().to_string();
        let yaml = fs::read_to_string(path).with_context(|| format!("cannot read manifest {name}"))?;
        manifests.extend(manifest::parse(&name, &yaml)?);
    }
    Ok(manifests)
}

/// Thousands of probes run at once, each with a socket.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(%error, "the limit of open files stays as it is");
    }
}

async fn bind_http(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} for /metrics: free it, or name another with --http")
    })
}

fn open_datapath(config: &Config) -> anyhow::Result<AyaDatapath> {
    let options = Options {
        bpffs: config.bpffs.clone(),
        interfaces: config.interfaces.iter().map(|interface| interface.as_str().to_owned()).collect(),
        xdp_mode: config.xdp_mode,
        log_drops: tracing::enabled!(target: PROGRAM_LOG, tracing::Level::DEBUG),
        sizes: Sizes {
            flows: config.flows.get(),
            persistence: config.persistence_entries.get(),
            slots: config.slots(),
        },
        hash_seed: config.hash_seed.map(HashSeed::get),
    };
    Ok(AyaDatapath::open(&options)?)
}

type Started = (std::thread::JoinHandle<()>, reconcile::Handle, Vec<JoinHandle<()>>);

/// Starts the reconciler on a thread of its own, because it waits for the disk, and those who inform it.
async fn start_reconciler(
    config: &Config,
    store: Store,
    datapath: AyaDatapath,
    shutdown: &CancellationToken,
) -> anyhow::Result<Started> {
    let (flips_tx, flips) = mpsc::channel(1024);
    let targets = watch::Sender::new(Arc::new(BTreeMap::new()));
    let servers = watch::Sender::new(Arc::new(BTreeSet::new()));
    let view_tx = watch::Sender::new(Arc::new(neigh::View::default()));
    let targets_rx = targets.subscribe();
    let servers_rx = servers.subscribe();
    let view = view_tx.subscribe();
    let announced = watch::Sender::default();
    let announced_rx = announced.subscribe();
    let interfaces = config.interfaces.iter().filter_map(|interface| if_nametoindex(interface.as_str()).ok());
    let interfaces = interfaces.collect();
    let nat_sources = config.nat.source_addresses.clone();
    let inlets = Inlets { flips, targets, view, servers, announced, nat_sources, clock: Clock::read() };
    let (reconciler, handle) = Reconciler::new(store, datapath, inlets)?;

    let probe =
        |server, check: Arc<crate::model::HealthCheck>| async move { health::probe(server, &check).await };
    let seed = reconciler.remembered_health();
    let checks = tokio::spawn(health::run(probe, seed, targets_rx, flips_tx, shutdown.clone()));
    let token = shutdown.clone();
    let routes = tokio::spawn(async move {
        if let Err(error) = neigh::run(interfaces, servers_rx, view_tx, token).await {
            error!(%error, "routes and neighbours are not followed any more");
        }
    });
    let announcements = tokio::spawn(announce::run(announced_rx, shutdown.clone()));
    let (runtime, token) = (tokio::runtime::Handle::current(), shutdown.clone());
    let thread = std::thread::Builder::new()
        .name("reconciler".to_owned())
        .spawn(move || runtime.block_on(reconciler.run(token)))
        .context("cannot start a thread")?;
    Ok((thread, handle, vec![checks, routes, announcements]))
}

async fn wait_applied(handle: &reconcile::Handle, revision: u64) {
    if let Err(error) = handle.applied(revision, FIRST_APPLY_WITHIN).await {
        error!(%error, "the agent starts all the same");
    }
}

fn spawn_api(
    socket: tokio::net::UnixListener,
    store: Store,
    handle: reconcile::Handle,
    shutdown: &CancellationToken,
) -> JoinHandle<()> {
    let token = shutdown.clone();
    tokio::spawn(async move {
        if let Err(error) = api::serve(socket, store, handle, token).await {
            error!(%error, "the API ended");
        }
    })
}

/// Tells systemd, if it asked to be told.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "systemd could not be told");
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Ends the datapath: `nlb-agent detach`.
///
/// # Errors
/// An agent still runs, or the pins cannot be removed.
pub fn detach(bpffs: &Path) -> anyhow::Result<()> {
    crate::datapath::aya::detach(bpffs)?;
    info!(bpffs = %bpffs.display(), "detached: programs, links and maps are gone");
    Ok(())
}
