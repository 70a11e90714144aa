use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{InvalidField, Port};

/// Ports from one to another, both counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: Port,
    last: Port,
}

impl PortRange {
    /// Whether a port is one of them.
    #[must_use]
    pub fn contains(self, port: Port) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(first) || !is_number(last) {
            return Err(InvalidField::malformed(text, "port or range of ports, like 80 or 8000-8999"));
        }
        let range = Self { first: first.parse()?, last: last.parse()? };
        if range.last < range.first {
            return Err(InvalidField::Backwards { value: text.to_owned() });
        }
        Ok(range)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { first.fmt(f) } else { write!(f, "{first}-{last}") }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text, or the number that YAML takes a single port for.
impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = PortRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port or a range of ports")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortRange, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortRange, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_read_or_refused() {
        for (text, expected) in [
            ("80", Ok("80")),
            ("8000-8999", Ok("8000-8999")),
            ("1-65535", Ok("1-65535")),
            ("7-7", Ok("7")),
            ("0", Err("0 is out of range: 1-65535 allowed")),
            ("80-65536", Err("65536 is out of range: 1-65535 allowed")),
            ("81-80", Err("81-80 ends before it begins")),
            ("-80", Err("\"-80\" is no port or range of ports, like 80 or 8000-8999")),
            ("80,81", Err("\"80,81\" is no port or range of ports, like 80 or 8000-8999")),
        ] {
            let found =
                text.parse().map(|ports: PortRange| ports.to_string()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert_eq!(serde_yaml::from_str::<PortRange>("80").expect("a number"), "80".parse().expect("a port"));
    }
}
