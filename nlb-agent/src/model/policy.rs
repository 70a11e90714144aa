//! How a backend service treats flows: who gets them, how their packets travel, what is remembered of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::PersistenceTime;

/// Declares an enum whose values are written alike in manifests, in the store and in messages.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $word,)+
                })
            }
        }
    };
}

words! {
    /// Who gets the next connection.
    Scheduler {
        /// In turn, as often as the weight says.
        WeightedRoundRobin = "weighted_round_robin",
        /// The one with the fewest active connections for its weight.
        WeightedLeastConnections = "weighted_least_connections",
        /// By a consistent hash of the client's address.
        SourceIp = "source_ip",
        /// By a consistent hash of addresses, ports and protocol.
        FlowHash = "flow_hash",
    }
}

impl Scheduler {
    /// Whether the packet alone decides: then every node decides alike, and needs no state to do it again.
    pub fn is_hash(self) -> bool {
        match self {
            Self::SourceIp | Self::FlowHash => true,
            Self::WeightedRoundRobin | Self::WeightedLeastConnections => false,
        }
    }
}

words! {
    /// How packets reach the server. Immutable: flows of one mode cannot become those of another.
    #[derive(Default)]
    Forwarding {
        /// Source and destination are rewritten; replies come back through the balancer.
        #[default]
        Nat = "nat",
        /// The packet travels in another one (RFC 2003); the server answers the client directly. Ports stay as they are.
        Ipip = "ipip",
        /// As ipip, with a UDP header in between, so that routers and network cards spread flows as they do those of any
        /// other protocol (Generic UDP Encapsulation, port 6080).
        Gue = "gue",
        /// The packet goes as it is to the MAC address of the server, which has the VIP on a device of its own and answers the
        /// client directly. The server is a neighbour: no router is in between. Ports stay as they are.
        Dsr = "dsr",
        /// The destination is rewritten, the source is not: the server sees the client's address and port, and answers by way
        /// of the balancer, which is its router.
        Dnat = "dnat",
    }
}

impl Forwarding {
    /// Whether the server gets the client's packets as they are, and answers it directly.
    pub fn is_direct(self) -> bool {
        match self {
            Self::Nat | Self::Dnat => false,
            Self::Ipip | Self::Gue | Self::Dsr => true,
        }
    }

    /// Whether addresses are rewritten, both ways: a connection that is not known cannot go on then.
    pub fn is_translated(self) -> bool {
        !self.is_direct()
    }
}

words! {
    /// What a TCP packet gets that belongs to no flow and opens none.
    UnknownFlow {
        /// A RST.
        Reset = "reset",
        /// A server, by the consistent hash: the flow may be one that another node has begun.
        Balance = "balance",
    }
}

words! {
    /// What is remembered of flows.
    ConnectionTracking {
        /// All of them: counts and idle timeouts are exact.
        Full = "full",
        /// Those whose server would be another one now; counts are estimates.
        Transition = "transition",
        /// None.
        None = "none",
    }
}

/// Whether a client comes back to the server it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionPersistence {
    /// Whether it does.
    pub enabled: bool,
    /// For how long after its last connection, at least.
    pub timeout: PersistenceTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BackendService;

    #[test]
    fn a_row_of_an_earlier_agent_is_read() {
        let row = r#"{"protocol":"tcp","port":8080,"scheduler":"weighted_round_robin","forwarding":"nat",
            "connection_draining":"300s","on_drain_expiry":"reset","on_all_unhealthy":"fail_open",
            "on_unhealthy":"keep","unknown_flow":"reset","server_groups":["servers"]}"#;
        let service: BackendService = serde_json::from_str(row).expect("legal");
        assert_eq!(service.scheduler, Some(Scheduler::WeightedRoundRobin));
        assert_eq!(service.unknown_flow, Some(UnknownFlow::Reset));
        assert_eq!(service.session_persistence, SessionPersistence::default());
        let again = serde_json::to_string(&service).expect("serialises");
        assert_eq!(serde_json::from_str::<BackendService>(&again).expect("legal"), service);
    }
}
