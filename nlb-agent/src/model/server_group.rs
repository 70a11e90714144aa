use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Name, Port, Weight};

/// Servers that are added and removed together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerGroup {
    /// The servers; names are unique, and so are (address, port) pairs.
    #[serde(default)]
    pub servers: Vec<Server>,
}

/// A server as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Unique within the group.
    pub name: Name,
    /// A unicast address.
    #[serde(deserialize_with = "super::field::address::deserialize")]
    pub address: IpAddr,
    /// Absent: the backend service's port. (YAML and the API write 0 for that.)
    #[serde(default, with = "super::field::optional_port", skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Share of the new connections.
    #[serde(default)]
    pub weight: Weight,
    /// Where the server stands; informational for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    /// What the operator says about the server; absent in a description: as it is, and enabled at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_state: Option<AdminState>,
}

/// What the operator says about a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminState {
    /// Gets traffic.
    #[default]
    Enabled,
    /// No new connections; established ones go on until the draining time is over.
    Draining,
    /// No new connections; established ones end at once.
    Disabled,
}
