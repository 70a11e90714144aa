use std::net::{IpAddr, SocketAddr};

use super::{Conflict, Forwarding, IdleTimeout, Kind, Name, Port, Protocol};

/// A rule that binds resources, and how a change would have broken it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Rule {
    /// What is named must exist.
    #[error("{kind} {name} does not exist")]
    NotFound { kind: Kind, name: Name },

    /// Names are unique per kind.
    #[error("{kind} {name} exists already")]
    AlreadyExists { kind: Kind, name: Name },

    /// An update or deletion may insist on the revision it was made for.
    #[error("{kind} {name} is at revision {actual}, not {expected}: somebody changed it; read it again")]
    RevisionMoved { kind: Kind, name: Name, expected: u64, actual: u64 },

    /// Some fields stay as they were created.
    #[error("{kind} {name}: {field} cannot be changed from {from} to {to}: create another {kind} instead")]
    Immutable { kind: Kind, name: Name, field: &'static str, from: String, to: String },

    /// A resource goes only after what refers to it.
    #[error("{kind} {name} is in use by {}: delete that first, or cascade", list(referrers))]
    InUse { kind: Kind, name: Name, referrers: Vec<(Kind, Name)> },

    /// Protection must be taken off first; no cascade overrides it.
    #[error("load balancer {name}: delete_protection is on: switch it off first")]
    DeleteProtected { name: Name },

    /// What a field refers to must exist.
    #[error("{kind} {name}: {field}: {target_kind} {target} does not exist")]
    DanglingReference { kind: Kind, name: Name, field: &'static str, target_kind: Kind, target: Name },

    /// A balancer without a VIP balances nothing.
    #[error("load balancer {name}: addresses: at least one is needed")]
    NoAddress { name: Name },

    /// A VIP stands once in its balancer.
    #[error("load balancer {name}: addresses: {address} is listed twice")]
    AddressTwice { name: Name, address: IpAddr },

    /// A VIP belongs to one balancer.
    #[error("load balancer {name}: addresses: {address} belongs to load balancer {owner} already")]
    AddressTaken { name: Name, address: IpAddr, owner: Name },

    /// A balancer names a security group once.
    #[error("load balancer {name}: security_groups: {group} is listed twice")]
    SecurityGroupTwice { name: Name, group: Name },

    /// A security group has so many rules at most.
    #[error("security group {name}: rules: there are {rules}: at most {max} allowed")]
    TooManyRules { name: Name, rules: usize, max: usize },

    /// A security group has so many CIDRs at most.
    #[error("security group {name}: rules: they have {cidrs} CIDRs in all: at most {max} allowed")]
    TooManyCidrs { name: Name, cidrs: usize, max: usize },

    /// One listener per balancer, protocol and port.
    #[error(
        "listener {name}: port: {protocol} port {port} of load balancer {load_balancer} belongs to listener {owner} already"
    )]
    PortTaken { name: Name, load_balancer: Name, protocol: Protocol, port: Port, owner: Name },

    /// A listener speaks what its backend service speaks.
    #[error(
        "listener {name}: protocol: {protocol} does not fit backend service {backend_service}, which is {expected}"
    )]
    ProtocolMismatch { name: Name, protocol: Protocol, backend_service: Name, expected: Protocol },

    /// A dnlb remembers no flows: none can be idle.
    #[error(
        "listener {name}: idle_timeout: {idle_timeout} has no meaning, because load balancer {load_balancer} is of type dnlb, which remembers no flows: leave it out"
    )]
    IdleTimeoutOfDnlb { name: Name, idle_timeout: IdleTimeout, load_balancer: Name },

    /// Without translation a listener's port is the servers' port.
    #[error(
        "listener {name}: port: {port} is not that of backend service {backend_service}, whose forwarding: {forwarding} leaves ports as they are: {expected} allowed"
    )]
    ListenerPortNotKept {
        name: Name,
        port: Port,
        backend_service: Name,
        forwarding: Forwarding,
        expected: Port,
    },

    /// Without translation a server's port is the service's.
    #[error(
        "backend service {name}: server_groups: server {server} has port {port}, but forwarding: {forwarding} leaves ports as they are: 0 and {expected} allowed"
    )]
    ServerPortNotKept { name: Name, server: String, port: Port, forwarding: Forwarding, expected: Port },

    /// Some fields of a backend service exclude each other.
    #[error("backend service {name}: {conflict}")]
    FieldConflict { name: Name, conflict: Box<Conflict> },

    /// Some fields of a backend service exclude some listeners.
    #[error("backend service {name}: {conflict}")]
    ListenerConflict { name: Name, conflict: Box<Conflict> },

    /// A backend service is served by one product.
    #[error(
        "backend service {name}: listener {nlb} belongs to a load balancer of type nlb, listener {dnlb} to one of type dnlb: only one type allowed; give one of them a backend service of its own"
    )]
    ProductsMixed { name: Name, nlb: Name, dnlb: Name },

    /// A backend service names a group once.
    #[error("backend service {name}: server_groups: {group} is listed twice")]
    GroupTwice { name: Name, group: Name },

    /// Server names are unique in a group.
    #[error("server group {name}: servers: the name {server} is used twice")]
    ServerNameTwice { name: Name, server: Name },

    /// An address and port stand once in a group.
    #[error(
        "server group {name}: servers: {first} and {second} both have address {address} and {}",
        port.map_or("no port".to_owned(), |port| format!("port {port}"))
    )]
    ServerAddressTwice { name: Name, first: Name, second: Name, address: IpAddr, port: Option<Port> },

    /// An address and port stand once behind a backend service.
    #[error("backend service {name}: server_groups: servers {first} and {second} both are {address}")]
    BackendTwice { name: Name, first: String, second: String, address: SocketAddr },
}

impl Rule {
    /// The resource whose description is at fault.
    pub fn subject(&self) -> (Kind, &Name) {
        match self {
            Self::NotFound { kind, name, .. }
            | Self::AlreadyExists { kind, name, .. }
            | Self::RevisionMoved { kind, name, .. }
            | Self::Immutable { kind, name, .. }
            | Self::InUse { kind, name, .. }
            | Self::DanglingReference { kind, name, .. } => (*kind, name),
            Self::DeleteProtected { name, .. }
            | Self::NoAddress { name, .. }
            | Self::AddressTwice { name, .. }
            | Self::SecurityGroupTwice { name, .. }
            | Self::AddressTaken { name, .. } => (Kind::LoadBalancer, name),
            Self::PortTaken { name, .. }
            | Self::ProtocolMismatch { name, .. }
            | Self::IdleTimeoutOfDnlb { name, .. }
            | Self::ListenerPortNotKept { name, .. } => (Kind::Listener, name),
            Self::GroupTwice { name, .. }
            | Self::BackendTwice { name, .. }
            | Self::ServerPortNotKept { name, .. }
            | Self::FieldConflict { name, .. }
            | Self::ListenerConflict { name, .. }
            | Self::ProductsMixed { name, .. } => (Kind::BackendService, name),
            Self::TooManyRules { name, .. } | Self::TooManyCidrs { name, .. } => (Kind::SecurityGroup, name),
            Self::ServerNameTwice { name, .. } | Self::ServerAddressTwice { name, .. } => {
                (Kind::ServerGroup, name)
            }
        }
    }
}

/// `listener a, listener b`; the first ten are enough to act on.
fn list(referrers: &[(Kind, Name)]) -> String {
    let mut words: Vec<_> = referrers.iter().take(10).map(|(kind, name)| format!("{kind} {name}")).collect();
    if referrers.len() > words.len() {
        words.push(format!("{} more", referrers.len() - words.len()));
    }
    words.join(", ")
}
