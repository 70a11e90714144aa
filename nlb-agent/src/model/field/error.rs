use std::fmt;

/// A field has a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// A number or duration outside its range.
    #[error("{value} is out of range: {min}-{max} allowed")]
    OutOfRange {
        /// The value, with its unit.
        value: String,
        /// The smallest that is allowed.
        min: String,
        /// The largest that is allowed.
        max: String,
    },
    /// A duration finer than its field can hold.
    #[error("{value} is too fine: whole {unit} allowed")]
    TooFine {
        /// The value, with its unit.
        value: String,
        /// Seconds or milliseconds.
        unit: &'static str,
    },
    /// Text of the wrong form.
    #[error("{value:?} is no {expected}")]
    Malformed {
        /// The text, shortened if it is long.
        value: String,
        /// What it should be, and how that looks.
        expected: &'static str,
    },
    /// A network with bits of a host.
    #[error("{value} has bits of a host behind its prefix: {network} allowed, or the address alone")]
    HostBits {
        /// What was written.
        value: String,
        /// The network that it is in.
        network: String,
    },
    /// A word that means something, but nothing that is done.
    #[error("{value} is not supported, because {reason}: {allowed} allowed")]
    Unsupported {
        /// The word.
        value: &'static str,
        /// Why not.
        reason: &'static str,
        /// What is supported.
        allowed: &'static str,
    },
    /// A range that ends before it begins.
    #[error("{value} ends before it begins")]
    Backwards {
        /// The range.
        value: String,
    },
    /// An address that no host of a network can have for itself.
    #[error("{value} is {what}: the unicast address of a host is needed")]
    Address {
        /// The address.
        value: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl InvalidField {
    /// `value` is not in `min..=max`.
    pub(super) fn out_of_range(
        value: impl fmt::Display,
        min: impl fmt::Display,
        max: impl fmt::Display,
    ) -> Self {
        Self::OutOfRange { value: value.to_string(), min: min.to_string(), max: max.to_string() }
    }

    /// `value` is no `expected`.
    pub(crate) fn malformed(value: &str, expected: &'static str) -> Self {
        Self::Malformed { value: shortened(value), expected }
    }
}

/// At most 80 characters of `value`: an error must not be as long as what was sent.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
