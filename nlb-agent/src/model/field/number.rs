use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::InvalidField;

/// Defines a kind of number by the integer that holds it and the range of its values.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty), $min:literal..=$max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name($int);

        impl $name {
            /// The number.
            pub fn get(self) -> $int {
                self.0
            }

            fn checked(number: i128) -> Result<Self, InvalidField> {
                <$int>::try_from(number)
                    .ok()
                    .filter(|number| ($min..=$max).contains(number))
                    .map(Self)
                    .ok_or_else(|| InvalidField::out_of_range(number, $min, $max))
            }
        }

        impl TryFrom<$int> for $name {
            type Error = InvalidField;

            fn try_from(number: $int) -> Result<Self, InvalidField> {
                Self::checked(number.into())
            }
        }

        impl TryFrom<u32> for $name {
            type Error = InvalidField;

            fn try_from(number: u32) -> Result<Self, InvalidField> {
                Self::checked(number.into())
            }
        }

        impl FromStr for $name {
            type Err = InvalidField;

            fn from_str(text: &str) -> Result<Self, InvalidField> {
                let number = text.parse();
                number.map_err(|_| InvalidField::out_of_range(text, $min, $max)).and_then(Self::checked)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = deserializer.deserialize_any(Integer { min: $min, max: $max })?;
                Ok(Self(number))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A TCP or UDP port.
    Port(u16), 1..=65535
}

number! {
    /// A server's share of the new connections, relative to its fellows'; 0: none.
    Weight(u8), 0..=100
}

number! {
    /// How many probes in a row turn a server's health.
    Threshold(u8), 1..=10
}

impl Default for Weight {
    fn default() -> Self {
        Self(10)
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self(3)
    }
}

/// Takes an integer from `min` to `max`; one out of range is refused with the range and not with a Rust type.
struct Integer<T> {
    min: T,
    max: T,
}

impl<T: TryFrom<i128> + PartialOrd + fmt::Display> Integer<T> {
    fn check<E: de::Error>(self, number: i128) -> Result<T, E> {
        let Self { min, max } = self;
        match T::try_from(number) {
            Ok(number) if number >= min && number <= max => Ok(number),
            _ => Err(E::custom(InvalidField::out_of_range(number, min, max))),
        }
    }
}

impl<T: TryFrom<i128> + PartialOrd + fmt::Display> de::Visitor<'_> for Integer<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max } = self;
        write!(f, "a whole number, {min}-{max}")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.check(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.check(number.into())
    }
}

/// (De)serialises `Option<Port>` as a number, 0 standing for `None`.
pub(in crate::model) mod optional_port {
    use serde::{Deserializer, Serialize as _, Serializer};

    use super::{Integer, Port};

    pub(in crate::model) fn serialize<S: Serializer>(
        port: &Option<Port>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        port.map_or(0, Port::get).serialize(serializer)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Port>, D::Error> {
        let number = deserializer.deserialize_any(Integer { min: 0, max: u16::MAX })?;
        Ok((number != 0).then_some(Port(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HealthCheck;

    fn check<T>(text: &str, expected: Result<T, &str>)
    where
        T: FromStr<Err = InvalidField> + for<'de> Deserialize<'de> + PartialEq + fmt::Debug,
    {
        let expected = expected.map_err(str::to_owned);
        assert_eq!(text.parse::<T>().map_err(|e| e.to_string()), expected, "{text} as text");
        assert_eq!(serde_yaml::from_str::<T>(text).map_err(|e| e.to_string()), expected, "{text} as YAML");
    }

    #[test]
    fn ports_are_1_to_65535() {
        check("1", Ok(Port(1)));
        check("65535", Ok(Port(65535)));
        check::<Port>("0", Err("0 is out of range: 1-65535 allowed"));
        check::<Port>("65536", Err("65536 is out of range: 1-65535 allowed"));
        check::<Port>("-1", Err("-1 is out of range: 1-65535 allowed"));
        assert!(Port::try_from(0u16).is_err());
        assert!(Port::try_from(65536u32).is_err());
    }

    #[test]
    fn weights_are_0_to_100_and_10_unless_given() {
        check("0", Ok(Weight(0)));
        check("100", Ok(Weight(100)));
        check::<Weight>("101", Err("101 is out of range: 0-100 allowed"));
        check::<Weight>("-1", Err("-1 is out of range: 0-100 allowed"));
        assert_eq!(Weight::default().get(), 10);
    }

    #[test]
    fn thresholds_are_1_to_10_and_3_unless_given() {
        check("1", Ok(Threshold(1)));
        check("10", Ok(Threshold(10)));
        check::<Threshold>("0", Err("0 is out of range: 1-10 allowed"));
        check::<Threshold>("11", Err("11 is out of range: 1-10 allowed"));
        assert_eq!(Threshold::default().get(), 3);
    }

    #[test]
    fn what_is_no_integer_is_refused_with_the_range() {
        for (yaml, expected) in [
            ("http", "invalid type: string \"http\", expected a whole number, 1-65535"),
            ("'80'", "invalid type: string \"80\", expected a whole number, 1-65535"),
            ("1.5", "invalid type: floating point `1.5`, expected a whole number, 1-65535"),
            ("[80]", "invalid type: sequence, expected a whole number, 1-65535"),
        ] {
            assert_eq!(serde_yaml::from_str::<Port>(yaml).expect_err(yaml).to_string(), expected);
        }
    }

    #[test]
    fn port_0_stands_for_the_port_of_something_else() {
        let port = |yaml: &str| serde_yaml::from_str::<HealthCheck>(yaml).map(|check| check.port);
        assert_eq!(port("port: 0").expect("legal"), None);
        assert_eq!(port("port: 80").expect("legal"), Some(Port(80)));
        let refused = port("port: 70000").expect_err("out of range").to_string();
        assert!(refused.contains("70000 is out of range: 0-65535 allowed"), "{refused}");
    }
}
