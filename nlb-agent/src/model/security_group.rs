//! Security groups: which clients may use a balancer's listeners.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Cidr, InvalidField, Port, PortRange, Protocol, field::from_text};

/// Rules for what clients send. The first that matches a packet decides; what none matches is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroup {
    /// In the order in which they are looked at.
    #[serde(default)]
    pub rules: Vec<SecurityRule>,
}

impl SecurityGroup {
    /// The most rules of a group.
    pub const MAX_RULES: usize = 1000;
    /// The most CIDRs of all rules of a group.
    pub const MAX_CIDRS: usize = 1000;
}

/// What becomes of some packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecurityRule {
    /// Whose packets.
    pub direction: Direction,
    /// What becomes of them.
    pub action: Action,
    /// Of which protocol.
    pub protocol: RuleProtocol,
    /// To which ports of listeners; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// From which clients; none: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<Cidr>,
}

impl SecurityRule {
    /// Whether it matches packets to a listener.
    #[must_use]
    pub fn concerns(&self, protocol: Protocol, port: Port) -> bool {
        let of_protocol = match self.protocol {
            RuleProtocol::Any => true,
            RuleProtocol::Tcp => protocol == Protocol::Tcp,
            RuleProtocol::Udp => protocol == Protocol::Udp,
            RuleProtocol::Icmp => false,
        };
        of_protocol && self.ports.is_none_or(|ports| ports.contains(port))
    }

    /// Checks that ports stand only with protocols that have some.
    ///
    /// # Errors
    /// They do not.
    pub(crate) fn check_ports(protocol: RuleProtocol, ports: Option<PortRange>) -> Result<(), InvalidField> {
        match (protocol, ports) {
            (RuleProtocol::Icmp, Some(_)) => Err(InvalidField::Unsupported {
                value: "a port",
                reason: "protocol: icmp has none",
                allowed: "no ports, or protocol: tcp, udp or any",
            }),
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for SecurityRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The fields, of which some do not go together.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "SecurityRule")]
        struct Fields {
            #[serde(default)]
            direction: Direction,
            action: Action,
            #[serde(default)]
            protocol: RuleProtocol,
            #[serde(default)]
            ports: Option<PortRange>,
            #[serde(default)]
            cidrs: Vec<Cidr>,
        }

        let Fields { direction, action, protocol, ports, cidrs } = Fields::deserialize(deserializer)?;
        Self::check_ports(protocol, ports)
            .map_err(|error| serde::de::Error::custom(format_args!("ports: {error}")))?;
        Ok(Self { direction, action, protocol, ports, cidrs })
    }
}

/// Whose packets a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What clients send. There is no other.
    #[default]
    Ingress,
}

impl Direction {
    /// Why there is no other.
    pub(crate) const NO_EGRESS: InvalidField = InvalidField::Unsupported {
        value: "egress",
        reason: "the security groups of a load balancer filter what clients send to it",
        allowed: "ingress",
    };
}

impl FromStr for Direction {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        match text {
            "ingress" => Ok(Self::Ingress),
            "egress" => Err(Self::NO_EGRESS),
            _ => Err(InvalidField::malformed(text, "direction: ingress allowed")),
        }
    }
}

impl<'de> Deserialize<'de> for Direction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

/// What becomes of packets that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// They go on.
    Allow,
    /// They are dropped.
    Deny,
}

/// Which protocols a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleProtocol {
    /// Every one.
    #[default]
    Any,
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 792 and RFC 4443: no listener's.
    Icmp,
}
