use std::collections::BTreeMap;

use prost_types::{Duration, Timestamp};
use serde::Serialize;

/// What every manifest begins with.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct Head {
    pub(in crate::ctl) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::ctl) description: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::ctl) labels: BTreeMap<String, String>,
}

/// What the agent keeps about every resource; ignored when applied.
#[derive(Debug, Serialize)]
pub(in crate::ctl) struct Tail {
    pub(in crate::ctl) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::ctl) created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::ctl) updated_at: Option<String>,
    pub(in crate::ctl) revision: u64,
}

impl Head {
    pub(super) fn new(
        name: String,
        description: String,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        // Sorted, so that the same resource is always written the same way.
        Self { name, description, labels: labels.into_iter().collect() }
    }
}

impl Tail {
    pub(super) fn new(
        id: String,
        created_at: Option<Timestamp>,
        updated_at: Option<Timestamp>,
        revision: u64,
    ) -> Self {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self { id, created_at: text(created_at), updated_at: text(updated_at), revision }
    }
}

/// An enum value as manifests spell it: lower case, without the prefix all values of its type share.
///
/// `None` for a value that stands for the default or that this tool does not know. `name` is the type's
/// `as_str_name`.
pub(in crate::ctl) fn spelled<E>(value: i32, name: impl Fn(&E) -> &'static str) -> Option<String>
where
    E: TryFrom<i32> + Default,
{
    let prefix = name(&E::default()).strip_suffix("UNSPECIFIED")?;
    let word = name(&E::try_from(value).ok()?).strip_prefix(prefix)?;
    (word != "UNSPECIFIED").then(|| word.to_ascii_lowercase())
}

/// "1800s", or "1500ms" where it is no whole number of seconds.
pub(super) fn duration_text(duration: Duration) -> String {
    let Duration { seconds, nanos } = duration;
    match nanos / 1_000_000 {
        0 => format!("{seconds}s"),
        millis => format!("{}ms", seconds * 1000 + i64::from(millis)),
    }
}

/// Whole seconds, rounded up: what is left is not 0 before it is over.
pub(in crate::ctl) fn seconds_up(duration: Duration) -> u64 {
    let Duration { seconds, nanos } = duration;
    u64::try_from(seconds + i64::from(nanos > 0)).unwrap_or(0)
}

/// 0 is how the wire says that the port is chosen elsewhere; manifests then leave it out.
pub(super) fn port(port: u32) -> Option<u32> {
    (port != 0).then_some(port)
}

/// For a table.
pub(super) fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
