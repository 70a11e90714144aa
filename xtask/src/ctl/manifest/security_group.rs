use nlb_proto::v1::{self as pb, security_rule};
use serde::Serialize;

use super::field::{Head, Tail, spelled};
use crate::ctl::screen::Column;

/// A security group's manifest.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct SecurityGroup {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(in crate::ctl) rules: Vec<Rule>,
    #[serde(flatten)]
    pub(super) tail: Tail,
}

/// A rule of a group.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    ports: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cidrs: Vec<String>,
}

impl SecurityGroup {
    pub(super) fn columns(&self) -> Vec<Column> {
        let cidrs: usize = self.rules.iter().map(|rule| rule.cidrs.len()).sum();
        vec![Column::new("RULES", self.rules.len()), Column::new("CIDRS", cidrs)]
    }
}

impl Rule {
    /// The row of a table, with the rule's place in its group.
    pub(in crate::ctl) fn columns((place, rule): (usize, &Self)) -> Vec<Column> {
        let Self { direction, action, protocol, ports, cidrs } = rule;
        let or_all = |text: &str| if text.is_empty() { "all".to_owned() } else { text.to_owned() };
        vec![
            Column::new("RULE", place),
            Column::new("ACTION", action.as_deref().unwrap_or_default()),
            Column::new("PROTOCOL", protocol.as_deref().unwrap_or_default()),
            Column::new("PORTS", or_all(ports)),
            Column::new("CIDRS", or_all(&cidrs.join(" "))),
            Column::wide("DIRECTION", direction.as_deref().unwrap_or_default()),
        ]
    }
}

impl From<pb::SecurityGroup> for SecurityGroup {
    fn from(wire: pb::SecurityGroup) -> Self {
        let pb::SecurityGroup { name, description, labels, id, created_at, updated_at, revision, rules } =
            wire;
        Self {
            head: Head::new(name, description, labels),
            rules: rules.into_iter().map(Rule::from).collect(),
            tail: Tail::new(id, created_at, updated_at, revision),
        }
    }
}

impl From<pb::SecurityRule> for Rule {
    fn from(wire: pb::SecurityRule) -> Self {
        let pb::SecurityRule { direction, action, protocol, ports, cidrs } = wire;
        Self {
            direction: spelled(direction, security_rule::Direction::as_str_name),
            action: spelled(action, security_rule::Action::as_str_name),
            protocol: spelled(protocol, security_rule::Protocol::as_str_name),
            ports,
            cidrs,
        }
    }
}
