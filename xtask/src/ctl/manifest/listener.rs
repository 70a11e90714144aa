use nlb_proto::v1 as pb;
use serde::Serialize;

use super::field::{Head, Tail, duration_text, spelled, yes_no};
use crate::ctl::screen::Column;

/// A listener's manifest.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct Listener {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(in crate::ctl) load_balancer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<String>,
    backend_service: String,
    enabled: bool,
    #[serde(flatten)]
    pub(super) tail: Tail,
}

impl Listener {
    pub(super) fn columns(&self) -> Vec<Column> {
        let Self { head: _, load_balancer, protocol, port, idle_timeout, backend_service, enabled, tail: _ } =
            self;
        vec![
            Column::new("LOAD BALANCER", load_balancer),
            Column::new("PROTOCOL", protocol.as_deref().unwrap_or_default()),
            Column::new("PORT", port),
            Column::new("BACKEND SERVICE", backend_service),
            Column::new("ENABLED", yes_no(*enabled)),
            Column::wide("IDLE TIMEOUT", idle_timeout.as_deref().unwrap_or_default()),
        ]
    }
}

impl From<pb::Listener> for Listener {
    fn from(wire: pb::Listener) -> Self {
        let pb::Listener {
            name,
            description,
            labels,
            id,
            created_at,
            updated_at,
            revision,
            load_balancer,
            protocol,
            port,
            idle_timeout,
            backend_service,
            enabled,
        } = wire;
        Self {
            head: Head::new(name, description, labels),
            load_balancer,
            protocol: spelled(protocol, pb::Protocol::as_str_name),
            port,
            idle_timeout: idle_timeout.map(duration_text),
            backend_service,
            enabled: enabled.unwrap_or(true),
            tail: Tail::new(id, created_at, updated_at, revision),
        }
    }
}
