use serde::{Deserialize, Serialize};

use super::{
    ConnectionTracking, DrainTime, ExpectedCodes, Forwarding, HostName, HttpPath, LoadBalancerType, Name,
    Port, ProbeInterval, ProbeTimeout, Protocol, Scheduler, SessionPersistence, SlowStart, Threshold,
    UnknownFlow,
};

/// How connections are given to servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendService {
    /// Immutable.
    pub protocol: Protocol,
    /// The servers' port, where they have none of their own; immutable.
    pub port: Port,
    /// Who gets the next connection; absent: see [`Self::effective_scheduler`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Whether a client comes back to the server it had.
    #[serde(default)]
    pub session_persistence: SessionPersistence,
    /// For how long the share of a server that is new or healthy again grows; zero: it has all of it at once.
    #[serde(default)]
    pub slow_start: SlowStart,
    /// How packets reach the server; immutable.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// What is remembered of flows; absent: see [`Self::effective_connection_tracking`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_tracking: Option<ConnectionTracking>,
    /// How long established connections of a removed or drained server go on; zero: they end at once.
    #[serde(default)]
    pub connection_draining: DrainTime,
    /// How they end when that time is over.
    #[serde(default)]
    pub on_drain_expiry: OnDrainExpiry,
    /// Absent: servers are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Who gets traffic when no server is healthy.
    #[serde(default)]
    pub on_all_unhealthy: OnAllUnhealthy,
    /// What becomes of the established connections of a server that turns unhealthy.
    #[serde(default)]
    pub on_unhealthy: OnUnhealthy,
    /// What a TCP packet gets that belongs to no flow and opens none; absent: see
    /// [`Self::effective_unknown_flow`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_flow: Option<UnknownFlow>,
    /// Where the servers stand; none twice.
    #[serde(default)]
    pub server_groups: Vec<Name>,
}

impl BackendService {
    /// The scheduler in force, where the service's listeners belong to load balancers of type `product`.
    pub fn effective_scheduler(&self, product: LoadBalancerType) -> Scheduler {
        self.scheduler.unwrap_or(match product {
            LoadBalancerType::Nlb => Scheduler::WeightedRoundRobin,
            LoadBalancerType::Dnlb => Scheduler::SourceIp,
        })
    }

    /// What is remembered of flows, where the service's listeners belong to load balancers of type `product`.
    pub fn effective_connection_tracking(&self, product: LoadBalancerType) -> ConnectionTracking {
        self.connection_tracking.unwrap_or(match product {
            LoadBalancerType::Nlb => ConnectionTracking::Full,
            LoadBalancerType::Dnlb => ConnectionTracking::None,
        })
    }

    /// What a TCP packet gets that belongs to no flow and opens none. Where the server sees the client's packets as
    /// they are, it can go on with a connection that this balancer never saw begin.
    pub fn effective_unknown_flow(&self) -> UnknownFlow {
        self.unknown_flow.unwrap_or(match self.forwarding {
            Forwarding::Nat | Forwarding::Dnat => UnknownFlow::Reset,
            Forwarding::Ipip | Forwarding::Gue | Forwarding::Dsr => UnknownFlow::Balance,
        })
    }
}

/// How the connections of a server end when its draining time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrainExpiry {
    /// Their packets are answered with a RST.
    #[default]
    Reset,
    /// Their packets are dropped.
    Silent,
}

/// Who gets traffic when no server of a service is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAllUnhealthy {
    /// All of them: the checks may be wrong.
    #[default]
    FailOpen,
    /// None.
    FailClosed,
}

/// What becomes of the established connections of a server that turns unhealthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// They go on as long as the server answers.
    #[default]
    Keep,
    /// They end at once.
    Reset,
}

/// How servers are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// What a probe speaks.
    pub protocol: HealthProtocol,
    /// Absent: the port traffic goes to. (YAML and the API write 0 for that.)
    #[serde(with = "super::field::optional_port", skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// From the start of one probe to the start of the next; probes of one server never overlap.
    pub interval: ProbeInterval,
    /// How long a whole probe may take.
    pub timeout: ProbeTimeout,
    /// Successes in a row that make a server healthy.
    pub healthy_threshold: Threshold,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_threshold: Threshold,
    /// HTTP method.
    pub method: HttpMethod,
    /// HTTP request target.
    pub path: HttpPath,
    /// `Host` header; absent: the server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// HTTP status codes that mean health.
    pub expected_codes: ExpectedCodes,
    /// A disabled check is as good as none.
    pub enabled: bool,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            protocol: HealthProtocol::default(),
            port: None,
            interval: ProbeInterval::default(),
            timeout: ProbeTimeout::default(),
            healthy_threshold: Threshold::default(),
            unhealthy_threshold: Threshold::default(),
            method: HttpMethod::default(),
            path: HttpPath::default(),
            host: None,
            expected_codes: ExpectedCodes::default(),
            enabled: true,
        }
    }
}

/// What a probe speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthProtocol {
    /// A connection is opened and closed.
    #[default]
    Tcp,
    /// One HTTP/1.1 request.
    Http,
}

/// The method of an HTTP probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Headers only.
    #[default]
    Head,
    /// For servers that do not know HEAD.
    Get,
}
