//! Resources as manifests spell them: what `get -o yaml` writes and `apply` reads.
//!
//! One direction only, from the wire; manifests are read by the agent.

mod backend_service;
mod field;
mod listener;
mod load_balancer;
mod security_group;
mod server_group;

use serde::Serialize;

pub(super) use self::{
    backend_service::BackendService,
    field::{seconds_up, spelled},
    listener::Listener,
    load_balancer::LoadBalancer,
    security_group::{Rule, SecurityGroup},
    server_group::{Server, ServerGroup, address_text},
};
use super::screen::Column;

/// A resource of any kind.
#[derive(Debug, Serialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "as many as an answer holds, shown and dropped; boxes save nothing"
)]
#[serde(tag = "kind")]
pub(super) enum Manifest {
    LoadBalancer(LoadBalancer),
    Listener(Listener),
    BackendService(BackendService),
    ServerGroup(ServerGroup),
    SecurityGroup(SecurityGroup),
}

impl Manifest {
    /// The row of a table.
    pub(super) fn columns(&self) -> Vec<Column> {
        let (head, own, tail) = match self {
            Self::LoadBalancer(resource) => (&resource.head, resource.columns(), &resource.tail),
            Self::Listener(resource) => (&resource.head, resource.columns(), &resource.tail),
            Self::BackendService(resource) => (&resource.head, resource.columns(), &resource.tail),
            Self::ServerGroup(resource) => (&resource.head, resource.columns(), &resource.tail),
            Self::SecurityGroup(resource) => (&resource.head, resource.columns(), &resource.tail),
        };
        let labels = head.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        std::iter::once(Column::new("NAME", &head.name))
            .chain(own)
            .chain([
                Column::wide("REVISION", tail.revision),
                Column::wide("UPDATED", tail.updated_at.as_deref().unwrap_or_default()),
                Column::wide("ID", &tail.id),
                Column::wide("LABELS", labels.join(",")),
                Column::wide("DESCRIPTION", &head.description),
            ])
            .collect()
    }
}
