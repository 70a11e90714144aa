//! The reconciler: what it holds, and what wakes it up.

mod answers;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use nlb_common::abi::ring::{Slot, index_in};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Applied, Handle, Query,
    clock::Clock,
    compile::{self, HealthView, Inputs, Rings, compile},
    ids::{Exhausted, Ids, Kind},
    memory::{self, difference},
    plan::plan,
    ports::HostPorts,
    retired::Retired,
};
use crate::{
    announce::{self, Announcement},
    datapath::{
        BackendId, Datapath, DatapathError, Eligibility, Family, FlowCounts, Image, ListenerId, Op, Slots,
        SnatSlot,
    },
    drain::{Drains, KnownBackend, Wanted},
    health::{Flip, Health, Targets},
    model::{AdminState, BackendKey, State, Weight},
    neigh::View,
    store::{Store, StoreError},
};

/// How often flows are swept, and what failed is tried again.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often the host's own ports are looked up.
const PORTS_EVERY: u32 = 10;
/// How long a change waits for the routes of servers it names first.
const ROUTES_WITHIN: Duration = Duration::from_millis(500);

/// Why the agent cannot reconcile.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The datapath cannot be read or written.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The datapath has no place left.
    #[error("{0}")]
    Exhausted(String),
    /// `/proc` cannot be read.
    #[error("cannot read the host's port use from /proc: {0}")]
    Ports(#[from] std::io::Error),
}

impl From<Exhausted> for ReconcileError {
    fn from(error: Exhausted) -> Self {
        Self::Exhausted(error.to_string())
    }
}

/// What the reconciler hears and tells beside the store and the datapath.
pub struct Inlets {
    /// What probes find.
    pub flips: mpsc::Receiver<Flip>,
    /// What there is to probe.
    pub targets: watch::Sender<Arc<Targets>>,
    /// Routes and neighbours.
    pub view: watch::Receiver<Arc<View>>,
    /// The servers whose routes are wanted.
    pub servers: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    /// What the datapath answers for.
    pub announced: watch::Sender<Arc<BTreeSet<Announcement>>>,
    /// The operator's SNAT addresses.
    pub nat_sources: Vec<IpAddr>,
    /// What time it is.
    pub clock: Clock,
}

/// Holds the datapath, and all that is needed to know what it shall hold.
pub struct Reconciler<D> {
    store: Store,
    datapath: D,
    inlets: Inlets,
    desired: watch::Receiver<(u64, Arc<State>)>,
    applied_tx: watch::Sender<Applied>,
    queries: mpsc::Receiver<Query>,

    pub(super) revision: u64,
    pub(super) state: Arc<State>,
    pub(super) image: Image,
    pub(super) flows: FlowCounts,
    pub(super) ids: Ids,
    pub(super) drains: Drains,
    retired: Retired,
    health: BTreeMap<BackendKey, Health>,
    pub(super) health_view: HealthView,
    pub(super) last_configured: BTreeMap<BackendKey, (Weight, AdminState)>,
    host_ports: HostPorts,
    /// The rings in transition, and how many sweeps there had been when they changed last.
    rings: Rings,
    rings_changed: u64,
    eligible_since: BTreeMap<BackendKey, u64>,
    /// How many sweeps there were, and at which one a backend last named a SNAT address.
    sweeps: u64,
    snat_named: BTreeMap<(Family, SnatSlot), u64>,
    /// SNAT addresses that run out of ports.
    scarce_snats: BTreeSet<IpAddr>,
    slots: Slots,
    /// Whether `image` may differ from what the maps hold, because a write failed.
    is_unsure: bool,
}

impl<D: Datapath> Reconciler<D> {
    /// Takes over a datapath: reads back what it holds, and remembers what the agent knew of it.
    ///
    /// # Errors
    /// Datapath, store or `/proc` cannot be read.
    pub fn new(store: Store, mut datapath: D, mut inlets: Inlets) -> Result<(Self, Handle), ReconcileError> {
        let image = datapath.image()?;
        let flows = datapath.sweep()?;
        let slots = datapath.slots();
        let ids = Ids::new(&store.load(memory::IDS)?, held(&image), slots.snats);
        let nat_sources = known_room(std::mem::take(&mut inlets.nat_sources), slots);
        let inlets = Inlets { nat_sources, ..inlets };
        let drains = Drains::new(store.load(memory::DRAINS)?);
        let leaving = store.load(memory::LISTENER_DRAINS)?;
        let retired = Retired::new(leaving.into_iter().map(|(id, times)| (ListenerId(id), times)).collect());
        let health = store.load(memory::HEALTH)?;
        let host_ports = HostPorts::read()?;
        let mut desired = store.subscribe();
        let (revision, state) = desired.borrow_and_update().clone();
        let (queries_tx, queries) = mpsc::channel(16);
        let applied_tx = watch::Sender::new(Applied::default());
        let handle = Handle { applied: applied_tx.subscribe(), queries: queries_tx };
        let reconciler = Self {
            store,
            datapath,
            inlets,
            desired,
            applied_tx,
            queries,
            revision,
            state,
            image,
            flows,
            ids,
            drains,
            retired,
            health,
            health_view: HealthView::default(),
            last_configured: BTreeMap::new(),
            host_ports,
            rings: Rings::new(),
            rings_changed: 0,
            eligible_since: BTreeMap::new(),
            sweeps: 0,
            snat_named: BTreeMap::new(),
            scarce_snats: BTreeSet::new(),
            slots,
            is_unsure: false,
        };
        Ok((reconciler, handle))
    }

    /// What probes said before the restart, to go on from.
    pub fn remembered_health(&self) -> BTreeMap<BackendKey, Health> {
        self.health.clone()
    }

    /// Reconciles until `shutdown`. The datapath stays as it is then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = interval(SWEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0u32;
        loop {
            self.take_desired().await;
            self.step();
            let deadline = self.until_deadline();
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.desired.changed() => if changed.is_err() { return },
                Some(flip) = self.inlets.flips.recv() => self.take_flips(flip),
                Ok(()) = self.inlets.view.changed() => {}
                Some(query) = self.queries.recv() => self.answer(query),
                () = sleep(deadline.unwrap_or(SWEEP_EVERY)), if deadline.is_some() => {}
                _ = tick.tick() => {
                    self.sweep(ticks.is_multiple_of(PORTS_EVERY));
                    ticks = ticks.wrapping_add(1);
                }
            }
        }
    }

    /// Takes the newest desired state, and has its servers probed and routed; waits a little for the routes.
    async fn take_desired(&mut self) {
        (self.revision, self.state) = self.desired.borrow_and_update().clone();
        let servers = self.servers();
        let targets = self.targets();
        self.inlets.targets.send_if_modified(|known| {
            let changed = **known != targets;
            if changed {
                *known = Arc::new(targets);
            }
            changed
        });
        let wanted = servers.clone();
        self.inlets.servers.send_if_modified(|known| {
            let changed = **known != servers;
            if changed {
                *known = Arc::new(servers);
            }
            changed
        });
        let has_routes = |view: &Arc<View>| wanted.iter().all(|server| view.resolutions.contains_key(server));
        if timeout(ROUTES_WITHIN, self.inlets.view.wait_for(has_routes)).await.is_err() {
            warn!("routes to new servers take long; they get connections when their routes are known");
        }
        self.inlets.view.mark_unchanged();
    }

    /// The servers whose routes are needed: the configured ones, and those that still have connections.
    fn servers(&self) -> BTreeSet<IpAddr> {
        let configured = self.state.configured_backends().into_keys().map(|key| key.address);
        configured.chain(self.image.backends.values().map(|backend| backend.address.ip())).collect()
    }

    fn targets(&self) -> Targets {
        let mut targets = Targets::new();
        for key in self.state.configured_backends().into_keys() {
            let service = self.state.backend_services.get(&key.service).map(|service| &service.spec);
            if let Some(check) =
                service.and_then(|service| service.health_check.as_ref()).filter(|check| check.enabled)
            {
                targets.insert(key, Arc::new(check.clone()));
            }
        }
        targets
    }

    fn take_flips(&mut self, first: Flip) {
        let mut flip = Some(first);
        let before = self.health.clone();
        while let Some(Flip { key, health }) = flip {
            self.health.insert(key, health);
            flip = self.inlets.flips.try_recv().ok();
        }
        let (puts, removals) = difference(&before, &self.health);
        if let Err(error) = self.store.save(memory::HEALTH, puts, removals) {
            warn!(%error, "health is not remembered over a restart");
        }
    }

    fn until_deadline(&self) -> Option<Duration> {
        let deadline = self.drains.next_deadline()?;
        Some(Duration::from_millis(deadline.saturating_sub(self.inlets.clock.now_ms())))
    }

    /// One step: all the agent knows into the datapath. What fails is logged, told, and tried at the next step.
    fn step(&mut self) {
        let revision = self.revision;
        let result = self.reconcile();
        if let Err(error) = &result {
            self.is_unsure = true;
            error!(revision, %error, "the datapath does not hold the desired state yet");
        }
        let cause = result.err().map(|error| error.to_string());
        self.applied_tx.send_if_modified(|applied| {
            let before = (applied.revision, applied.failure.clone());
            match cause {
                None => *applied = Applied { revision, failure: None },
                Some(cause) => applied.failure = Some((revision, cause)),
            }
            before != (applied.revision, applied.failure.clone())
        });
    }

    fn reconcile(&mut self) -> Result<(), ReconcileError> {
        if self.is_unsure {
            self.image = self.datapath.image()?;
            self.is_unsure = false;
        }
        let now = self.inlets.clock.now_ms();
        // An agent that was held up may come here before a sweep has counted what was opened lately: nobody's time is over
        // by counts of the past.
        if self.drains.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.sweep(false);
        }
        let state = Arc::clone(&self.state);
        self.look_at_health(&state);
        let wanted = self.wanted(&state);
        let known = self.known();
        let changes = self.drains.step(now, &wanted, &known);
        self.store_if_any(memory::DRAINS, changes.puts, changes.removals)?;

        let configured = compile::listeners(&state, &mut self.ids)?;
        let leaving = self.retired.leaving().clone();
        let in_datapath: Vec<ListenerId> = self.image.listeners.keys().copied().collect();
        let retired = self.retired.step(now, configured, in_datapath.into_iter(), &self.flows.listeners);
        let (puts, removals) = difference(&leaving, self.retired.leaving());
        let puts = puts.into_iter().map(|(id, times)| (id.0, times)).collect();
        self.store_if_any(memory::LISTENER_DRAINS, puts, removals.into_iter().map(|id| id.0).collect())?;

        let view = Arc::clone(&self.inlets.view.borrow());
        let fresh_snats = self.fresh_snats();
        let inputs = Inputs {
            state: &state,
            health: &self.health_view,
            drains: &self.drains,
            view: &view,
            nat_sources: &self.inlets.nat_sources,
            slots: self.slots,
            host_ports: &self.host_ports,
            clock: &self.inlets.clock,
            now,
            instant: self.inlets.clock.instant(),
            eligible_since: &self.eligible_since,
            rings: &self.rings,
            flows: &self.flows,
            fresh_snats: &fresh_snats,
            applied: &self.image,
            retired: &retired,
        };
        let (desired, rings) = compile(&inputs, &mut self.ids)?;
        if rings != self.rings {
            self.rings_changed = self.sweeps;
            self.rings = rings;
        }
        self.note_eligible(&desired, now);
        // Numbers are remembered before the datapath has them: a crash in between must not give them away twice.
        self.remember_ids()?;
        let ops = plan(&desired, &self.image);
        let new_ports = ops.iter().any(|op| matches!(op, Op::PutSnat(..) | Op::PutListener(..)));
        for op in &ops {
            self.datapath.apply(op)?;
            self.image.apply(op);
        }
        if new_ports {
            self.exclude_ports()?;
        }
        if !ops.is_empty() {
            info!(changes = ops.len(), revision = self.revision, "datapath changed");
        }
        self.tell_announced(&view);
        self.forget(&state)
    }

    /// Only when the datapath holds it: who believes an announcement sends packets.
    fn tell_announced(&self, view: &View) {
        let announced = announce::announced(&self.image, view);
        self.inlets.announced.send_if_modified(|known| {
            let changed = **known != announced;
            if changed {
                *known = Arc::new(announced);
            }
            changed
        });
    }

    /// Notes since when backends are eligible that were not so far. Those that were when the agent began are not noted:
    /// they have their full weight.
    fn note_eligible(&mut self, desired: &Image, now: u64) {
        let Self { ids, image, eligible_since, .. } = self;
        let mut eligible = BTreeSet::new();
        for (name, number) in ids.names(Kind::Backend) {
            let id = BackendId(number);
            let (is, was) = (is_eligible(desired, id), is_eligible(image, id));
            if let (true, Ok(key)) = (is, serde_json::from_str::<BackendKey>(name)) {
                if !was {
                    eligible_since.entry(key.clone()).or_insert(now);
                }
                eligible.insert(key);
            }
        }
        eligible_since.retain(|key, _| eligible.contains(key));
    }

    /// Takes the rings in transition one step on. What a sweep found counts only if it began after the slots had been
    /// written, and all packets were through that had read them as they were.
    fn settle_rings(&mut self) {
        if self.sweeps < self.rings_changed + 2 {
            return;
        }
        let now = self.inlets.clock.instant();
        let Self { rings, flows, image, .. } = self;
        let mut has_changed = false;
        for (&(service, family), ring) in rings.iter_mut().filter(|(_, ring)| !ring.is_clean()) {
            let is_gone = |backend: u16| !image.backends.contains_key(&BackendId(backend.into()));
            let len = u32::try_from(ring.slots().len()).unwrap_or(0);
            let slots = ring.slots().to_vec();
            let current = |slot: usize| u32::from(slots.get(slot).map_or(0, |slot| slot.current()));
            let recorded = |positions: RangeInclusive<u32>| {
                let (first, last) = positions.into_inner();
                flows
                    .recorded
                    .range(
                        (service, family, first, BackendId(0))..=(service, family, last, BackendId(u32::MAX)),
                    )
                    .map(|&(_, _, position, backend)| (position, backend))
                    .filter(|(_, backend)| image.backends.contains_key(backend))
            };
            // Half-open: where on the ring they are is not known.
            let anywhere: BTreeSet<u32> = recorded(0..=0).map(|(_, backend)| backend.0).collect();
            let elsewhere: BTreeSet<usize> = recorded(1..=u32::MAX)
                .map(|(position, backend)| (index_in(position, len) as usize, backend))
                .filter(|&(slot, backend)| current(slot) != backend.0)
                .map(|(slot, _)| slot)
                .collect();
            let is_elsewhere = |slot: usize| {
                elsewhere.contains(&slot) || anywhere.iter().any(|&backend| backend != current(slot))
            };
            has_changed |= !ring.tick(now, is_elsewhere, is_gone).is_empty();
        }
        if has_changed {
            self.rings_changed = self.sweeps;
        }
    }

    /// Computes the health in force, and says when a service begins or ends to fail open.
    fn look_at_health(&mut self, state: &State) {
        let view = HealthView::new(state, &self.health);
        for (service, family) in view.failing_open.difference(&self.health_view.failing_open) {
            error!(%service, %family, "no server is healthy: all of them get traffic (on_all_unhealthy: fail_open)");
        }
        for (service, family) in self.health_view.failing_open.difference(&view.failing_open) {
            info!(%service, %family, "a server is healthy again: unhealthy ones get no traffic");
        }
        self.health_view = view;
    }

    /// Every configured backend, as the drain machine wants it.
    fn wanted(&mut self, state: &State) -> BTreeMap<BackendKey, Wanted> {
        let listened: BTreeSet<_> =
            state.listeners.values().map(|listener| &listener.spec.backend_service).collect();
        let mut wanted = BTreeMap::new();
        for (key, backend) in state.configured_backends() {
            let Some(service) = state.backend_services.get(&key.service).map(|service| &service.spec) else {
                continue;
            };
            self.last_configured.insert(key.clone(), (backend.weight, backend.admin_state));
            let entry = Wanted {
                admin_state: backend.admin_state,
                health: self.health_view.in_force(&key),
                drain_time: service.connection_draining,
                on_drain_expiry: service.on_drain_expiry,
                on_unhealthy: service.on_unhealthy,
                listened: listened.contains(&key.service),
            };
            wanted.insert(key, entry);
        }
        wanted
    }

    /// Every backend that the datapath holds and that has a name.
    fn known(&self) -> BTreeMap<BackendKey, KnownBackend> {
        let on_rings = self.on_rings();
        self.held_backends()
            .map(|(id, key)| {
                let held = self.flows.backends.get(&id).map_or(0, |flows| flows.held);
                // Of a ring's flows that are not recorded nobody knows how many there are. What a persistence entry names
                // must not become somebody else's number.
                let is_named = on_rings.contains(&id) || self.flows.persisted.contains(&id);
                let active_connections = held.max(u64::from(is_named));
                (key, KnownBackend { active_connections })
            })
            .collect()
    }

    /// The backends that slots of the datapath's rings name. Not those of `rings`, which an agent that has just begun
    /// does not know yet.
    fn on_rings(&self) -> BTreeSet<BackendId> {
        let picks = self.image.services.values().flat_map(|service| &service.picks);
        let slots: HashSet<Slot> = picks.flat_map(|picks| &picks.ring.slots).copied().collect();
        let backends = slots.iter().flat_map(|slot| [slot.current(), slot.previous()]);
        backends.map(|number| BackendId(number.into())).collect()
    }

    pub(super) fn held_backends(&self) -> impl Iterator<Item = (BackendId, BackendKey)> {
        self.ids.names(Kind::Backend).filter_map(|(name, number)| {
            let id = BackendId(number);
            let key = self.image.backends.contains_key(&id).then(|| serde_json::from_str(name))?.ok()?;
            Some((id, key))
        })
    }

    fn remember_ids(&mut self) -> Result<(), ReconcileError> {
        let (puts, removals) = self.ids.take_changes();
        self.store_if_any(memory::IDS, puts.into_iter().collect(), removals.into_iter().collect())
    }

    /// Forgets the numbers and the health of what is gone.
    fn forget(&mut self, state: &State) -> Result<(), ReconcileError> {
        let used: BTreeSet<(Kind, u32)> = held(&self.image).into_iter().collect();
        self.ids.retain(|kind, number| used.contains(&(kind, number)));
        self.remember_ids()?;
        let configured = state.configured_backends();
        let gone: Vec<BackendKey> =
            self.health.keys().filter(|key| !configured.contains_key(key)).cloned().collect();
        self.health.retain(|key, _| configured.contains_key(key));
        self.store_if_any(memory::HEALTH, Vec::new(), gone)?;
        let held: BTreeSet<BackendKey> = self.held_backends().map(|(_, key)| key).collect();
        self.last_configured.retain(|key, _| configured.contains_key(key) || held.contains(key));
        Ok(())
    }

    fn store_if_any<K: serde::Serialize, V: serde::Serialize>(
        &self,
        table: crate::store::memory::Table<K, V>,
        puts: Vec<(K, V)>,
        removals: Vec<K>,
    ) -> Result<(), ReconcileError> {
        if !puts.is_empty() || !removals.is_empty() {
            self.store.save(table, puts, removals)?;
        }
        Ok(())
    }
}

/// The SNAT addresses that there is room for: tables that were made for fewer are kept.
fn known_room(addresses: Vec<IpAddr>, slots: Slots) -> Vec<IpAddr> {
    let mut left = slots.snats;
    let (known, unknown): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(|address| {
        let left = &mut left[Family::of(*address).index()];
        let is_left = *left > 0;
        *left = left.saturating_sub(1);
        is_left
    });
    if !unknown.is_empty() {
        error!(
            unused = ?unknown,
            "the tables were made for fewer SNAT addresses: these are not used until `nlb-agent detach` and a new start"
        );
    }
    known
}

/// Whether a backend may get new connections.
pub(super) fn is_eligible(image: &Image, id: BackendId) -> bool {
    image.backends.get(&id).is_some_and(|backend| backend.eligibility == Eligibility::Eligible)
}

/// The numbers that an image uses.
fn held(image: &Image) -> Vec<(Kind, u32)> {
    // What the number of an access list stands for is read back from the maps.
    let Image { addresses, snats, acls: _, listeners, services, backends, egresses, interfaces: _ } = image;
    let mut held: Vec<(Kind, u32)> = Vec::new();
    held.extend(addresses.values().filter_map(|local| local.vip).map(|id| (Kind::Vip, id.0)));
    held.extend(listeners.values().map(|listener| (Kind::Vip, listener.vip.0)));
    held.extend(listeners.keys().map(|id| (Kind::Listener, id.0)));
    held.extend(services.keys().map(|id| (Kind::Service, id.0)));
    held.extend(backends.keys().map(|id| (Kind::Backend, id.0)));
    held.extend(egresses.keys().map(|id| (Kind::Egress, u32::from(id.0))));
    held.extend(snats.keys().map(|&(family, slot): &(Family, _)| (Kind::Snat(family), u32::from(slot.0))));
    held
}
