use std::{fmt, str::FromStr, sync::Arc};

use http::uri::{Authority, PathAndQuery};
use serde::{Deserialize, Deserializer, Serialize};

use super::{InvalidField, Port, from_text};

/// Defines a kind of text by the predicate that its values satisfy and the words an error describes it with.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $is_valid:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidField;

            fn from_str(text: &str) -> Result<Self, InvalidField> {
                if $is_valid(text) { Ok(Self(text.into())) } else { Err(InvalidField::malformed(text, $expected)) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidField;

            fn try_from(text: &str) -> Result<Self, InvalidField> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from($name(text): $name) -> Self {
                text.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// The name of a resource, server or zone.
    Name, is_name,
    "name: 1-63 lower-case letters, digits and '-', starting and ending with a letter or digit"
}

text! {
    /// Free text.
    Description, is_description, "description: at most 1000 characters, no control characters"
}

text! {
    /// The key or the value of a label.
    Label, is_label, "label: 1-256 characters, no control characters"
}

text! {
    /// The target of an HTTP request in origin form (RFC 9112, section 3.2.1).
    HttpPath, is_http_path,
    "path: '/' and what follows it, at most 1000 printable ASCII characters, no spaces and no '#'"
}

text! {
    /// The value of a `Host` header (RFC 9110, section 7.2).
    HostName, is_host_name, "host: a host name or address of at most 255 characters, and ':' and a port if need be"
}

fn is_name(text: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn is_description(text: &str) -> bool {
    text.chars().count() <= 1000 && text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t')
}

fn is_label(text: &str) -> bool {
    (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_http_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 1000
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
        // What the prober's HTTP library would refuse or rewrite must not get as far as the prober.
        && PathAndQuery::try_from(text).is_ok_and(|parsed| parsed.as_str() == text)
}

fn is_host_name(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let host = authority.host();
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<Port>().is_ok();
    let is_end = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    text.len() <= 255
        && !host.is_empty()
        // With a user name in front of the host this is no prefix.
        && text.strip_prefix(host).is_some_and(is_end)
}

impl Default for Description {
    fn default() -> Self {
        Self("".into())
    }
}

impl Default for HttpPath {
    fn default() -> Self {
        Self("/".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr>(text: &str, expected: bool) {
        assert_eq!(text.parse::<T>().is_ok(), expected, "{text:?}");
    }

    #[test]
    fn names_are_1_to_63_lower_case_letters_digits_and_inner_dashes() {
        let long = "a".repeat(63);
        let too_long = "a".repeat(64);
        for (text, expected) in [
            ("a", true),
            ("0", true),
            ("shop-web-1", true),
            (long.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("-", false),
            ("Shop", false),
            ("a_b", false),
            ("a b", false),
            ("ä", false),
        ] {
            check::<Name>(text, expected);
        }
    }

    #[test]
    fn descriptions_and_labels_hold_no_control_characters() {
        check::<Description>("", true);
        check::<Description>("two\nlines\tand a tab", true);
        check::<Description>("bell\u{7}", false);
        check::<Description>(&"ä".repeat(1000), true);
        check::<Description>(&"ä".repeat(1001), false);
        check::<Label>("", false);
        check::<Label>("app.example.com/team", true);
        check::<Label>("a\nb", false);
        check::<Label>(&"x".repeat(256), true);
        check::<Label>(&"x".repeat(257), false);
    }

    #[test]
    fn paths_start_with_a_slash_and_are_fit_for_a_request_line() {
        let long = format!("/{}", "a".repeat(999));
        let too_long = format!("/{}", "a".repeat(1000));
        for (text, expected) in [
            ("/", true),
            ("/healthz?full=1&x=%20", true),
            (long.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("healthz", false),
            ("http://host/", false),
            ("/a b", false),
            ("/a\r\nHost: evil", false),
            ("/a#fragment", false),
            ("/ä", false),
        ] {
            check::<HttpPath>(text, expected);
        }
    }

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for (text, expected) in [
            ("example.com", true),
            ("example.com:8080", true),
            ("10.0.0.1", true),
            ("[2001:db8::1]:80", true),
            ("", false),
            ("example.com:", false),
            ("example.com:0", false),
            ("example.com:99999", false),
            ("example.com:80x", false),
            ("user@example.com", false),
            ("example.com/path", false),
            ("a b", false),
            ("a\r\nX: y", false),
        ] {
            check::<HostName>(text, expected);
        }
        check::<HostName>(&"a".repeat(256), false);
    }

    #[test]
    fn an_error_shows_at_most_80_characters_of_a_value() {
        let error = "X".repeat(1_000_000).parse::<Name>().expect_err("too long");
        assert!(error.to_string().len() < 250, "{error}");
    }
}
