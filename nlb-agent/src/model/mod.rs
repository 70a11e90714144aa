//! Domain types: what an operator describes. A value of these types is valid; an invalid one cannot be built.
//!
//! The types of single fields ([`field`]) check their own range; [`State`] holds the resources and checks
//! what binds several of them (references, uniqueness). Nothing here knows gRPC, YAML, the store or the
//! kernel.

mod backend_service;
mod backends;
mod check;
mod edit;
pub(crate) mod field;
#[cfg(test)]
pub(crate) mod fixture;
mod key;
mod listener;
mod load_balancer;
mod policy;
mod resource;
mod rule;
mod security_group;
mod server_group;
mod state;

pub use self::{
    backend_service::{
        BackendService, HealthCheck, HealthProtocol, HttpMethod, OnAllUnhealthy, OnDrainExpiry, OnUnhealthy,
    },
    backends::ConfiguredBackend,
    check::Conflict,
    edit::{Change, Now, Referrers},
    field::{
        Cidr, Description, DrainTime, ExpectedCodes, HostName, HttpPath, IdleTimeout, InvalidField, Label,
        Name, PersistenceTime, Port, PortRange, ProbeInterval, ProbeTimeout, Protocol, SlowStart, Threshold,
        Weight,
    },
    key::BackendKey,
    listener::Listener,
    load_balancer::{LoadBalancer, LoadBalancerType},
    policy::{ConnectionTracking, Forwarding, Scheduler, SessionPersistence, UnknownFlow},
    resource::Resource,
    rule::Rule,
    security_group::{Action, Direction, RuleProtocol, SecurityGroup, SecurityRule},
    server_group::{AdminState, Server, ServerGroup},
    state::{AnyDraft, Draft, Kind, Meta, State, Stored},
};
