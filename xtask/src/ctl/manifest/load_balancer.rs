use nlb_proto::v1::{self as pb, load_balancer::Type};
use serde::Serialize;

use super::field::{Head, Tail, spelled, yes_no};
use crate::ctl::screen::Column;

/// A load balancer's manifest.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct LoadBalancer {
    #[serde(flatten)]
    pub(super) head: Head,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    pub(in crate::ctl) addresses: Vec<String>,
    delete_protection: bool,
    enabled: bool,
    announce: bool,
    echo: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    security_groups: Vec<String>,
    #[serde(flatten)]
    pub(super) tail: Tail,
}

impl LoadBalancer {
    pub(super) fn columns(&self) -> Vec<Column> {
        let Self {
            head: _,
            kind,
            addresses,
            delete_protection,
            enabled,
            announce,
            echo,
            security_groups,
            tail: _,
        } = self;
        vec![
            Column::new("TYPE", kind.as_deref().unwrap_or_default()),
            Column::new("VIPS", addresses.join(" ")),
            Column::new("ENABLED", yes_no(*enabled)),
            Column::wide("SECURITY GROUPS", security_groups.join(" ")),
            Column::wide("DELETE PROTECTION", yes_no(*delete_protection)),
            Column::wide("ANNOUNCE", yes_no(*announce)),
            Column::wide("ECHO", yes_no(*echo)),
        ]
    }
}

impl From<pb::LoadBalancer> for LoadBalancer {
    fn from(wire: pb::LoadBalancer) -> Self {
        let pb::LoadBalancer {
            name,
            description,
            labels,
            id,
            created_at,
            updated_at,
            revision,
            r#type,
            addresses,
            delete_protection,
            enabled,
            announce,
            echo,
            security_groups,
        } = wire;
        Self {
            head: Head::new(name, description, labels),
            kind: spelled(r#type, Type::as_str_name),
            addresses,
            delete_protection,
            enabled: enabled.unwrap_or(true),
            announce,
            echo: echo.unwrap_or(true),
            security_groups,
            tail: Tail::new(id, created_at, updated_at, revision),
        }
    }
}
