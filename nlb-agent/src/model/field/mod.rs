//! The types of single fields. Each checks its own range when it is built, from whatever it is built: text,
//! YAML, JSON, or a number off the wire; the error names the value and what is allowed.

pub(crate) mod address;
mod cidr;
mod codes;
mod duration;
mod error;
mod number;
mod port_range;
mod protocol;
mod text;

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserializer, de};

pub(super) use self::number::optional_port;
pub use self::{
    cidr::Cidr,
    codes::ExpectedCodes,
    duration::{DrainTime, IdleTimeout, PersistenceTime, ProbeInterval, ProbeTimeout, SlowStart},
    error::InvalidField,
    number::{Port, Threshold, Weight},
    port_range::PortRange,
    protocol::Protocol,
    text::{Description, HostName, HttpPath, Label, Name},
};

/// The serde default of fields that are on unless switched off.
pub(super) fn yes() -> bool {
    true
}

/// For `#[serde(deserialize_with)]`: reads what is written as text.
///
/// The check runs inside the visitor, where YAML still knows the line of the value; with `#[serde(try_from)]`
/// it would run later, and the error would name the line of the mapping.
pub(crate) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct Text<T>(PhantomData<T>);

    impl<T: FromStr<Err: fmt::Display>> de::Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(PhantomData))
}
