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
    /// One of [`forwarding`]; does not change while the number is in use.
    pub forwarding: u8,
    /// [`crate::ticks::Ticks`] at which a draining backend's time is over.
    pub deadline: u32,
    /// One of [`eligibility`].
    pub eligibility: u32,
    /// `ipip`, `gue`: the source of the outer header, in the server's family; IPv4 in the first word.
    pub tunnel_source: [u32; 4],
    /// `ipip`, `gue` over IPv4: the one's complement sum of the outer header but for its length, folded.
    pub tunnel_sum: u16,
    /// The longest client's packet that fits the way to the server, with what is put in front of it; [`NO_LIMIT`]: not known.
    pub max_len: u16,
}

/// A [`Backend::max_len`] that no packet exceeds.
pub const NO_LIMIT: u16 = u16::MAX;

/// What becomes of the flows of a backend. New connections are a matter of wheel, members and ring.
pub mod state {
    /// The number is not in use.
    pub const FREE: u32 = 0;
    /// Flows go on.
    pub const SERVING: u32 = 1;
    /// The draining time is over: packets are answered with a RST.
    pub const EXPIRED_RESET: u32 = 2;
    /// The draining time is over: packets are dropped.
    pub const EXPIRED_SILENT: u32 = 3;
    /// Flows go on until the deadline, then [`EXPIRED_RESET`].
    pub const DRAINING_RESET: u32 = 4;
    /// Flows go on until the deadline, then [`EXPIRED_SILENT`].
    pub const DRAINING_SILENT: u32 = 5;

    /// The state at `now`: a draining backend's deadline holds whether or not an agent is there.
    #[inline(always)]
    pub const fn at(state: u32, deadline: u32, now: crate::ticks::Ticks) -> u32 {
        let over = now.0.wrapping_sub(deadline) <= u32::MAX / 2;
        match state {
            DRAINING_RESET if over => EXPIRED_RESET,
            DRAINING_SILENT if over => EXPIRED_SILENT,
            DRAINING_RESET | DRAINING_SILENT => SERVING,
            state => state,
        }
    }
}

/// How packets reach the server.
pub mod forwarding {
    /// Source and destination are rewritten.
    pub const NAT: u8 = 0;
    /// An outer IP header is put in front (RFC 2003, RFC 2473).
    pub const IPIP: u8 = 1;
    /// Only the link layer changes.
    pub const DSR: u8 = 2;
    /// An outer IP header, one of UDP and one of GUE ([`crate::packet::gue`]) are put in front.
    pub const GUE: u8 = 3;
    /// The destination is rewritten.
    pub const DNAT: u8 = 4;
}

/// Whether a backend may get new connections; if not, why. The wheel, the members and the ring hold eligible ones only;
/// this is for who comes by another way, such as a persistence entry.
pub mod eligibility {
    /// It may.
    pub const ELIGIBLE: u32 = 0;
    /// It is not configured any more.
    pub const GONE: u32 = 1;
    /// The operator drains it.
    pub const DRAINING: u32 = 2;
    /// The operator disabled it.
    pub const DISABLED: u32 = 3;
    /// It is unhealthy.
    pub const UNHEALTHY: u32 = 4;
    /// Its weight is 0.
    pub const WEIGHT: u32 = 5;
}

/// The next hop to a backend in one word: MAC address ([`Mac::to_word`]) and, above it, number of the [`Egress`].
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
        self.mac.to_word() | (self.egress as u64) << 48
    }

    /// From [`Backend::next_hop`]; `None`: not resolved.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        match Self::egress_of(word) {
            Some(egress) => Some(Self { mac: Mac::from_word(word), egress: egress as u16 }),
            None => None,
        }
    }

    /// The egress alone.
    #[inline(always)]
    pub const fn egress_of(word: u64) -> Option<u32> {
        let egress = (word >> 48) as u32;
        if egress == 0 { None } else { Some(egress) }
    }
}

/// A way out: an interface, with the VLAN tag frames get there. Array `EGRESSES`. An entry never changes; a new
/// way is a new entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Source MAC address: [`Mac::to_word`].
    pub mac: u64,
    /// Index of the device frames are sent from.
    pub ifindex: u32,
    /// VLAN identifier; 0: untagged.
    pub vlan: u32,
}

layout! {
    Backend: 64, 64;
    Egress: 16, 8;
}
pod!(Backend, Egress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_needs_no_agent() {
        use crate::ticks::Ticks;
        for (from, to) in
            [(state::DRAINING_RESET, state::EXPIRED_RESET), (state::DRAINING_SILENT, state::EXPIRED_SILENT)]
        {
            assert_eq!(state::at(from, 100, Ticks(99)), state::SERVING);
            assert_eq!(state::at(from, 100, Ticks(100)), to);
            assert_eq!(state::at(from, 3, Ticks(u32::MAX)), state::SERVING, "over the clock's wrap");
        }
        assert_eq!(state::at(state::SERVING, 0, Ticks(5)), state::SERVING);
    }

    #[test]
    fn next_hop_round_trips_and_zero_is_unresolved() {
        let hop = NextHop { mac: Mac([2, 0, 0, 0, 0, 9]), egress: 0x1234 };
        assert_eq!(NextHop::from_word(hop.to_word()), Some(hop));
        assert_eq!(NextHop::from_word(0), None);
    }
}
