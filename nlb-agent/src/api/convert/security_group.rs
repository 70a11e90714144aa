use nlb_proto::v1::{self as wire, security_rule::Direction as WireDirection};

use super::{
    Invalid, Wire, WireEnum,
    invalid::{At as _, optional, required},
    mask,
    meta::{Header, labels, timestamp},
};
use crate::model::{Direction, Draft, Name, SecurityGroup, SecurityRule, Stored};

impl Wire for wire::SecurityGroup {
    type Model = SecurityGroup;

    mask! { description, labels, rules }

    fn name(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn into_draft(self) -> Result<Draft<SecurityGroup>, Invalid> {
        let Self { name, description, labels, id: _, created_at: _, updated_at: _, revision: _, rules } =
            self;
        let rules = rules.into_iter().enumerate();
        let spec = SecurityGroup {
            rules: rules
                .map(|(index, rule)| from_wire(rule).map_err(|e| e.within(&format!("rules[{index}]"))))
                .collect::<Result<_, _>>()?,
        };
        Header { name, description, labels }.into_draft(spec)
    }

    fn from_stored(name: &Name, Stored { spec, meta }: &Stored<SecurityGroup>) -> Self {
        let SecurityGroup { rules } = spec;
        Self {
            name: name.to_string(),
            description: meta.description.to_string(),
            labels: labels(meta),
            id: meta.id.clone(),
            created_at: timestamp(meta.created_at),
            updated_at: timestamp(meta.updated_at),
            revision: meta.revision,
            rules: rules.iter().map(to_wire).collect(),
        }
    }
}

fn from_wire(rule: wire::SecurityRule) -> Result<SecurityRule, Invalid> {
    let wire::SecurityRule { direction, action, protocol, ports, cidrs } = rule;
    let protocol = WireEnum::from_wire("protocol", protocol)?.unwrap_or_default();
    let ports = optional("ports", &ports)?;
    SecurityRule::check_ports(protocol, ports).at("ports")?;
    let cidrs = cidrs.iter().enumerate();
    Ok(SecurityRule {
        direction: direction_of(direction)?,
        action: WireEnum::from_wire("action", action)?
            .ok_or_else(|| Invalid::Missing { field: "action".to_owned() })?,
        protocol,
        ports,
        cidrs: cidrs
            .map(|(index, cidr)| required(&format!("cidrs[{index}]"), cidr))
            .collect::<Result<_, _>>()?,
    })
}

fn direction_of(number: i32) -> Result<Direction, Invalid> {
    match WireDirection::try_from(number) {
        Ok(WireDirection::Unspecified | WireDirection::Ingress) => Ok(Direction::Ingress),
        Ok(WireDirection::Egress) => Err(Direction::NO_EGRESS).at("direction"),
        Err(_) => Err(Invalid::Enum {
            field: "direction".to_owned(),
            value: number,
            allowed: format!("{} ({})", WireDirection::Ingress as i32, WireDirection::Ingress.as_str_name()),
        }),
    }
}

fn to_wire(rule: &SecurityRule) -> wire::SecurityRule {
    let SecurityRule { direction: Direction::Ingress, action, protocol, ports, cidrs } = rule;
    wire::SecurityRule {
        direction: WireDirection::Ingress.into(),
        action: action.to_wire(),
        protocol: protocol.to_wire(),
        ports: ports.map(|ports| ports.to_string()).unwrap_or_default(),
        cidrs: cidrs.iter().map(ToString::to_string).collect(),
    }
}
