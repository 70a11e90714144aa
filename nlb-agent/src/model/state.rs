use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    BackendService, Description, Label, Listener, LoadBalancer, Name, Resource, SecurityGroup, ServerGroup,
};

/// The resources of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By name.
    pub load_balancers: BTreeMap<Name, Stored<LoadBalancer>>,
    /// By name.
    pub listeners: BTreeMap<Name, Stored<Listener>>,
    /// By name.
    pub backend_services: BTreeMap<Name, Stored<BackendService>>,
    /// By name.
    pub server_groups: BTreeMap<Name, Stored<ServerGroup>>,
    /// By name.
    pub security_groups: BTreeMap<Name, Stored<SecurityGroup>>,
}

/// A resource with what the server keeps about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored<T> {
    /// What the operator described.
    pub spec: T,
    /// What every resource has.
    pub meta: Meta,
}

/// What every resource has beside its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Free text.
    pub description: Description,
    /// Free key-value pairs.
    pub labels: BTreeMap<Label, Label>,
    /// Unique over all resources and all time.
    pub id: String,
    /// Milliseconds since the Unix epoch.
    pub created_at: u64,
    /// Milliseconds since the Unix epoch.
    pub updated_at: u64,
    /// Grows with every change of this resource; starts at 1.
    pub revision: u64,
}

/// A resource as an operator describes it: all of it but what the server sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<R> {
    /// Unique per kind.
    pub name: Name,
    /// Free text.
    pub description: Description,
    /// Free key-value pairs.
    pub labels: BTreeMap<Label, Label>,
    /// What sets this kind apart.
    pub spec: R,
}

/// A draft of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyDraft {
    /// A security group.
    SecurityGroup(Draft<SecurityGroup>),
    /// A load balancer.
    LoadBalancer(Draft<LoadBalancer>),
    /// A server group.
    ServerGroup(Draft<ServerGroup>),
    /// A backend service.
    BackendService(Draft<BackendService>),
    /// A listener.
    Listener(Draft<Listener>),
}

impl AnyDraft {
    /// Which resource this describes.
    pub fn key(&self) -> (Kind, &Name) {
        match self {
            Self::SecurityGroup(draft) => (SecurityGroup::KIND, &draft.name),
            Self::LoadBalancer(draft) => (LoadBalancer::KIND, &draft.name),
            Self::ServerGroup(draft) => (ServerGroup::KIND, &draft.name),
            Self::BackendService(draft) => (BackendService::KIND, &draft.name),
            Self::Listener(draft) => (Listener::KIND, &draft.name),
        }
    }
}

/// The kinds of resources, in the order in which they are created. Their serialised names are those of
/// manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// See [`SecurityGroup`].
    SecurityGroup,
    /// See [`LoadBalancer`].
    LoadBalancer,
    /// See [`ServerGroup`].
    ServerGroup,
    /// See [`BackendService`].
    BackendService,
    /// See [`Listener`].
    Listener,
}

impl Kind {
    /// One word, as in `load-balancer/shop`.
    pub fn slug(self) -> &'static str {
        match self {
            Self::SecurityGroup => "security-group",
            Self::LoadBalancer => "load-balancer",
            Self::ServerGroup => "server-group",
            Self::BackendService => "backend-service",
            Self::Listener => "listener",
        }
    }
}

/// Shows the kind as in a sentence: `load balancer`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecurityGroup => "security group",
            Self::LoadBalancer => "load balancer",
            Self::ServerGroup => "server group",
            Self::BackendService => "backend service",
            Self::Listener => "listener",
        })
    }
}
