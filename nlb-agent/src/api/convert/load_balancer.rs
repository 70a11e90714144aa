use nlb_proto::v1 as wire;

use super::{
    Invalid, Wire, WireEnum,
    invalid::{At as _, required},
    mask,
    meta::{Header, labels, timestamp},
};
use crate::model::{Draft, LoadBalancer, Name, Stored, field::address};

impl Wire for wire::LoadBalancer {
    type Model = LoadBalancer;

    mask! {
        description, labels, r#type = "type", addresses, delete_protection, enabled, announce, echo, security_groups
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn into_draft(self) -> Result<Draft<LoadBalancer>, Invalid> {
        let Self {
            name,
            description,
            labels,
            id: _,
            created_at: _,
            updated_at: _,
            revision: _,
            r#type,
            addresses,
            delete_protection,
            enabled,
            announce,
            echo,
            security_groups,
        } = self;
        let groups = security_groups.iter().enumerate();
        let addresses = addresses.iter().enumerate();
        let spec = LoadBalancer {
            kind: WireEnum::from_wire("type", r#type)?.unwrap_or_default(),
            addresses: addresses
                .map(|(index, text)| address::parse(text).at(&format!("addresses[{index}]")))
                .collect::<Result<_, _>>()?,
            delete_protection,
            enabled: enabled.unwrap_or(true),
            announce,
            echo: echo.unwrap_or(true),
            security_groups: groups
                .map(|(index, name)| required(&format!("security_groups[{index}]"), name))
                .collect::<Result<_, _>>()?,
        };
        Header { name, description, labels }.into_draft(spec)
    }

    fn from_stored(name: &Name, Stored { spec, meta }: &Stored<LoadBalancer>) -> Self {
        let LoadBalancer { kind, addresses, delete_protection, enabled, announce, echo, security_groups } =
            spec;
        Self {
            name: name.to_string(),
            description: meta.description.to_string(),
            labels: labels(meta),
            id: meta.id.clone(),
            created_at: timestamp(meta.created_at),
            updated_at: timestamp(meta.updated_at),
            revision: meta.revision,
            r#type: kind.to_wire(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            delete_protection: *delete_protection,
            enabled: Some(*enabled),
            announce: *announce,
            echo: Some(*echo),
            security_groups: security_groups.iter().map(ToString::to_string).collect(),
        }
    }
}
