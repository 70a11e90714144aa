use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::Name;

/// A set of VIPs that listeners listen on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    /// Which of the products this is; immutable.
    #[serde(rename = "type", default)]
    pub kind: LoadBalancerType,
    /// The VIPs; at least one, unicast, none twice.
    #[serde(deserialize_with = "super::field::address::deserialize_list")]
    pub addresses: Vec<IpAddr>,
    /// Whether deletion is refused.
    #[serde(default)]
    pub delete_protection: bool,
    /// Whether the VIPs are served.
    #[serde(default = "super::field::yes")]
    pub enabled: bool,
    /// Whether this host says on its links that it has the VIPs, where they are not addresses of its own.
    #[serde(default)]
    pub announce: bool,
    /// Whether pings to the VIPs are answered, where they are not addresses of the host's own.
    #[serde(default = "super::field::yes")]
    pub echo: bool,
    /// Which clients may use it; none: all. Of several, one that lets a packet pass is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<Name>,
}

/// The products of the contract that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancerType {
    /// Stateful layer-4 balancer.
    #[default]
    Nlb,
    /// Stateless layer-4 balancer that runs on every node: all pick the same server for the same packet.
    Dnlb,
}

impl fmt::Display for LoadBalancerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nlb => "nlb",
            Self::Dnlb => "dnlb",
        })
    }
}
