use serde::{Deserialize, Serialize};

use super::{IdleTimeout, Name, Port, Protocol};

/// A port of a load balancer's VIPs, and the backend service that answers there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The load balancer; immutable.
    pub load_balancer: Name,
    /// Immutable.
    pub protocol: Protocol,
    /// Immutable; unique per balancer and protocol.
    pub port: Port,
    /// After this long without a packet a connection's state is gone; absent: the protocol's default. A dnlb keeps no
    /// such state, so its listeners have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<IdleTimeout>,
    /// Who answers.
    pub backend_service: Name,
    /// A disabled listener takes no new connections; established ones go on.
    #[serde(default = "super::field::yes")]
    pub enabled: bool,
}

impl Listener {
    /// The idle timeout in force.
    pub fn effective_idle_timeout(&self) -> IdleTimeout {
        self.idle_timeout.unwrap_or_else(|| IdleTimeout::default_for(self.protocol))
    }
}
