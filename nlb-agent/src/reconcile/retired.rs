//! Listeners that are no longer configured: their established connections go on for the draining time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::datapath::ListenerId;

/// A listener without connections is kept this long: one that was opened just before is not counted yet.
const GRACE_MS: u64 = 2_000;

/// When a listener that left is over.
#[derive(Debug, Default)]
pub(super) struct Retired {
    /// While it was configured: how long its connections would go on.
    drain_times: BTreeMap<ListenerId, Duration>,
    /// Milliseconds since the Unix epoch: when it left, and when it is over.
    leaving: BTreeMap<ListenerId, (u64, u64)>,
}

impl Retired {
    /// Goes on with what was remembered over a restart.
    pub(super) fn new(leaving: BTreeMap<ListenerId, (u64, u64)>) -> Self {
        Self { drain_times: BTreeMap::new(), leaving }
    }

    /// What is to be remembered over a restart.
    pub(super) fn leaving(&self) -> &BTreeMap<ListenerId, (u64, u64)> {
        &self.leaving
    }

    /// The listeners of the datapath that stay although they are not `configured` any more; `configured` has
    /// the draining time of each, `held` its connections.
    pub(super) fn step(
        &mut self,
        now: u64,
        configured: BTreeMap<ListenerId, Duration>,
        in_datapath: impl Iterator<Item = ListenerId>,
        held: &BTreeMap<ListenerId, u64>,
    ) -> BTreeSet<ListenerId> {
        let Self { drain_times, leaving } = self;
        leaving.retain(|id, _| !configured.contains_key(id));
        let mut staying = BTreeSet::new();
        for id in in_datapath.filter(|id| !configured.contains_key(id)) {
            let drain_time = drain_times.get(&id).copied().unwrap_or_default();
            let until = now.saturating_add(u64::try_from(drain_time.as_millis()).unwrap_or(u64::MAX));
            let (since, until) = *leaving.entry(id).or_insert((now, until));
            let is_needed =
                held.get(&id).is_some_and(|&held| held > 0) || now < since.saturating_add(GRACE_MS);
            if now < until && is_needed {
                staying.insert(id);
            }
        }
        leaving.retain(|id, _| staying.contains(id));
        *drain_times = configured
            .into_iter()
            .chain(drain_times.split_off(&ListenerId(0)).into_iter().filter(|(id, _)| staying.contains(id)))
            .collect();
        staying
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ListenerId = ListenerId(7);

    fn step(retired: &mut Retired, now: u64, configured: bool, held: u64) -> bool {
        let drain_time = Duration::from_secs(300);
        let configured = configured.then_some((ID, drain_time)).into_iter().collect();
        let held = [(ID, held)].into_iter().collect();
        retired.step(now, configured, [ID].into_iter(), &held).contains(&ID)
    }

    #[test]
    fn a_removed_listener_stays_while_it_has_connections_and_time() {
        let mut retired = Retired::default();
        assert!(!step(&mut retired, 0, true, 1), "configured");
        assert!(step(&mut retired, 1_000, false, 1));
        assert!(step(&mut retired, 300_999, false, 1));
        assert!(!step(&mut retired, 301_000, false, 1), "its time is over");
        assert!(retired.leaving().is_empty());
    }

    #[test]
    fn a_removed_listener_without_connections_stays_for_the_grace_only() {
        let mut retired = Retired::default();
        step(&mut retired, 0, true, 0);
        assert!(step(&mut retired, 0, false, 0));
        assert!(step(&mut retired, 1_999, false, 0));
        assert!(!step(&mut retired, 2_000, false, 0));
    }

    #[test]
    fn a_restart_keeps_the_deadline() {
        let mut first = Retired::default();
        step(&mut first, 0, true, 1);
        step(&mut first, 0, false, 1);
        let mut second = Retired::new(first.leaving().clone());
        assert!(step(&mut second, 299_999, false, 1));
        assert!(!step(&mut second, 300_000, false, 1));
    }

    #[test]
    fn a_listener_put_back_is_simply_there() {
        let mut retired = Retired::default();
        step(&mut retired, 0, true, 1);
        step(&mut retired, 0, false, 1);
        assert!(!step(&mut retired, 10, true, 1));
        assert!(retired.leaving().is_empty());
    }
}
