use nlb_proto::v1::{
    self as pb,
    health_check::{Method, Protocol as HealthProtocol},
};
use serde::Serialize;

use super::field::{Head, Tail, duration_text, port, spelled};
use crate::ctl::screen::Column;

/// A backend service's manifest.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct BackendService {
    #[serde(flatten)]
    pub(super) head: Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_persistence: Option<SessionPersistence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_tracking: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_draining: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_drain_expiry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<HealthCheck>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_all_unhealthy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unhealthy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_flow: Option<String>,
    server_groups: Vec<String>,
    #[serde(flatten)]
    pub(super) tail: Tail,
}

/// Whether a client comes back to the server it had.
#[derive(Debug, Serialize)]
struct SessionPersistence {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
}

impl SessionPersistence {
    /// "1440s", or "off"
    fn summary(&self) -> String {
        let timeout = self.timeout.clone().unwrap_or_else(|| "on".to_owned());
        if self.enabled { timeout } else { "off".to_owned() }
    }
}

/// A backend service's health check.
#[derive(Debug, Serialize)]
struct HealthCheck {
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy_threshold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unhealthy_threshold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    expected_codes: String,
    enabled: bool,
}

impl HealthCheck {
    /// "http /healthz every 1s"
    fn summary(&self) -> String {
        if !self.enabled {
            return "off".to_owned();
        }
        let protocol = self.protocol.as_deref().unwrap_or("tcp");
        let path = if protocol == "http" { self.path.as_str() } else { "" };
        let every = self.interval.as_ref().map(|interval| format!("every {interval}")).unwrap_or_default();
        [protocol, path, &every].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

impl BackendService {
    pub(super) fn columns(&self) -> Vec<Column> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let or_default = |field: &Option<String>| field.clone().unwrap_or_else(|| "default".to_owned());
        vec![
            Column::new("PROTOCOL", text(&self.protocol)),
            Column::new("PORT", self.port),
            Column::new(
                "HEALTH CHECK",
                self.health_check.as_ref().map_or("off".to_owned(), HealthCheck::summary),
            ),
            Column::new("SERVER GROUPS", self.server_groups.join(" ")),
            Column::wide("SCHEDULER", or_default(&self.scheduler)),
            Column::wide(
                "PERSISTENCE",
                self.session_persistence.as_ref().map_or("off".to_owned(), SessionPersistence::summary),
            ),
            Column::wide("SLOW START", text(&self.slow_start)),
            Column::wide("FORWARDING", text(&self.forwarding)),
            Column::wide("TRACKING", or_default(&self.connection_tracking)),
            Column::wide("DRAINING", text(&self.connection_draining)),
        ]
    }

    /// What holds for the fields that the manifest leaves open: name of the field, default.
    pub(in crate::ctl) fn left_open(&self) -> Vec<(String, String)> {
        let unknown_flow = match self.forwarding.as_deref() {
            Some("ipip" | "gue" | "dsr") => "balance (default)",
            _ => "reset (default)",
        };
        let fields = [
            ("scheduler", &self.scheduler, "weighted_round_robin (default), behind a dnlb source_ip"),
            ("connection_tracking", &self.connection_tracking, "full (default), behind a dnlb none"),
            ("unknown_flow", &self.unknown_flow, unknown_flow),
        ];
        let open = fields.into_iter().filter(|(_, written, _)| written.is_none());
        open.map(|(field, _, default)| (field.to_owned(), default.to_owned())).collect()
    }
}

impl From<pb::BackendService> for BackendService {
    fn from(wire: pb::BackendService) -> Self {
        let pb::BackendService {
            name,
            description,
            labels,
            id,
            created_at,
            updated_at,
            revision,
            protocol,
            port,
            scheduler,
            forwarding,
            connection_draining,
            on_drain_expiry,
            health_check,
            on_all_unhealthy,
            on_unhealthy,
            unknown_flow,
            server_groups,
            session_persistence,
            slow_start,
            connection_tracking,
        } = wire;
        Self {
            head: Head::new(name, description, labels),
            protocol: spelled(protocol, pb::Protocol::as_str_name),
            port,
            scheduler: spelled(scheduler, pb::Scheduler::as_str_name),
            session_persistence: session_persistence.map(SessionPersistence::from),
            slow_start: slow_start.map(duration_text),
            forwarding: spelled(forwarding, pb::Forwarding::as_str_name),
            connection_tracking: spelled(connection_tracking, pb::ConnectionTracking::as_str_name),
            connection_draining: connection_draining.map(duration_text),
            on_drain_expiry: spelled(on_drain_expiry, pb::OnDrainExpiry::as_str_name),
            health_check: health_check.map(HealthCheck::from),
            on_all_unhealthy: spelled(on_all_unhealthy, pb::OnAllUnhealthy::as_str_name),
            on_unhealthy: spelled(on_unhealthy, pb::OnUnhealthy::as_str_name),
            unknown_flow: spelled(unknown_flow, pb::UnknownFlow::as_str_name),
            server_groups,
            tail: Tail::new(id, created_at, updated_at, revision),
        }
    }
}

impl From<pb::SessionPersistence> for SessionPersistence {
    fn from(wire: pb::SessionPersistence) -> Self {
        let pb::SessionPersistence { enabled, timeout } = wire;
        Self { enabled, timeout: timeout.map(duration_text) }
    }
}

impl From<pb::HealthCheck> for HealthCheck {
    fn from(wire: pb::HealthCheck) -> Self {
        let pb::HealthCheck {
            protocol,
            port: probed_port,
            interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
            method,
            path,
            host,
            expected_codes,
            enabled,
        } = wire;
        // The wire writes 0 for a default threshold, which manifests leave out.
        let threshold = |threshold: u32| (threshold != 0).then_some(threshold);
        Self {
            protocol: spelled(protocol, HealthProtocol::as_str_name),
            port: port(probed_port),
            interval: interval.map(duration_text),
            timeout: timeout.map(duration_text),
            healthy_threshold: threshold(healthy_threshold),
            unhealthy_threshold: threshold(unhealthy_threshold),
            method: spelled(method, Method::as_str_name).map(|method| method.to_ascii_uppercase()),
            path,
            host,
            expected_codes,
            enabled: enabled.unwrap_or(true),
        }
    }
}
