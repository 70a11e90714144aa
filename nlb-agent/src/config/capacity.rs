use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// How many entries a table of the datapath has room for: at least `MIN`, at most `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity<const MIN: u32, const MAX: u32>(u32);

/// How many flows are remembered at a time.
pub type FlowCapacity = Capacity<1024, 67_108_864>;

/// How many clients are remembered for session persistence at a time.
pub type PersistenceCapacity = Capacity<1024, 16_777_216>;

/// How many connections of `dnat` are known at a time, of each family.
pub type DnatCapacity = Capacity<1024, 16_777_216>;

/// How many SNAT addresses of a family there is room for.
pub type SnatCapacity = Capacity<1, 256>;

/// A table of this size cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} is out of range: {min}-{max} allowed")]
pub struct InvalidCapacity {
    value: String,
    min: u32,
    max: u32,
}

impl<const MIN: u32, const MAX: u32> Capacity<MIN, MAX> {
    /// `entries`, which must be in the range; for constants.
    pub(super) const fn constant(entries: u32) -> Self {
        assert!(MIN <= entries && entries <= MAX, "a constant is in its range");
        Self(entries)
    }

    /// The number of entries.
    pub fn get(self) -> u32 {
        self.0
    }

    fn checked(number: i128) -> Result<Self, InvalidCapacity> {
        match u32::try_from(number) {
            Ok(entries) if (MIN..=MAX).contains(&entries) => Ok(Self(entries)),
            _ => Err(Self::out_of_range(number)),
        }
    }

    fn out_of_range(value: impl fmt::Display) -> InvalidCapacity {
        InvalidCapacity { value: value.to_string(), min: MIN, max: MAX }
    }
}

impl<const MIN: u32, const MAX: u32> FromStr for Capacity<MIN, MAX> {
    type Err = InvalidCapacity;

    fn from_str(text: &str) -> Result<Self, InvalidCapacity> {
        text.parse().map_err(|_| Self::out_of_range(text)).and_then(Self::checked)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Capacity<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Takes an integer of the range; one out of it is refused with the range and not with a Rust type.
        struct Entries<const MIN: u32, const MAX: u32>;

        impl<const MIN: u32, const MAX: u32> de::Visitor<'_> for Entries<MIN, MAX> {
            type Value = Capacity<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number, {MIN}-{MAX}")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Capacity::checked(number.into()).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Capacity::checked(number.into()).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Entries)
    }
}
