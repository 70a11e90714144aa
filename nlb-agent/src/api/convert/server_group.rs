use nlb_proto::v1 as wire;

use super::{
    Invalid, Wire, WireEnum,
    invalid::{At as _, optional, required, unless_zero},
    mask,
    meta::{Header, labels, timestamp},
};
use crate::model::{Draft, Name, Server, ServerGroup, Stored, Weight, field::address};

impl Wire for wire::ServerGroup {
    type Model = ServerGroup;

    mask! { description, labels, servers }

    fn name(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn into_draft(self) -> Result<Draft<ServerGroup>, Invalid> {
        let Self { name, description, labels, id: _, created_at: _, updated_at: _, revision: _, servers } =
            self;
        let servers = servers.into_iter().enumerate();
        let spec = ServerGroup {
            servers: servers
                .map(|(index, server)| from_wire(server).map_err(|e| e.within(&format!("servers[{index}]"))))
                .collect::<Result<_, _>>()?,
        };
        Header { name, description, labels }.into_draft(spec)
    }

    fn from_stored(name: &Name, Stored { spec, meta }: &Stored<ServerGroup>) -> Self {
        let ServerGroup { servers } = spec;
        Self {
            name: name.to_string(),
            description: meta.description.to_string(),
            labels: labels(meta),
            id: meta.id.clone(),
            created_at: timestamp(meta.created_at),
            updated_at: timestamp(meta.updated_at),
            revision: meta.revision,
            servers: servers.iter().map(to_wire).collect(),
        }
    }
}

fn from_wire(server: wire::Server) -> Result<Server, Invalid> {
    let wire::Server { name, address, port, weight, zone, admin_state } = server;
    Ok(Server {
        name: required("name", &name)?,
        address: address::parse(&address).at("address")?,
        port: unless_zero("port", port)?,
        weight: weight.map(Weight::try_from).transpose().at("weight")?.unwrap_or_default(),
        zone: optional("zone", &zone)?,
        admin_state: WireEnum::from_wire("admin_state", admin_state)?,
    })
}

fn to_wire(server: &Server) -> wire::Server {
    let Server { name, address, port, weight, zone, admin_state } = server;
    wire::Server {
        name: name.to_string(),
        address: address.to_string(),
        port: port.map_or(0, |port| port.get().into()),
        weight: Some(weight.get().into()),
        zone: zone.as_ref().map(ToString::to_string).unwrap_or_default(),
        admin_state: admin_state.map_or(0, WireEnum::to_wire),
    }
}
