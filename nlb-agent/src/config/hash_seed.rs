use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// What the hash of packets starts from. Nodes with the same one, and the same resources, pick the same servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSeed(u64);

/// No seed is written like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no seed: a whole number, 0-18446744073709551615, decimal or hexadecimal like 0x1f")]
pub struct InvalidHashSeed(String);

impl HashSeed {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for HashSeed {
    type Err = InvalidHashSeed;

    fn from_str(text: &str) -> Result<Self, InvalidHashSeed> {
        let (digits, radix) = match text.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None => (text, 10),
        };
        // The library would take a sign.
        if !digits.starts_with(|first: char| first.is_digit(radix)) {
            return Err(InvalidHashSeed(text.to_owned()));
        }
        u64::from_str_radix(digits, radix).map(Self).map_err(|_| InvalidHashSeed(text.to_owned()))
    }
}

/// As people write it, and as it can be read again.
impl fmt::Display for HashSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl<'de> Deserialize<'de> for HashSeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seed;

        impl de::Visitor<'_> for Seed {
            type Value = HashSeed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, decimal or hexadecimal like 0x1f")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HashSeed, E> {
                Ok(HashSeed(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<HashSeed, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i128<E: de::Error>(self, number: i128) -> Result<HashSeed, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u128<E: de::Error>(self, number: u128) -> Result<HashSeed, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HashSeed, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_decimal_or_hexadecimal() {
        for (text, seed) in [
            ("0", 0),
            ("0x1F", 0x1f),
            ("18446744073709551615", u64::MAX),
            ("0xffffffffffffffff", u64::MAX),
            ("0x0000000000001234", 0x1234),
        ] {
            assert_eq!(text.parse(), Ok(HashSeed(seed)), "{text} as text");
            assert_eq!(serde_yaml::from_str::<HashSeed>(text).expect(text), HashSeed(seed), "{text} as YAML");
            assert_eq!(HashSeed(seed).to_string().parse(), Ok(HashSeed(seed)), "{text} shown");
        }
        assert!("+1".parse::<HashSeed>().is_err(), "a sign as text; in YAML +1 is 1");
        for text in ["", "x", "-1", "0x", "0x+1", "18446744073709551616", "1.5"] {
            assert!(text.parse::<HashSeed>().is_err(), "{text} as text");
            assert!(serde_yaml::from_str::<HashSeed>(text).is_err(), "{text} as YAML");
        }
    }
}
