//! What the reconciler tells about the running datapath.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use nlb_common::{event::Event, verdict::Verdict};

use super::{ids::Kind, runner::Reconciler};
use crate::{
    datapath::{
        BackendId, Datapath, Family, FlowCounts, Image, PersistenceEntry, ServiceId, Snat, Traffic, VipId,
    },
    drain::Phase,
    health::Health,
    model::{BackendKey, Name},
    status::{
        BackendCounters, BackendStatus, EventCount, FailOpenStatus, PersistenceStatus, SnatStatus,
        VerdictCount,
    },
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
        let is_configured = configured.contains_key(key);
        if !is_configured && id.is_some_and(|id| is_only_remembered(reconciler, *id)) {
            continue;
        }
        let Some(&(weight, admin_state)) = reconciler.last_configured.get(key) else { continue };
        let traffic = id.and_then(|id| traffic.get(id)).copied().unwrap_or_default();
        let status = BackendStatus {
            listener: None,
            key: key.clone(),
            weight,
            admin_state,
            health: reconciler.health_view.probed.get(key).copied().unwrap_or(Health::Unchecked),
            drain_remaining: remaining(reconciler, key, now),
            removed: !is_configured,
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

/// Whether nothing of a backend is left but persistence entries: if it comes back, so do its clients.
fn is_only_remembered<D: Datapath>(reconciler: &Reconciler<D>, id: BackendId) -> bool {
    let held = reconciler.flows.backends.get(&id).map_or(0, |flows| flows.held);
    held == 0 && reconciler.flows.persisted.contains(&id)
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

/// Every event with its count.
pub(super) fn events(counts: &[u64]) -> Vec<EventCount> {
    Event::ALL
        .iter()
        .zip(counts)
        .map(|(event, &count)| EventCount { name: event.name(), meaning: event.meaning(), count })
        .collect()
}

/// Every address that servers see, and how many of its ports are taken.
pub(super) fn snats(image: &Image, flows: &FlowCounts) -> Vec<SnatStatus> {
    let addresses = image.snats.iter().filter(|(_, snat)| snat.is_address());
    let status = |(key, snat): (&_, &Snat)| {
        let used = flows.snats.get(key).copied().unwrap_or_default();
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        SnatStatus { address: snat.address, ports: snat.ports.into(), used }
    };
    addresses.map(status).collect()
}

/// Every service, once for each address family that it has servers of.
pub(super) fn failing_open<D: Datapath>(reconciler: &Reconciler<D>) -> Vec<FailOpenStatus> {
    let configured = reconciler.state.configured_backends();
    let families: BTreeSet<(Name, Family)> =
        configured.into_keys().map(|key| (key.service, Family::of(key.address))).collect();
    let status = |place: (Name, Family)| {
        let failing_open = reconciler.health_view.failing_open.contains(&place);
        let (backend_service, family) = place;
        FailOpenStatus { backend_service, family, failing_open }
    };
    families.into_iter().map(status).collect()
}

/// Persistence entries with names in place of numbers; those of `service` only, if it is given. An entry whose service
/// or VIP has no name any more is of no use to anyone and left out.
pub(super) fn persistence<D: Datapath>(
    reconciler: &Reconciler<D>,
    entries: &[PersistenceEntry],
    service: Option<&Name>,
) -> Vec<PersistenceStatus> {
    // Tables, because there may be millions of entries.
    let services: BTreeMap<ServiceId, Name> = names(reconciler, Kind::Service, ServiceId);
    let vips: BTreeMap<VipId, IpAddr> = names(reconciler, Kind::Vip, VipId);
    let backends: BTreeMap<BackendId, BackendKey> = reconciler.held_backends().collect();
    let status = |entry: &PersistenceEntry| {
        let PersistenceEntry { service: id, vip, client, backend, connections, idle } = *entry;
        let name = services.get(&id).filter(|name| service.is_none_or(|service| service == *name))?;
        let configured = reconciler.state.backend_services.get(name);
        let timeout = configured
            .map_or(Duration::ZERO, |service| service.spec.session_persistence.timeout.as_duration());
        Some(PersistenceStatus {
            backend_service: name.clone(),
            vip: *vips.get(&vip)?,
            client,
            // A number that was given to another service's server meanwhile is not what the entry means.
            backend: backends.get(&backend).filter(|key| key.service == *name).cloned(),
            connections,
            remaining: if connections > 0 { timeout } else { timeout.saturating_sub(idle) },
        })
    };
    let mut statuses: Vec<PersistenceStatus> = entries.iter().filter_map(status).collect();
    statuses
        .sort_by(|a, b| (&a.backend_service, a.vip, a.client).cmp(&(&b.backend_service, b.vip, b.client)));
    statuses
}

/// The names of all numbers of a kind.
fn names<D: Datapath, Id: Ord, T: std::str::FromStr>(
    reconciler: &Reconciler<D>,
    kind: Kind,
    id: impl Fn(u32) -> Id,
) -> BTreeMap<Id, T> {
    let names = reconciler.ids.names(kind);
    names.filter_map(|(name, number)| Some((id(number), name.parse().ok()?))).collect()
}
