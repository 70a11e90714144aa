use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::{
    sync::CancellationToken,
    time::{DelayQueue, delay_queue},
};
use tracing::{debug, info, warn};

use super::{Failure, Health, Machine, Thresholds};
use crate::model::{BackendKey, HealthCheck};

/// The servers to check, and how; only those whose check is enabled.
pub type Targets = BTreeMap<BackendKey, Arc<HealthCheck>>;

/// A server's health changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// Which server.
    pub key: BackendKey,
    /// Its health from now on.
    pub health: Health,
}

/// Probes under way at a time. When that many hang, the rest is probed late: each holds a file descriptor.
const MAX_RUNNING: usize = 4096;

/// A new target is probed first within this time, or its interval if that is shorter: whether it can serve
/// should not stay unknown for a five-minute interval. Ten thousand at once are then probed as fast as they
/// would be all the time with the default interval.
const FIRST_WITHIN: Duration = Duration::from_secs(3);

/// A shortage on this host meets thousands of probes; a person needs to hear of it once in a while.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Checks the health of all `targets`, until `shutdown` or until nobody sends targets or receives flips any
/// more.
///
/// Probes of one server start `interval` apart, and never overlap: where a probe takes longer than that, the
/// next follows at once. Servers are spread over time by their keys. An edited check keeps what is known of
/// the server; a removed target is forgotten. `seed` is the health that is remembered from before a restart;
/// each entry counts once, when its server first appears.
///
/// `probe` is [`super::probe()`], or a stand-in.
pub async fn run<P, F>(
    probe: P,
    seed: BTreeMap<BackendKey, Health>,
    mut targets: watch::Receiver<Arc<Targets>>,
    flips: mpsc::Sender<Flip>,
    shutdown: CancellationToken,
) where
    P: Fn(SocketAddr, Arc<HealthCheck>) -> F,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut checker = Checker::new(probe, seed);
    let wanted = Arc::clone(&targets.borrow_and_update());
    checker.update(&wanted);
    loop {
        let has_room = checker.running.len() < MAX_RUNNING;
        let flip = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = Arc::clone(&targets.borrow_and_update());
                checker.update(&wanted);
                None
            }
            Some(finished) = checker.running.join_next_with_id() => checker.finish(finished),
            Some(due) = poll_fn(|cx| checker.due.poll_expired(cx)), if has_room => {
                checker.start(due.into_inner());
                None
            }
        };
        let Some(flip) = flip else { continue };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            sent = flips.send(flip) => if sent.is_err() { return },
        }
    }
}

struct Checker<P> {
    probe: P,
    seed: BTreeMap<BackendKey, Health>,
    targets: BTreeMap<BackendKey, Target>,
    /// The targets that wait for their next probe.
    due: DelayQueue<BackendKey>,
    running: JoinSet<Result<(), Failure>>,
    /// Whose probe a task is. The result of a task that is not in here is of no interest any more.
    owners: HashMap<Id, BackendKey>,
    /// When the last warning was given that this host cannot probe.
    warned: Option<Instant>,
}

struct Target {
    check: Arc<HealthCheck>,
    machine: Machine,
    stage: Stage,
}

enum Stage {
    Waiting(delay_queue::Key),
    Running { started: Instant, task: AbortHandle },
}

impl<P, F> Checker<P>
where
    P: Fn(SocketAddr, Arc<HealthCheck>) -> F,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    fn new(probe: P, seed: BTreeMap<BackendKey, Health>) -> Self {
        Self {
            probe,
            seed,
            targets: BTreeMap::new(),
            due: DelayQueue::new(),
            running: JoinSet::new(),
            owners: HashMap::new(),
            warned: None,
        }
    }

    fn update(&mut self, wanted: &Targets) {
        for (key, target) in self.targets.extract_if(.., |key, _| !wanted.contains_key(key)) {
            debug!(backend = %key, "health is no longer checked");
            cancel(target.stage, &mut self.due, &mut self.owners);
        }
        for (key, check) in wanted {
            let health = match self.targets.get(key) {
                Some(target) if target.check == *check => continue,
                Some(target) => target.machine.health(),
                None => self.seed.remove(key).unwrap_or(Health::Unknown),
            };
            let stage = Stage::Waiting(self.due.insert(key.clone(), first_delay(key, check)));
            let target = Target { check: Arc::clone(check), machine: Machine::new(health), stage };
            if let Some(replaced) = self.targets.insert(key.clone(), target) {
                cancel(replaced.stage, &mut self.due, &mut self.owners);
            }
        }
    }

    fn start(&mut self, key: BackendKey) {
        let Some(target) = self.targets.get_mut(&key) else { return };
        let port = target.check.port.unwrap_or(key.port);
        let server = SocketAddr::new(key.address, port.get());
        let task = self.running.spawn((self.probe)(server, Arc::clone(&target.check)));
        self.owners.insert(task.id(), key);
        target.stage = Stage::Running { started: Instant::now(), task };
    }

    fn finish(&mut self, finished: Result<(Id, Result<(), Failure>), JoinError>) -> Option<Flip> {
        let (task, result) = match finished {
            Ok(finished) => finished,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => return None,
            },
        };
        let key = self.owners.remove(&task)?;
        let target = self.targets.get_mut(&key)?;
        if let Stage::Running { started, task: _ } = target.stage {
            // An instant in the past is due at once.
            let next = started + target.check.interval.as_duration();
            target.stage = Stage::Waiting(self.due.insert_at(key.clone(), next));
        }
        let result = match result {
            Ok(()) => Ok(()),
            Err(Failure::Server(reason)) => Err(reason),
            Err(Failure::Host(error)) => {
                let now = Instant::now();
                if self.warned.is_none_or(|warned| now - warned >= WARN_EVERY) {
                    self.warned = Some(now);
                    warn!(%error, "this host cannot probe; the health of servers stays as it is");
                }
                return None;
            }
        };
        debug!(backend = %key, ?result, "probed");
        let health = target.machine.observe(result, Thresholds::from(&*target.check))?;
        let reason = health.reason().map(tracing::field::display);
        info!(backend = %key, %health, reason, "health changed");
        Some(Flip { key, health })
    }
}

/// Takes a target that is removed or replaced out of the schedule.
fn cancel(stage: Stage, due: &mut DelayQueue<BackendKey>, owners: &mut HashMap<Id, BackendKey>) {
    match stage {
        Stage::Waiting(entry) => {
            due.remove(&entry);
        }
        Stage::Running { started: _, task } => {
            owners.remove(&task.id());
            task.abort();
        }
    }
}

/// The time to the first probe; always the same for the same key.
fn first_delay(key: &BackendKey, check: &HealthCheck) -> Duration {
    let window = check.interval.as_duration().min(FIRST_WITHIN);
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let hash = u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX);
    window.mul_f64(f64::from(hash) / f64::from(u32::MAX))
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
