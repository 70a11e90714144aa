use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{InvalidField, Protocol};

/// Defines a kind of duration by its unit, the finest it can hold, and its range in milliseconds.
macro_rules! duration {
    ($(#[$doc:meta])* $name:ident, $unit:ident, $min:literal..=$max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Duration);

        impl $name {
            const LIMITS: Limits = Limits {
                unit: Unit::$unit,
                min: Duration::from_millis($min),
                max: Duration::from_millis($max),
            };

            /// How long.
            pub fn as_duration(self) -> Duration {
                self.0
            }
        }

        impl TryFrom<Duration> for $name {
            type Error = InvalidField;

            fn try_from(duration: Duration) -> Result<Self, InvalidField> {
                Self::LIMITS.check(duration).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidField;

            fn from_str(text: &str) -> Result<Self, InvalidField> {
                parse(text).and_then(Self::try_from)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Self::LIMITS).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Canonical(self.0).fmt(f)
            }
        }
    };
}

duration! {
    /// After this long without a packet a connection's state is gone.
    IdleTimeout, Seconds, 1_000..=86_400_000
}

duration! {
    /// How long established connections of a removed or drained server go on; zero: not at all.
    DrainTime, Seconds, 0..=3_600_000
}

duration! {
    /// How long a client comes back to the server it had, after its last connection.
    PersistenceTime, Seconds, 1_000..=86_400_000
}

duration! {
    /// For how long the share of a server that is new or healthy again grows; zero: it has all of it at once.
    SlowStart, Seconds, 0..=3_600_000
}

duration! {
    /// From the start of one probe to the start of the next.
    ProbeInterval, Milliseconds, 1_000..=300_000
}

duration! {
    /// How long a whole probe may take.
    ProbeTimeout, Milliseconds, 100..=60_000
}

impl IdleTimeout {
    /// The timeout of a listener that sets none.
    pub fn default_for(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self(Duration::from_secs(1800)),
            Protocol::Udp => Self(Duration::from_secs(300)),
        }
    }
}

impl Default for DrainTime {
    fn default() -> Self {
        Self(Duration::from_secs(300))
    }
}

impl Default for PersistenceTime {
    fn default() -> Self {
        Self(Duration::from_secs(1440))
    }
}

impl Default for SlowStart {
    fn default() -> Self {
        Self(Duration::ZERO)
    }
}

impl Default for ProbeInterval {
    fn default() -> Self {
        Self(Duration::from_secs(3))
    }
}

impl Default for ProbeTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(5))
    }
}

/// The finest a kind of duration can hold.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// What a kind of duration allows.
#[derive(Clone, Copy)]
struct Limits {
    unit: Unit,
    min: Duration,
    max: Duration,
}

impl Limits {
    fn check(self, duration: Duration) -> Result<Duration, InvalidField> {
        let Self { unit, min, max } = self;
        if !(min..=max).contains(&duration) {
            return Err(InvalidField::out_of_range(Canonical(duration), Canonical(min), Canonical(max)));
        }
        let (step, unit) = match unit {
            Unit::Seconds => (1_000_000_000, "seconds"),
            Unit::Milliseconds => (1_000_000, "milliseconds"),
        };
        if !duration.subsec_nanos().is_multiple_of(step) {
            return Err(InvalidField::TooFine { value: Canonical(duration).to_string(), unit });
        }
        Ok(duration)
    }
}

impl de::Visitor<'_> for Limits {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit: _, min, max } = *self;
        write!(f, "a duration like 30s, 500ms, 5m or 1h, {}-{}", Canonical(min), Canonical(max))
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
        self.check(Duration::from_secs(seconds)).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
        let Self { unit: _, min, max } = self;
        match u64::try_from(seconds) {
            Ok(seconds) => self.visit_u64(seconds),
            Err(_) => {
                let value = format!("{seconds}s");
                Err(E::custom(InvalidField::out_of_range(value, Canonical(min), Canonical(max))))
            }
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).and_then(|duration| self.check(duration)).map_err(E::custom)
    }
}

/// A whole number and its unit; a number without a unit is one of seconds.
fn parse(text: &str) -> Result<Duration, InvalidField> {
    let malformed =
        || InvalidField::malformed(text, "duration: a whole number and ms, s, m or h, like 30s or 500ms");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| malformed())?;
    let seconds = |factor| number.checked_mul(factor).map(Duration::from_secs).ok_or_else(malformed);
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => Err(malformed()),
    }
}

/// Shows a duration the way it is written: `1800s`, `500ms`. What is finer than that is never stored.
struct Canonical(Duration);

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(duration) = self;
        match duration.subsec_nanos() {
            0 => write!(f, "{}s", duration.as_secs()),
            nanos if nanos % 1_000_000 == 0 => write!(f, "{}ms", duration.as_millis()),
            _ => write!(f, "{}ns", duration.as_nanos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(text: &str, expected: Result<&str, &str>)
    where
        T: FromStr<Err = InvalidField> + for<'de> Deserialize<'de> + fmt::Display + fmt::Debug,
    {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        let shown = text.parse::<T>().map(|d| d.to_string()).map_err(|e| e.to_string());
        assert_eq!(shown, expected, "{text} as text");
        let shown = serde_yaml::from_str::<T>(text).map(|d| d.to_string()).map_err(|e| e.to_string());
        assert_eq!(shown, expected, "{text} as YAML");
    }

    #[test]
    fn a_duration_is_a_number_with_a_unit_or_of_seconds() {
        for (text, canonical) in
            [("1800s", "1800s"), ("90", "90s"), ("5m", "300s"), ("1h", "3600s"), ("2000ms", "2s")]
        {
            check::<IdleTimeout>(text, Ok(canonical));
        }
        check::<ProbeTimeout>("500ms", Ok("500ms"));
        for text in ["5 s", "s", "1.5s", "5d", "-5s", "99999999999999999999s", "9999999999999999999h"] {
            let error = text.parse::<IdleTimeout>().expect_err(text).to_string();
            assert!(error.starts_with(&format!("{text:?} is no duration")), "{error}");
        }
    }

    #[test]
    fn every_kind_has_its_range() {
        check::<IdleTimeout>("0s", Err("0s is out of range: 1s-86400s allowed"));
        check::<IdleTimeout>("1s", Ok("1s"));
        check::<IdleTimeout>("24h", Ok("86400s"));
        check::<IdleTimeout>("86401s", Err("86401s is out of range: 1s-86400s allowed"));
        check::<DrainTime>("0", Ok("0s"));
        check::<DrainTime>("3600s", Ok("3600s"));
        check::<DrainTime>("4000s", Err("4000s is out of range: 0s-3600s allowed"));
        check::<PersistenceTime>("0s", Err("0s is out of range: 1s-86400s allowed"));
        check::<PersistenceTime>("1s", Ok("1s"));
        check::<PersistenceTime>("86401s", Err("86401s is out of range: 1s-86400s allowed"));
        check::<SlowStart>("0", Ok("0s"));
        check::<SlowStart>("1h", Ok("3600s"));
        check::<SlowStart>("3601s", Err("3601s is out of range: 0s-3600s allowed"));
        check::<ProbeInterval>("999ms", Err("999ms is out of range: 1s-300s allowed"));
        check::<ProbeInterval>("1500ms", Ok("1500ms"));
        check::<ProbeInterval>("5m", Ok("300s"));
        check::<ProbeInterval>("301s", Err("301s is out of range: 1s-300s allowed"));
        check::<ProbeTimeout>("99ms", Err("99ms is out of range: 100ms-60s allowed"));
        check::<ProbeTimeout>("100ms", Ok("100ms"));
        check::<ProbeTimeout>("60s", Ok("60s"));
        check::<ProbeTimeout>("61s", Err("61s is out of range: 100ms-60s allowed"));
    }

    #[test]
    fn timeouts_of_connections_are_whole_seconds() {
        check::<IdleTimeout>("1500ms", Err("1500ms is too fine: whole seconds allowed"));
        check::<DrainTime>("500ms", Err("500ms is too fine: whole seconds allowed"));
        check::<PersistenceTime>("1500ms", Err("1500ms is too fine: whole seconds allowed"));
        check::<SlowStart>("500ms", Err("500ms is too fine: whole seconds allowed"));
        let error = ProbeTimeout::try_from(Duration::from_nanos(100_000_001)).expect_err("too fine");
        assert_eq!(error.to_string(), "100000001ns is too fine: whole milliseconds allowed");
    }

    #[test]
    fn a_negative_number_of_seconds_is_out_of_range() {
        let error = serde_yaml::from_str::<DrainTime>("-1").expect_err("negative").to_string();
        assert_eq!(error, "-1s is out of range: 0s-3600s allowed");
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        assert_eq!(IdleTimeout::default_for(Protocol::Tcp).to_string(), "1800s");
        assert_eq!(IdleTimeout::default_for(Protocol::Udp).to_string(), "300s");
        assert_eq!(DrainTime::default().to_string(), "300s");
        assert_eq!(PersistenceTime::default().to_string(), "1440s");
        assert_eq!(SlowStart::default().to_string(), "0s");
        assert_eq!(ProbeInterval::default().to_string(), "3s");
        assert_eq!(ProbeTimeout::default().to_string(), "5s");
    }
}
