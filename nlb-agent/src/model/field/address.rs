//! The addresses that VIPs and servers may have: those that one host can own and others can reach.

use std::{net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer};

use super::{InvalidField, from_text};

/// Reads an address and checks that it is the unicast address of a host.
///
/// # Errors
/// No address, or one that is unspecified, loopback, multicast, broadcast, or IPv4 in the dress of IPv6: that
/// never appears in a packet, so a VIP written like that would never match.
pub(crate) fn parse(text: &str) -> Result<IpAddr, InvalidField> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(InvalidField::malformed(text, "IP address, like 10.0.0.10 or 2001:db8::10"));
    };
    match objection(address) {
        None => Ok(address),
        Some(what) => Err(InvalidField::Address { value: address.to_string(), what }),
    }
}

fn objection(address: IpAddr) -> Option<&'static str> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (broadcast, "the broadcast address"),
        (mapped, "an IPv4 address written as IPv6"),
    ]
    .into_iter()
    .find_map(|(applies, what)| applies.then_some(what))
}

/// For `#[serde(deserialize_with)]`: one address.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    Unicast::deserialize(deserializer).map(|Unicast(address)| address)
}

/// For `#[serde(deserialize_with)]`: a list of addresses.
pub(crate) fn deserialize_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    let addresses = Vec::<Unicast>::deserialize(deserializer)?;
    Ok(addresses.into_iter().map(|Unicast(address)| address).collect())
}

/// An address that was checked.
struct Unicast(IpAddr);

impl FromStr for Unicast {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        parse(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Unicast {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unicast_addresses_of_hosts_are_taken() {
        for (text, expected) in [
            ("10.0.0.10", Ok("10.0.0.10")),
            ("2001:DB8:0::10", Ok("2001:db8::10")),
            ("0.0.0.0", Err("0.0.0.0 is the unspecified address: the unicast address of a host is needed")),
            ("::", Err(":: is the unspecified address: the unicast address of a host is needed")),
            ("127.0.0.1", Err("127.0.0.1 is a loopback address: the unicast address of a host is needed")),
            ("::1", Err("::1 is a loopback address: the unicast address of a host is needed")),
            ("224.0.0.1", Err("224.0.0.1 is a multicast address: the unicast address of a host is needed")),
            ("ff02::1", Err("ff02::1 is a multicast address: the unicast address of a host is needed")),
            (
                "255.255.255.255",
                Err("255.255.255.255 is the broadcast address: the unicast address of a host is needed"),
            ),
            (
                "::ffff:10.0.0.1",
                Err(
                    "::ffff:10.0.0.1 is an IPv4 address written as IPv6: the unicast address of a host is needed",
                ),
            ),
            ("10.0.0", Err("\"10.0.0\" is no IP address, like 10.0.0.10 or 2001:db8::10")),
            ("10.0.0.1/24", Err("\"10.0.0.1/24\" is no IP address, like 10.0.0.10 or 2001:db8::10")),
        ] {
            let found = parse(text).map(|address| address.to_string()).map_err(|e| e.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
        }
    }
}
