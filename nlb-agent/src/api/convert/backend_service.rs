use nlb_proto::v1 as wire;

use super::{
    Invalid, Wire, WireEnum,
    enums::as_written,
    health_check,
    invalid::{At as _, duration, required, to_wire_duration},
    mask,
    meta::{Header, labels, timestamp},
};
use crate::model::{BackendService, Draft, Name, Port, SessionPersistence, Stored};

impl Wire for wire::BackendService {
    type Model = BackendService;

    mask! {
        description, labels, protocol, port, scheduler, forwarding, connection_draining, on_drain_expiry,
        health_check, on_all_unhealthy, on_unhealthy, unknown_flow, server_groups,
        session_persistence, slow_start, connection_tracking,
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn into_draft(self) -> Result<Draft<BackendService>, Invalid> {
        let Self {
            name,
            description,
            labels,
            id: _,
            created_at: _,
            updated_at: _,
            revision: _,
            protocol,
            port,
            scheduler,
            forwarding,
            connection_draining,
            on_drain_expiry,
            health_check,
            on_all_unhealthy,
            on_unhealthy,
            unknown_flow,
            server_groups,
            session_persistence,
            slow_start,
            connection_tracking,
        } = self;
        let server_groups = server_groups.iter().enumerate();
        let spec = BackendService {
            protocol: WireEnum::from_wire("protocol", protocol)?
                .ok_or_else(|| Invalid::Missing { field: "protocol".to_owned() })?,
            port: Port::try_from(port).at("port")?,
            scheduler: WireEnum::from_wire("scheduler", scheduler)?,
            session_persistence: session_persistence
                .map(persistence_from_wire)
                .transpose()
                .map_err(|invalid| invalid.within("session_persistence"))?
                .unwrap_or_default(),
            slow_start: duration("slow_start", slow_start)?.unwrap_or_default(),
            forwarding: WireEnum::from_wire("forwarding", forwarding)?.unwrap_or_default(),
            connection_tracking: WireEnum::from_wire("connection_tracking", connection_tracking)?,
            connection_draining: duration("connection_draining", connection_draining)?.unwrap_or_default(),
            on_drain_expiry: WireEnum::from_wire("on_drain_expiry", on_drain_expiry)?.unwrap_or_default(),
            health_check: health_check
                .map(health_check::from_wire)
                .transpose()
                .map_err(|invalid| invalid.within("health_check"))?,
            on_all_unhealthy: WireEnum::from_wire("on_all_unhealthy", on_all_unhealthy)?.unwrap_or_default(),
            on_unhealthy: WireEnum::from_wire("on_unhealthy", on_unhealthy)?.unwrap_or_default(),
            unknown_flow: WireEnum::from_wire("unknown_flow", unknown_flow)?,
            server_groups: server_groups
                .map(|(index, name)| required(&format!("server_groups[{index}]"), name))
                .collect::<Result<_, _>>()?,
        };
        Header { name, description, labels }.into_draft(spec)
    }

    fn from_stored(name: &Name, Stored { spec, meta }: &Stored<BackendService>) -> Self {
        let BackendService {
            protocol,
            port,
            scheduler,
            session_persistence,
            slow_start,
            forwarding,
            connection_tracking,
            connection_draining,
            on_drain_expiry,
            health_check,
            on_all_unhealthy,
            on_unhealthy,
            unknown_flow,
            server_groups,
        } = spec;
        Self {
            name: name.to_string(),
            description: meta.description.to_string(),
            labels: labels(meta),
            id: meta.id.clone(),
            created_at: timestamp(meta.created_at),
            updated_at: timestamp(meta.updated_at),
            revision: meta.revision,
            protocol: protocol.to_wire(),
            port: port.get().into(),
            scheduler: as_written(*scheduler),
            forwarding: forwarding.to_wire(),
            connection_draining: Some(to_wire_duration(connection_draining.as_duration())),
            on_drain_expiry: on_drain_expiry.to_wire(),
            health_check: health_check.as_ref().map(health_check::to_wire),
            on_all_unhealthy: on_all_unhealthy.to_wire(),
            on_unhealthy: on_unhealthy.to_wire(),
            unknown_flow: as_written(*unknown_flow),
            server_groups: server_groups.iter().map(ToString::to_string).collect(),
            session_persistence: Some(persistence_to_wire(*session_persistence)),
            slow_start: Some(to_wire_duration(slow_start.as_duration())),
            connection_tracking: as_written(*connection_tracking),
        }
    }
}

fn persistence_from_wire(persistence: wire::SessionPersistence) -> Result<SessionPersistence, Invalid> {
    let wire::SessionPersistence { enabled, timeout } = persistence;
    Ok(SessionPersistence { enabled, timeout: duration("timeout", timeout)?.unwrap_or_default() })
}

fn persistence_to_wire(persistence: SessionPersistence) -> wire::SessionPersistence {
    let SessionPersistence { enabled, timeout } = persistence;
    wire::SessionPersistence { enabled, timeout: Some(to_wire_duration(timeout.as_duration())) }
}
