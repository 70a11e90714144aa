use std::{collections::BTreeMap, time::Duration};

use super::{Cause, Drain, KnownBackend, Phase, Wanted, millis};
use crate::model::{AdminState, BackendKey, DrainTime, OnDrainExpiry, OnUnhealthy};

/// A backend without connections is kept this long after it left or expired: packets that chose it just
/// before are still on their way through the datapath, and must meet a verdict.
const GRACE: Duration = Duration::from_secs(2);

/// The phases of all backends.
///
/// ```text
///                      removed, no listener, or drained
///        ┌────────┐ ─────────────────────────────────▶ ┌──────────┐
///   ───▶ │ Active │                                    │ Draining │
///        └─┬────▲─┘ ◀───────────────────────────────── └─┬──────┬─┘
///          │    │       configured and enabled again     │      │
///          │    │                                        │      │ no connection left,
///          │    │ configured, enabled,   draining time   │      │ and not configured
///          │    │ usable again           over, disabled, │      │
///          │    │                        or unhealthy(*) │      │
///          │  ┌─┴───────┐                                │      │
///          └▶ │ Expired │ ◀──────────────────────────────┘      │
///   disabled, └───┬─────┘                                       ▼
///   unhealthy(*)  │      no connection left, and not         ┌──────┐
///                 └───── configured ───────────────────────▶ │ Gone │
///                                                            └──────┘
///   (*) where the service says `on_unhealthy: reset`; otherwise an unhealthy backend stays Active
/// ```
///
/// Further rules: a drain's deadline is its start plus the draining time *now* configured, as long as it is
/// configured. A drained backend that is then removed drains on; a disabled one that is then removed stays
/// expired. A draining time of zero is a deadline that is over at once. Gone takes a grace of two seconds
/// from the start of the drain, and from its deadline.
#[derive(Debug, Default)]
pub struct Drains {
    backends: BTreeMap<BackendKey, Backend>,
    next_deadline: Option<u64>,
}

/// What [`Drains::step`] wants kept in the store, or no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New or changed entries.
    pub puts: Vec<(BackendKey, Drain)>,
    /// Entries that are no longer needed.
    pub removals: Vec<BackendKey>,
}

#[derive(Debug)]
struct Backend {
    /// As configured last, for the moment when it is not configured any more.
    drain_time: DrainTime,
    expiry: OnDrainExpiry,
    /// Present while it leaves.
    drain: Option<Drain>,
    phase: Phase,
}

impl Drains {
    /// Goes on with the drains of an earlier run.
    pub fn new(entries: BTreeMap<BackendKey, Drain>) -> Self {
        let backends = entries.into_iter().map(|(key, drain)| {
            let Drain { drain_time, expiry, .. } = drain;
            (key, Backend { drain_time, expiry, drain: Some(drain), phase: Phase::Gone })
        });
        Self { backends: backends.collect(), next_deadline: None }
    }

    /// Brings all phases up to `now` (milliseconds since the Unix epoch), for what is configured and what the
    /// datapath holds.
    ///
    /// A backend that is held but was never seen configured drains with the default time and mode: after a
    /// restart, take one step with the stored configuration before applying a newer one.
    pub fn step(
        &mut self,
        now: u64,
        wanted: &BTreeMap<BackendKey, Wanted>,
        known: &BTreeMap<BackendKey, KnownBackend>,
    ) -> Changes {
        let mut changes = Changes::default();
        for key in wanted.keys().chain(known.keys()) {
            if !self.backends.contains_key(key) {
                self.backends.insert(key.clone(), Backend::unseen());
            }
        }
        self.next_deadline = None;
        self.backends.retain(|key, backend| {
            let (wanted, known) = (wanted.get(key), known.get(key));
            let before = backend.drain;
            let next = backend.step(now, wanted, known);
            if backend.drain != before {
                match backend.drain {
                    Some(drain) => changes.puts.push((key.clone(), drain)),
                    None => changes.removals.push(key.clone()),
                }
            }
            self.next_deadline = [self.next_deadline, next].into_iter().flatten().min();
            wanted.is_some() || known.is_some()
        });
        changes
    }

    /// The phase of a backend as of the last step; one that neither is configured nor held is
    /// [`Phase::Gone`].
    pub fn phase(&self, key: &BackendKey) -> Phase {
        self.backends.get(key).map_or(Phase::Gone, |backend| backend.phase)
    }

    /// When a phase changes by time alone: milliseconds since the Unix epoch. Call [`step`](Self::step) then,
    /// and whenever the configuration, health, or the count of connections changed.
    pub fn next_deadline(&self) -> Option<u64> {
        self.next_deadline
    }

    /// The time a draining backend has to go.
    pub fn remaining(&self, key: &BackendKey, now: u64) -> Option<Duration> {
        match self.phase(key) {
            Phase::Draining { deadline_ms, .. } => {
                Some(Duration::from_millis(deadline_ms.saturating_sub(now)))
            }
            Phase::Active | Phase::Expired(_) | Phase::Gone => None,
        }
    }
}

impl Backend {
    fn unseen() -> Self {
        Self {
            drain_time: DrainTime::default(),
            expiry: OnDrainExpiry::default(),
            drain: None,
            phase: Phase::Gone,
        }
    }

    /// Brings the backend up to `now`; the answer is when time alone changes its phase next.
    fn step(&mut self, now: u64, wanted: Option<&Wanted>, known: Option<&KnownBackend>) -> Option<u64> {
        if let Some(wanted) = wanted {
            self.drain_time = wanted.drain_time;
            self.expiry = wanted.on_drain_expiry;
        }
        let is_served = wanted.is_some_and(|wanted| wanted.listened);
        let next;
        (self.drain, self.phase, next) = match (known, self.cause(wanted)) {
            (None, _) if !is_served => (None, Phase::Gone, None),
            (_, None) => (None, Phase::Active, None),
            (_, Some(cause)) => {
                let drain = self.drain(now, cause);
                let is_idle = known.is_none_or(|known| known.active_connections == 0);
                let (phase, next) = judge(drain, now, !is_served && is_idle, wanted.is_some_and(is_cut));
                (Some(drain), phase, next)
            }
        };
        next
    }

    /// Why the backend leaves, if it does.
    fn cause(&self, wanted: Option<&Wanted>) -> Option<Cause> {
        let Some(wanted) = wanted else {
            return Some(self.drain.map_or(Cause::Removed, |drain| drain.cause));
        };
        match wanted.admin_state {
            AdminState::Disabled => Some(Cause::Disabled),
            AdminState::Draining => Some(Cause::Draining),
            AdminState::Enabled if !wanted.listened => Some(Cause::Removed),
            AdminState::Enabled if is_cut(wanted) => Some(Cause::Unhealthy),
            AdminState::Enabled => None,
        }
    }

    /// The drain that runs, as edited, or a new one.
    fn drain(&self, now: u64, cause: Cause) -> Drain {
        // What ended at once has nothing left to go on; what drained goes on to drain.
        let running = self.drain.filter(|drain| drain.cause.is_gradual() == cause.is_gradual());
        let started_ms = running.map_or(now, |drain| drain.started_ms);
        Drain { started_ms, drain_time: self.drain_time, expiry: self.expiry, cause }
    }
}

/// Whether its service resets the connections of this backend because it is unhealthy.
fn is_cut(wanted: &Wanted) -> bool {
    match wanted.on_unhealthy {
        OnUnhealthy::Keep => false,
        OnUnhealthy::Reset => !wanted.health.is_usable(),
    }
}

/// The phase of a leaving backend, and when time alone changes it.
fn judge(drain: Drain, now: u64, is_forgettable: bool, is_cut: bool) -> (Phase, Option<u64>) {
    let deadline_ms = drain.deadline_ms();
    let is_over = deadline_ms <= now;
    let gone_at = if is_over { deadline_ms } else { drain.started_ms }.saturating_add(millis(GRACE));
    let phase = match drain.cause {
        _ if is_forgettable && gone_at <= now => Phase::Gone,
        Cause::Unhealthy => Phase::Expired(OnDrainExpiry::Reset),
        Cause::Removed | Cause::Draining if is_cut => Phase::Expired(OnDrainExpiry::Reset),
        _ if is_over => Phase::Expired(drain.expiry),
        Cause::Removed | Cause::Draining | Cause::Disabled => {
            Phase::Draining { deadline_ms, expiry: drain.expiry }
        }
    };
    let next = [(!is_over).then_some(deadline_ms), is_forgettable.then_some(gone_at)];
    (phase, next.into_iter().flatten().filter(|at| *at > now).min())
}
