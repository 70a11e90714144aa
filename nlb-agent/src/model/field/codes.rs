use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::InvalidField;

/// The status codes of HTTP (RFC 9110, section 15).
const STATUS_CODES: RangeInclusive<u16> = 100..=599;
/// More than anybody needs, and few enough to search one after the other.
const MAX_ITEMS: usize = 100;

const EXPECTED: &str =
    "list of status codes: up to 100 codes, ranges and classes within 100-599, like 200,300-302,4xx";

/// The HTTP status codes that mean health: codes, ranges and classes, as in `200,204,300-302,4xx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedCodes(Vec<RangeInclusive<u16>>);

impl ExpectedCodes {
    /// Whether `code` is expected.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }
}

impl Default for ExpectedCodes {
    fn default() -> Self {
        Self(vec![200..=299, 300..=399])
    }
}

impl FromStr for ExpectedCodes {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        // One more than allowed is enough to see that there are too many.
        let items: Option<Vec<_>> =
            text.split(',').take(MAX_ITEMS + 1).map(|item| parse_item(item.trim())).collect();
        match items {
            Some(ranges) if ranges.len() <= MAX_ITEMS => Ok(Self(ranges)),
            _ => Err(InvalidField::malformed(text, EXPECTED)),
        }
    }
}

fn parse_item(item: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = item.strip_suffix("xx") {
        let class: u16 = digits(class, 1).filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    let (first, last) = (parse_code(first)?, parse_code(last)?);
    (first <= last).then_some(first..=last)
}

fn parse_code(code: &str) -> Option<u16> {
    digits(code, 3).filter(|code| STATUS_CODES.contains(code))
}

/// A number of exactly `count` digits; `parse` alone would take a sign, too.
fn digits(text: &str, count: usize) -> Option<u16> {
    let all_digits = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for ExpectedCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let (first, last) = (range.start(), range.end());
            f.write_str(if index == 0 { "" } else { "," })?;
            if first == last {
                write!(f, "{first}")?;
            } else if first % 100 == 0 && last - first == 99 {
                write!(f, "{}xx", first / 100)?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for ExpectedCodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExpectedCodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Codes)
    }
}

/// Takes text, and the number that YAML makes of a single code.
struct Codes;

impl de::Visitor<'_> for Codes {
    type Value = ExpectedCodes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {EXPECTED}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ExpectedCodes, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, code: u64) -> Result<ExpectedCodes, E> {
        self.visit_str(&code.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ranges_and_classes_are_understood_and_shown_again() {
        let codes: ExpectedCodes = "200, 204,300-302,4xx".parse().expect("legal");
        for (code, expected) in [
            (200, true),
            (201, false),
            (204, true),
            (300, true),
            (302, true),
            (303, false),
            (404, true),
            (500, false),
        ] {
            assert_eq!(codes.contains(code), expected, "{code}");
        }
        assert_eq!(codes.to_string(), "200,204,300-302,4xx");
        assert_eq!(ExpectedCodes::default().to_string(), "2xx,3xx");
        assert_eq!(
            serde_yaml::from_str::<ExpectedCodes>("204").expect("a number is fine").to_string(),
            "204"
        );
    }

    #[test]
    fn what_is_no_status_code_is_refused() {
        let too_many = ["200"; 101].join(",");
        for text in [
            "", ",", "200,", "99", "600", "6xx", "0xx", "xx", "2x", "302-300", "200-", "ok", "-200", "+200",
            "+2xx", "0200", &too_many,
        ] {
            assert!(text.parse::<ExpectedCodes>().is_err(), "{text:?}");
        }
        assert!(["200"; 100].join(",").parse::<ExpectedCodes>().is_ok());
    }
}
