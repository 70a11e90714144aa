//! A running reconciler over the fake datapath, and everything around it in a test's hands.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nlb_agent::{
    announce::Announcement,
    api,
    config::manifest,
    datapath::{BackendFlows, BackendId, Datapath, FlowCounts, Image, fake::FakeDatapath},
    health::{Flip, Health},
    model::BackendKey,
    neigh::{NextHop, Resolution, View},
    reconcile::{Clock, Handle, Inlets, Reconciler, Status},
    store::Store,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A load balancer of both families.
pub(crate) const SHOP: &str = "\
{kind: LoadBalancer, name: shop, addresses: [10.0.0.10, 'fd00::10']}
---
{kind: ServerGroup, name: four, servers: [{name: a, address: 10.1.0.11, weight: 1}, {name: b, address: 10.1.0.12, weight: 3}]}
---
{kind: ServerGroup, name: six, servers: [{name: a, address: 'fd00:1::11', port: 9090}]}
---
{kind: BackendService, name: web, protocol: tcp, port: 8080, server_groups: [four, six], connection_draining: 2s, \
 health_check: {protocol: http}}
---
{kind: Listener, name: http, load_balancer: shop, protocol: tcp, port: 80, backend_service: web}
";

/// A running reconciler, and everything around it in the test's hands.
pub(crate) struct Bench {
    /// What is desired.
    pub(crate) store: Store,
    /// What the datapath holds.
    pub(crate) fake: FakeDatapath,
    /// What probes find.
    pub(crate) flips: mpsc::Sender<Flip>,
    /// The routes.
    pub(crate) view: watch::Sender<Arc<View>>,
    /// What the datapath answers for.
    pub(crate) announced: watch::Sender<Arc<BTreeSet<Announcement>>>,
    /// The door to the reconciler.
    pub(crate) handle: Handle,
    /// How far the agent's clock is ahead.
    ahead: Arc<AtomicU64>,
    _running: DropGuard,
}

/// The route to a server, whose MAC address ends so.
pub(crate) fn resolution(server: &str, last: u8) -> (IpAddr, Resolution) {
    let server: IpAddr = server.parse().expect("an address");
    let source = if server.is_ipv4() { "10.1.0.1" } else { "fd00:1::1" };
    let next_hop =
        NextHop { interface: 7, vlan: None, source_mac: [2, 0, 0, 0, 0, 1], mac: [2, 0, 0, 0, 1, last] };
    let source = Some(source.parse().expect("an address"));
    (server, Resolution { next_hop: Some(next_hop), source, ..Resolution::default() })
}

/// The routes to the servers of [`SHOP`].
pub(crate) fn view() -> View {
    let resolutions = [resolution("10.1.0.11", 1), resolution("10.1.0.12", 2), resolution("fd00:1::11", 3)];
    View { resolutions: resolutions.into(), ..View::default() }
}

impl Bench {
    /// Over a datapath that never fails.
    pub(crate) fn start(dir: &TempDir, fake: &FakeDatapath) -> Self {
        Self::over(dir, fake, fake.clone(), Vec::new())
    }

    /// Over any datapath that writes to `fake`.
    pub(crate) fn over(
        dir: &TempDir,
        fake: &FakeDatapath,
        datapath: impl Datapath + 'static,
        nat_sources: Vec<IpAddr>,
    ) -> Self {
        let store = Store::open(dir.path()).expect("a store");
        let (flips, flips_rx) = mpsc::channel(16);
        let view = watch::Sender::new(Arc::new(view()));
        let announced = watch::Sender::default();
        let ahead = Arc::<AtomicU64>::default();
        let inlets = Inlets {
            flips: flips_rx,
            targets: watch::Sender::default(),
            view: view.subscribe(),
            servers: watch::Sender::default(),
            announced: announced.clone(),
            nat_sources,
            clock: Clock::ahead(Arc::clone(&ahead)),
        };
        let (reconciler, handle) = Reconciler::new(store.clone(), datapath, inlets).expect("a reconciler");
        let token = CancellationToken::new();
        tokio::spawn(reconciler.run(token.clone()));
        Self {
            store,
            fake: fake.clone(),
            flips,
            view,
            announced,
            handle,
            ahead,
            _running: token.drop_guard(),
        }
    }

    /// Applies manifests, and waits until the datapath holds them.
    pub(crate) async fn apply(&self, yaml: &str) {
        let manifests = manifest::parse("test.yaml", yaml).expect("a manifest");
        let (_, revision) = api::apply(&self.store, manifests).expect("a legal change");
        // A faulty datapath says why it is not there yet; the agent keeps trying.
        while self.handle.applied(revision, PATIENCE).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes a server's health, and waits until the datapath knows.
    pub(crate) async fn flip(&self, server: &str, health: Health) {
        let before = self.fake.snapshot();
        self.flips.send(Flip { key: self.key(server), health }).await.expect("a running reconciler");
        self.until("the flip to reach the maps", |image| *image != before).await;
    }

    /// The backend of `group/server`.
    pub(crate) fn key(&self, server: &str) -> BackendKey {
        let configured = self.store.snapshot().1.configured_backends();
        configured
            .into_keys()
            .find(|key| format!("{}/{}", key.group, key.server) == server)
            .expect("a server")
    }

    /// The number of the backend at an address.
    pub(crate) fn id(&self, address: &str) -> BackendId {
        let image = self.fake.snapshot();
        let found = image.backends.iter().find(|(_, backend)| backend.address.ip().to_string() == address);
        *found.expect("a backend").0
    }

    /// Has the next sweeps find a connection of each of these backends.
    pub(crate) fn connections(&self, backends: &[BackendId]) {
        let flows = backends.iter().map(|id| (*id, BackendFlows { active: 1, held: 1 })).collect();
        let listeners = self.fake.snapshot().listeners.into_keys().map(|id| (id, 1)).collect();
        let listeners = if backends.is_empty() { BTreeMap::new() } else { listeners };
        self.fake.set_flows(FlowCounts { backends: flows, listeners, ..FlowCounts::default() });
    }

    /// Sets the agent's clock forward.
    pub(crate) fn later(&self, by: Duration) {
        self.ahead.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// The lines of the dump that begin so.
    pub(crate) fn lines(&self, prefix: &str) -> Vec<String> {
        self.dump().lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// Waits until these lines of the maps are so.
    pub(crate) async fn expect(&self, prefix: &str, expected: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines(prefix) != expected {
            assert!(Instant::now() < deadline, "{expected:#?} expected, found {:#?}", self.lines(prefix));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the maps are so; what they hold then.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Image) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let image = self.fake.snapshot();
            if condition(&image) {
                return image.to_string();
            }
            assert!(Instant::now() < deadline, "waiting for {what}:\n{image}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What the maps hold, a line for each entry.
    pub(crate) fn dump(&self) -> String {
        self.fake.snapshot().to_string()
    }

    /// What the agent tells.
    pub(crate) async fn status(&self) -> Status {
        self.handle.status().await.expect("a running reconciler")
    }
}

/// A state directory.
pub(crate) fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The store's lock goes with the task that holds it, a moment after it was told to stop.
pub(crate) async fn restarted(dir: &TempDir, fake: &FakeDatapath) -> Bench {
    let deadline = Instant::now() + PATIENCE;
    while Store::open(dir.path()).is_err() {
        assert!(Instant::now() < deadline, "the store stays locked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Bench::start(dir, fake)
}
