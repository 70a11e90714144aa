//! Backends: servers as a backend service sees them, and the way to them.

use super::{layout, pod};
use crate::{be::Be16, packet::Mac};

/// What the packet path needs of a backend. Array `BACKENDS`; the index is the backend's number, 0 is never used.
///
/// Address and port never change as long as the number is in use; `next_hop` and `state` are words that are read
/// and written on their own.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// See [`NextHop`]; 0: not resolved.
    pub next_hop: u64,
    /// One of [`state`].
    pub state: u32,
    /// The first of the SNAT slots its flows may use.
    pub snat_slot: u16,
    /// How many there are from there.
    pub snat_slots: u16,
    /// The server's address; IPv4 in the first word.
    pub address: [u32; 4],
    /// The server's port.
    pub port: Be16,
    /// 4 or 6.
    pub family: u8,
    /// Zero.
    pub _pad: [u8; 29],
}

/// What becomes of the flows of a backend. New connections are a matter of the wheel alone.
pub mod state {
    /// The number is not in use.
    pub const FREE: u32 = 0;
    /// Flows go on.
    pub const SERVING: u32 = 1;
    /// The draining time is over: packets are answered with a RST.
    pub const EXPIRED_RESET: u32 = 2;
    /// The draining time is over: packets are dropped.
    pub const EXPIRED_SILENT: u32 = 3;
}

/// The next hop to a backend in one word: MAC address and number of the [`Egress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Destination MAC address.
    pub mac: Mac,
    /// Index of array `EGRESSES`; 0 is never used.
    pub egress: u16,
}

impl NextHop {
    /// As it stands in [`Backend::next_hop`].
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        mac_word(self.mac, self.egress)
    }

    /// From [`Backend::next_hop`]; `None`: not resolved.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        let (mac, egress) = mac_parts(word);
        if egress == 0 { None } else { Some(Self { mac, egress }) }
    }
}

/// A MAC address and 16 more bits in one word.
#[inline(always)]
pub const fn mac_word(mac: Mac, low: u16) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    let [x, y] = low.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, x, y])
}

/// The parts of a [`mac_word`].
#[inline(always)]
pub const fn mac_parts(word: u64) -> (Mac, u16) {
    let [a, b, c, d, e, f, x, y] = word.to_ne_bytes();
    (Mac([a, b, c, d, e, f]), u16::from_ne_bytes([x, y]))
}

/// A way out: an interface, with the VLAN tag frames get there. Array `EGRESSES`. An entry never changes; a new
/// way is a new entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Index of the device frames are sent from.
    pub ifindex: u32,
    /// Source MAC address.
    pub mac: [u8; 6],
    /// VLAN identifier in host byte order; 0: untagged.
    pub vlan: u16,
}

layout! {
    Backend: 64, 64;
    Egress: 12, 4;
}
pod!(Backend, Egress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_hop_round_trips_and_zero_is_unresolved() {
        let hop = NextHop { mac: Mac([2, 0, 0, 0, 0, 9]), egress: 0x1234 };
        assert_eq!(NextHop::from_word(hop.to_word()), Some(hop));
        assert_eq!(NextHop::from_word(0), None);
    }
}
