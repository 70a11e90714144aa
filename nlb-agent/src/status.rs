//! What the agent tells about the running datapath, in domain types.

use std::{net::IpAddr, time::Duration};

use crate::{
    datapath::Family,
    health::Health,
    model::{AdminState, BackendKey, Name, Weight},
};

/// A server as a backend service sees it, now.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendStatus {
    /// Absent where no listener refers to the service.
    pub listener: Option<Name>,
    /// Which backend.
    pub key: BackendKey,
    /// As configured; as last configured if it is removed.
    pub weight: Weight,
    /// As configured.
    pub admin_state: AdminState,
    /// What probes say.
    pub health: Health,
    /// `Some` while draining: the time to go.
    pub drain_remaining: Option<Duration>,
    /// No longer configured: here until its connections end.
    pub removed: bool,
    /// What the datapath counted.
    pub counters: BackendCounters,
}

/// What the datapath counted for one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendCounters {
    /// Half-open and established connections.
    pub active_connections: u64,
    /// Connections ever given to it.
    pub new_connections: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions, link-layer headers included.
    pub bytes: u64,
}

/// A source address of `nat`, and how many of its ports are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatStatus {
    /// The address.
    pub address: IpAddr,
    /// The ports that connections may have.
    pub ports: u32,
    /// The ports that connections had at the last sweep, closed ones included.
    pub used: u32,
}

impl SnatStatus {
    /// Whether a new connection has to look for a free port for long, or finds none: less than one in sixteen is free.
    pub fn is_scarce(&self) -> bool {
        self.free() <= self.ports / 16
    }

    /// Whether it is far from that.
    pub fn has_room(&self) -> bool {
        self.free() > self.ports / 8
    }

    fn free(&self) -> u32 {
        self.ports.saturating_sub(self.used)
    }
}

/// How many packets met one verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictCount {
    /// E.g. `DROP_NO_LISTENER`.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Since the datapath was loaded first.
    pub packets: u64,
}

/// How often one event happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// E.g. `PERSISTENCE_FULL`.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Since the datapath was loaded first.
    pub count: u64,
}

/// Whether a service gives traffic to unhealthy servers, because no healthy one of an address family is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailOpenStatus {
    /// The service.
    pub backend_service: Name,
    /// The address family.
    pub family: Family,
    /// Whether it does.
    pub failing_open: bool,
}

/// Which server a client comes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistenceStatus {
    /// The service.
    pub backend_service: Name,
    /// The VIP it was used through.
    pub vip: IpAddr,
    /// The client.
    pub client: IpAddr,
    /// The server; absent where it is gone: the client's next connection gets another one.
    pub backend: Option<BackendKey>,
    /// Open connections.
    pub connections: u32,
    /// How long the entry will live if no connection is open from now on.
    pub remaining: Duration,
}

/// An interface the datapath is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// The device's name.
    pub name: String,
    /// `driver` or `skb`.
    pub xdp_mode: &'static str,
}
