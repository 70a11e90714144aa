use nlb_proto::v1 as pb;
use serde::Serialize;

use super::field::{Head, Tail, port, spelled};
use crate::ctl::screen::Column;

/// A server group's manifest.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct ServerGroup {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(in crate::ctl) servers: Vec<Server>,
    #[serde(flatten)]
    pub(super) tail: Tail,
}

/// A server of a group.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct Server {
    name: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    zone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_state: Option<String>,
}

impl ServerGroup {
    pub(super) fn columns(&self) -> Vec<Column> {
        let names = self.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>();
        vec![Column::new("SERVERS", names.len()), Column::new("SERVER NAMES", names.join(" "))]
    }
}

impl Server {
    /// The row of a table.
    pub(in crate::ctl) fn columns(&self) -> Vec<Column> {
        let Self { name, address, port, weight, zone, admin_state } = self;
        vec![
            Column::new("SERVER", name),
            Column::new("ADDRESS", port.map_or_else(|| address.clone(), |port| address_text(address, port))),
            Column::new("WEIGHT", weight.map(|weight| weight.to_string()).unwrap_or_default()),
            Column::new("ADMIN STATE", admin_state.as_deref().unwrap_or_default()),
            Column::new("ZONE", zone),
        ]
    }
}

/// "10.0.0.1:80" or "[2001:db8::1]:80"
pub(in crate::ctl) fn address_text(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

impl From<pb::ServerGroup> for ServerGroup {
    fn from(wire: pb::ServerGroup) -> Self {
        let pb::ServerGroup { name, description, labels, id, created_at, updated_at, revision, servers } =
            wire;
        Self {
            head: Head::new(name, description, labels),
            servers: servers.into_iter().map(Server::from).collect(),
            tail: Tail::new(id, created_at, updated_at, revision),
        }
    }
}

impl From<pb::Server> for Server {
    fn from(wire: pb::Server) -> Self {
        let pb::Server { name, address, port: own_port, weight, zone, admin_state } = wire;
        Self {
            name,
            address,
            port: port(own_port),
            weight,
            zone,
            admin_state: spelled(admin_state, pb::AdminState::as_str_name),
        }
    }
}
