//! A running agent without network and API: its store, its reconciler, and what they would be told by others.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use nlb_agent::{
    api,
    config::manifest,
    datapath::Family,
    health::{Flip, Health},
    model::BackendKey,
    neigh::{NextHop, Resolution, View},
    reconcile::{Clock, Handle, Inlets, Reconciler},
    store::Store,
};
use nlb_tests::wait;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{datapath::Shared, shop};

/// Index of the loopback device: packets of test runs come in there, and leave.
const LOOPBACK: u32 = 1;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How an agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is told to.
    Stopped,
    /// In the middle of whatever it waits for.
    Killed,
}

/// The agent.
pub(crate) struct Agent {
    store: Store,
    flips: mpsc::Sender<Flip>,
    handle: Handle,
    task: JoinHandle<()>,
    token: CancellationToken,
    _view: watch::Sender<Arc<View>>,
}

impl Agent {
    /// Starts it.
    pub(crate) fn start(
        runtime: &Runtime,
        state_dir: &Path,
        datapath: Shared,
        ahead: Arc<AtomicU64>,
    ) -> Self {
        let store = Store::open(state_dir).unwrap();
        let (flips, flips_rx) = mpsc::channel(4096);
        let view = watch::Sender::new(Arc::new(view()));
        let inlets = Inlets {
            flips: flips_rx,
            targets: watch::Sender::default(),
            view: view.subscribe(),
            servers: watch::Sender::default(),
            announced: watch::Sender::default(),
            nat_sources: Vec::new(),
            clock: Clock::ahead(ahead),
        };
        let (reconciler, handle) = Reconciler::new(store.clone(), datapath, inlets).unwrap();
        let token = CancellationToken::new();
        let task = runtime.spawn(reconciler.run(token.clone()));
        Self { store, flips, handle, task, token, _view: view }
    }

    /// Applies manifests; the datapath holds them afterwards.
    pub(crate) fn apply(&self, runtime: &Runtime, yaml: &str) {
        let manifests =
            manifest::parse("test.yaml", yaml).unwrap_or_else(|error| panic!("{error:?}\n{yaml}"));
        let (_, revision) = api::apply(&self.store, manifests).unwrap_or_else(|error| panic!("{error}"));
        // Simulated changes come so fast that the arena, which rests in real time, may be full; the agent tries again.
        wait::until("the datapath to hold it", PATIENCE, || {
            runtime.block_on(async {
                let applied = self.handle.applied(revision, PATIENCE).await;
                if applied.is_err() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                applied.ok()
            })
        })
        .unwrap();
    }

    /// Says what a probe finds of the server of this name, in all services.
    pub(crate) fn flip(&self, server: &str, health: Health) {
        let configured = self.store.snapshot().1.configured_backends();
        let keys: Vec<BackendKey> =
            configured.into_keys().filter(|key| key.server.as_str() == server).collect();
        assert!(!keys.is_empty(), "{server} is not configured");
        for key in keys {
            self.flips.try_send(Flip { key, health }).unwrap();
        }
    }

    /// Ends it; what it held is free afterwards.
    pub(crate) fn end(self, runtime: &Runtime, how: End) {
        match how {
            End::Stopped => self.token.cancel(),
            End::Killed => self.task.abort(),
        }
        // A task that is killed ends with an error.
        drop(runtime.block_on(self.task));
    }
}

/// Routes to all servers that tests have.
fn view() -> View {
    let mut view = View { host_addresses: BTreeSet::new(), ..View::default() };
    for family in Family::ALL {
        for index in 0..shop::MAX_SERVERS {
            let [high, low] = (index as u16).to_be_bytes();
            let hop = NextHop {
                interface: LOOPBACK,
                vlan: None,
                source_mac: [2, 0, 0, 0, 0, 1],
                mac: [2, 0, 0, 1, high, low],
            };
            let source: IpAddr = shop::source(family);
            let resolution =
                Resolution { next_hop: Some(hop), source: Some(source), ..Resolution::default() };
            view.resolutions.insert(shop::address(family, index), resolution);
        }
    }
    view
}
