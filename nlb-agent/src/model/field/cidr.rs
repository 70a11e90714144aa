use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{InvalidField, from_text};

/// A network: all addresses of a family that begin with the same bits. In the order of their first address, and those that
/// begin there too, large ones first: so each comes after all that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// All bits behind the prefix are 0.
    first: IpAddr,
    len: u8,
}

impl Cidr {
    /// Every IPv4 address.
    pub const ALL_V4: Self = Self { first: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0 };
    /// Every IPv6 address.
    pub const ALL_V6: Self = Self { first: IpAddr::V6(Ipv6Addr::UNSPECIFIED), len: 0 };

    /// The network that an address and so many bits from its first on are; whatever the other bits are.
    #[must_use]
    pub fn around(address: IpAddr, len: u8) -> Self {
        let len = len.min(bits(address));
        let first = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        Self { first, len }
    }

    /// The first address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// How many bits all addresses share.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.len
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && Self::around(address, self.len) == self
    }

    /// Whether all addresses of another network are in it.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.first)
    }
}

/// How many bits an address has.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Cidr {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let malformed = || InvalidField::malformed(text, "network, like 10.0.0.0/8 or 2001:db8::/32");
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let max = bits(address);
        let len = match len {
            None => max,
            // `parse` would take a sign and zeroes in front.
            Some(len) if len.starts_with('+') || (len.len() > 1 && len.starts_with('0')) => {
                return Err(malformed());
            }
            Some(len) => match len.parse::<u32>() {
                Ok(number) => u8::try_from(number)
                    .ok()
                    .filter(|len| *len <= max)
                    .ok_or_else(|| InvalidField::out_of_range(format!("prefix length {number}"), 0, max))?,
                Err(_) => return Err(malformed()),
            },
        };
        let network = Self::around(address, len);
        if network.first != address {
            return Err(InvalidField::HostBits {
                value: format!("{address}/{len}"),
                network: network.to_string(),
            });
        }
        // No packet has such an address.
        if matches!(address, IpAddr::V6(v6) if len >= 96 && v6.to_ipv4_mapped().is_some()) {
            return Err(InvalidField::malformed(
                text,
                "IPv6 network: write IPv4 networks as IPv4, like 10.0.0.0/8",
            ));
        }
        Ok(network)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.len)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_or_refused() {
        for (text, expected) in [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("10.9.0.5", Ok("10.9.0.5/32")),
            ("2001:DB8::/32", Ok("2001:db8::/32")),
            ("::/0", Ok("::/0")),
            ("fd00::5", Ok("fd00::5/128")),
            (
                "10.0.0.5/24",
                Err(
                    "10.0.0.5/24 has bits of a host behind its prefix: 10.0.0.0/24 allowed, or the address alone",
                ),
            ),
            (
                "fd00::1/64",
                Err(
                    "fd00::1/64 has bits of a host behind its prefix: fd00::/64 allowed, or the address alone",
                ),
            ),
            ("10.0.0.0/33", Err("prefix length 33 is out of range: 0-32 allowed")),
            ("fd00::/129", Err("prefix length 129 is out of range: 0-128 allowed")),
            ("10.0.0.0/08", Err("\"10.0.0.0/08\" is no network, like 10.0.0.0/8 or 2001:db8::/32")),
            ("10.0.0.0/", Err("\"10.0.0.0/\" is no network, like 10.0.0.0/8 or 2001:db8::/32")),
            ("office", Err("\"office\" is no network, like 10.0.0.0/8 or 2001:db8::/32")),
            (
                "::ffff:10.0.0.0/104",
                Err(
                    "\"::ffff:10.0.0.0/104\" is no IPv6 network: write IPv4 networks as IPv4, like 10.0.0.0/8",
                ),
            ),
        ] {
            let found = text.parse().map(|cidr: Cidr| cidr.to_string()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn a_network_covers_what_is_in_it() {
        let cidr = |text: &str| text.parse::<Cidr>().expect("a network");
        for (outer, inner, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.0.0.0/8", "10.0.0.0/8", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::", false),
            ("::/0", "0.0.0.0", false),
            ("10.0.0.0/8", "11.0.0.0/8", false),
            ("fd00::/8", "fd00:1::/32", true),
        ] {
            assert_eq!(cidr(outer).covers(cidr(inner)), expected, "{outer} covers {inner}");
        }
    }
}
