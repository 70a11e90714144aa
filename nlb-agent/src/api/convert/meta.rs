use std::collections::{BTreeMap, HashMap};

use super::{
    Invalid,
    invalid::{At as _, required},
};
use crate::model::{Draft, Meta};

/// What an operator may set in every resource.
pub(super) struct Header {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) labels: HashMap<String, String>,
}

impl Header {
    /// The draft of a resource with this header.
    pub(super) fn into_draft<R>(self, spec: R) -> Result<Draft<R>, Invalid> {
        let Self { name, description, labels } = self;
        let labels = labels.iter().map(|(key, value)| Ok((key.parse()?, value.parse()?)));
        Ok(Draft {
            name: required("name", &name)?,
            description: description.parse().at("description")?,
            labels: labels.collect::<Result<BTreeMap<_, _>, _>>().at("labels")?,
            spec,
        })
    }
}

/// The labels of a stored resource as the wire has them.
pub(super) fn labels(meta: &Meta) -> HashMap<String, String> {
    meta.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// A moment, from milliseconds since the Unix epoch.
pub(super) fn timestamp(unix_ms: u64) -> Option<prost_types::Timestamp> {
    let seconds = i64::try_from(unix_ms / 1000).ok()?;
    let nanos = i32::try_from(unix_ms % 1000 * 1_000_000).ok()?;
    Some(prost_types::Timestamp { seconds, nanos })
}
