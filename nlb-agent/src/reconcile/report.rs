//! What the reconciler tells about the running datapath.

use std::{collections::BTreeMap, time::Duration};

use nlb_common::verdict::Verdict;

use super::runner::Reconciler;
use crate::{
    datapath::{BackendId, Datapath, Traffic},
    drain::Phase,
    health::Health,
    model::{BackendKey, Name},
    status::{BackendCounters, BackendStatus, VerdictCount},
};

/// Every backend, configured or only held, once for each listener that leads to it.
pub(super) fn backends<D: Datapath>(
    reconciler: &Reconciler<D>,
    traffic: &BTreeMap<BackendId, Traffic>,
    now: u64,
) -> Vec<BackendStatus> {
    let held: BTreeMap<BackendKey, BackendId> =
        reconciler.held_backends().map(|(id, key)| (key, id)).collect();
    let configured = reconciler.state.configured_backends();
    let mut keys: Vec<&BackendKey> = configured.keys().chain(held.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut statuses = Vec::new();
    for key in keys {
        let id = held.get(key);
        let Some(&(weight, admin_state)) = reconciler.last_configured.get(key) else { continue };
        let traffic = id.and_then(|id| traffic.get(id)).copied().unwrap_or_default();
        let status = BackendStatus {
            listener: None,
            key: key.clone(),
            weight,
            admin_state,
            health: reconciler.health_view.probed.get(key).copied().unwrap_or(Health::Unchecked),
            drain_remaining: remaining(reconciler, key, now),
            removed: !configured.contains_key(key),
            counters: BackendCounters {
                active_connections: traffic.active,
                new_connections: traffic.connections,
                packets: traffic.packets,
                bytes: traffic.bytes,
            },
        };
        let listeners: Vec<&Name> = reconciler
            .state
            .listeners
            .iter()
            .filter(|(_, listener)| listener.spec.backend_service == key.service)
            .map(|(name, _)| name)
            .collect();
        if listeners.is_empty() {
            statuses.push(status);
            continue;
        }
        for listener in listeners {
            statuses.push(BackendStatus { listener: Some(listener.clone()), ..status.clone() });
        }
    }
    statuses
}

/// The time to go of a backend that is leaving and still has, or has just had, connections.
fn remaining<D: Datapath>(reconciler: &Reconciler<D>, key: &BackendKey, now: u64) -> Option<Duration> {
    match reconciler.drains.phase(key) {
        Phase::Draining { .. } => reconciler.drains.remaining(key, now),
        Phase::Active | Phase::Expired(_) | Phase::Gone => None,
    }
}

/// Every verdict with its count.
pub(super) fn verdicts(counts: &[u64]) -> Vec<VerdictCount> {
    Verdict::ALL
        .iter()
        .zip(counts)
        .map(|(verdict, &packets)| VerdictCount { name: verdict.name(), meaning: verdict.meaning(), packets })
        .collect()
}
