use nlb_proto::v1 as wire;

use super::{WireEnum as _, invalid::to_wire_duration};
use crate::{
    datapath::TableUse,
    model::BackendKey,
    status::{
        BackendCounters, BackendStatus, EventCount, InterfaceStatus, PersistenceStatus, SnatStatus,
        VerdictCount,
    },
};

/// The message that shows a backend.
pub(crate) fn backend(status: BackendStatus) -> wire::Backend {
    let BackendStatus { listener, key, weight, admin_state, health, drain_remaining, removed, counters } =
        status;
    let BackendKey { service, group, server, address, port } = key;
    let BackendCounters { active_connections, new_connections, packets, bytes } = counters;
    wire::Backend {
        listener: listener.map(String::from).unwrap_or_default(),
        backend_service: service.into(),
        group: group.into(),
        server: server.into(),
        address: address.to_string(),
        port: port.get().into(),
        weight: weight.get().into(),
        admin_state: admin_state.to_wire(),
        health: health.to_string(),
        health_reason: health.reason().map(|reason| reason.to_string()).unwrap_or_default(),
        draining: drain_remaining.is_some(),
        drain_remaining: drain_remaining.map(to_wire_duration),
        active_connections,
        new_connections_total: new_connections,
        packets_total: packets,
        bytes_total: bytes,
        removed,
    }
}

/// The message that shows a counter.
pub(crate) fn verdict(count: &VerdictCount) -> wire::VerdictCount {
    let VerdictCount { name, meaning, packets } = *count;
    wire::VerdictCount { name: name.to_owned(), packets, meaning: meaning.to_owned() }
}

/// The message that shows an event.
pub(crate) fn event(event: &EventCount) -> wire::EventCount {
    let EventCount { name, meaning, count } = *event;
    wire::EventCount { name: name.to_owned(), count, meaning: meaning.to_owned() }
}

/// The message that shows a table.
pub(crate) fn table(table: &TableUse) -> wire::Memory {
    let TableUse { name, capacity, used, bytes } = *table;
    wire::Memory { name: name.to_owned(), capacity, used, bytes }
}

/// The message that shows a SNAT address.
pub(crate) fn snat(status: &SnatStatus) -> wire::SnatAddress {
    let SnatStatus { address, ports, used } = *status;
    wire::SnatAddress { address: address.to_string(), ports, used }
}

/// The message that shows a persistence entry.
pub(crate) fn persistence(status: PersistenceStatus) -> wire::PersistenceEntry {
    let PersistenceStatus { backend_service, vip, client, backend, connections, remaining } = status;
    let entry = wire::PersistenceEntry {
        backend_service: backend_service.into(),
        vip: vip.to_string(),
        client: client.to_string(),
        connections,
        remaining: Some(to_wire_duration(remaining)),
        ..Default::default()
    };
    match backend {
        None => entry,
        Some(BackendKey { service: _, group, server, address, port }) => wire::PersistenceEntry {
            server_group: group.into(),
            server: server.into(),
            address: address.to_string(),
            port: port.get().into(),
            ..entry
        },
    }
}

/// The message that shows an interface.
pub(crate) fn interface(status: InterfaceStatus) -> wire::Interface {
    let InterfaceStatus { name, xdp_mode } = status;
    wire::Interface { name, xdp_mode: xdp_mode.to_owned() }
}
