use nlb_proto::v1 as wire;

use super::{
    Invalid, Wire, WireEnum,
    invalid::{At as _, duration, required, to_wire_duration},
    mask,
    meta::{Header, labels, timestamp},
};
use crate::model::{Draft, Listener, Name, Port, Stored};

impl Wire for wire::Listener {
    type Model = Listener;

    mask! {
        description, labels, load_balancer, protocol, port, idle_timeout, backend_service, enabled,
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn into_draft(self) -> Result<Draft<Listener>, Invalid> {
        let Self {
            name,
            description,
            labels,
            id: _,
            created_at: _,
            updated_at: _,
            revision: _,
            load_balancer,
            protocol,
            port,
            idle_timeout,
            backend_service,
            enabled,
        } = self;
        let spec = Listener {
            load_balancer: required("load_balancer", &load_balancer)?,
            protocol: WireEnum::from_wire("protocol", protocol)?
                .ok_or_else(|| Invalid::Missing { field: "protocol".to_owned() })?,
            port: Port::try_from(port).at("port")?,
            idle_timeout: duration("idle_timeout", idle_timeout)?,
            backend_service: required("backend_service", &backend_service)?,
            enabled: enabled.unwrap_or(true),
        };
        Header { name, description, labels }.into_draft(spec)
    }

    fn from_stored(name: &Name, Stored { spec, meta }: &Stored<Listener>) -> Self {
        let Listener { load_balancer, protocol, port, idle_timeout, backend_service, enabled } = spec;
        Self {
            name: name.to_string(),
            description: meta.description.to_string(),
            labels: labels(meta),
            id: meta.id.clone(),
            created_at: timestamp(meta.created_at),
            updated_at: timestamp(meta.updated_at),
            revision: meta.revision,
            load_balancer: load_balancer.to_string(),
            protocol: protocol.to_wire(),
            port: port.get().into(),
            idle_timeout: idle_timeout.map(|timeout| to_wire_duration(timeout.as_duration())),
            backend_service: backend_service.to_string(),
            enabled: Some(*enabled),
        }
    }
}
