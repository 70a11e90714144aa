use nlb_proto::v1 as wire;

use super::{WireEnum as _, invalid::to_wire_duration};
use crate::{
    model::BackendKey,
    status::{BackendCounters, BackendStatus, InterfaceStatus, VerdictCount},
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

/// The message that shows an interface.
pub(crate) fn interface(status: InterfaceStatus) -> wire::Interface {
    let InterfaceStatus { name, xdp_mode } = status;
    wire::Interface { name, xdp_mode: xdp_mode.to_owned() }
}
