use std::{str::FromStr, time::Duration};

use crate::model::InvalidField;

/// A field of a request is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// Its value is not allowed.
    #[error("{field}: {cause}")]
    Field {
        /// Its path.
        field: String,
        /// Value, and what is allowed.
        cause: InvalidField,
    },
    /// It must be there.
    #[error("{field}: is missing")]
    Missing {
        /// Its path.
        field: String,
    },
    /// An enum has a number without a meaning.
    #[error("{field}: {value} is no value of it: {allowed} are allowed")]
    Enum {
        /// Its path.
        field: String,
        /// The number.
        value: i32,
        /// Numbers with their names.
        allowed: String,
    },
    /// A duration is negative or no duration at all.
    #[error("{field}: {seconds} s and {nanos} ns is no duration: it must be 0 or more")]
    Duration {
        /// Its path.
        field: String,
        /// The whole seconds sent.
        seconds: i64,
        /// The nanoseconds sent.
        nanos: i32,
    },
    /// A mask names what cannot be updated.
    #[error("update_mask: {path:?} cannot be updated: {allowed} can")]
    MaskPath {
        /// What it names.
        path: String,
        /// What it could name.
        allowed: String,
    },
}

impl Invalid {
    /// The same, where the field is part of `parent`.
    pub(super) fn within(mut self, parent: &str) -> Self {
        match &mut self {
            Self::Field { field, .. }
            | Self::Missing { field }
            | Self::Enum { field, .. }
            | Self::Duration { field, .. } => *field = format!("{parent}.{field}"),
            Self::MaskPath { .. } => {}
        }
        self
    }
}

/// Says which field an error is about.
pub(super) trait At<T> {
    /// `field` is its path.
    fn at(self, field: &str) -> Result<T, Invalid>;
}

impl<T> At<T> for Result<T, InvalidField> {
    fn at(self, field: &str) -> Result<T, Invalid> {
        self.map_err(|cause| Invalid::Field { field: field.to_owned(), cause })
    }
}

/// Text that must be there.
pub(crate) fn required<T: FromStr<Err = InvalidField>>(field: &str, text: &str) -> Result<T, Invalid> {
    if text.is_empty() { Err(Invalid::Missing { field: field.to_owned() }) } else { text.parse().at(field) }
}

/// Text that may be left out.
pub(crate) fn optional<T: FromStr<Err = InvalidField>>(
    field: &str,
    text: &str,
) -> Result<Option<T>, Invalid> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).at(field) }
}

/// A number of which 0 says that it is left out.
pub(super) fn unless_zero<T: TryFrom<u32, Error = InvalidField>>(
    field: &str,
    number: u32,
) -> Result<Option<T>, Invalid> {
    if number == 0 { Ok(None) } else { T::try_from(number).map(Some).at(field) }
}

/// A duration that may be left out.
pub(super) fn duration<T: TryFrom<Duration, Error = InvalidField>>(
    field: &str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<T>, Invalid> {
    let Some(prost_types::Duration { seconds, nanos }) = duration else { return Ok(None) };
    let parts = (u64::try_from(seconds), u32::try_from(nanos));
    match parts {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            T::try_from(Duration::new(seconds, nanos)).map(Some).at(field)
        }
        _ => Err(Invalid::Duration { field: field.to_owned(), seconds, nanos }),
    }
}

/// The message of a duration; those of the model are at most a day long.
pub(super) fn to_wire_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
