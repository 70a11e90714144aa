//! Backend services: who gets a new connection.

use super::{layout, pod};

/// What a backend service does. Array `SERVICES`; the index is the service's number, 0 is never used.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// For IPv4 and IPv6.
    pub picks: [Picks; 2],
    /// [`crate::ticks::Ticks`] for which a client stays with its server after its last connection; 0: it does not.
    pub persistence: u32,
    /// 1: a TCP segment of no known flow, though it opens none, goes where the ring says; 0: it is answered with RST.
    pub balance_unknown: u32,
    /// Zero.
    pub _pad: [u32; 2],
}

/// Where the slots of one family are. Each is one word, so that the change from one stretch to the next is atomic.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picks {
    /// The wheel, or the members that are compared; [`Stretch`]. Empty where the ring decides.
    pub turns: u64,
    /// The ring; [`Stretch`].
    pub ring: u64,
    /// Whose turn it is; the kernel adds to it atomically.
    pub cursor: u32,
    /// Zero.
    pub _pad: u32,
}

/// A stretch of the arena (array `ARENA`), and what its slots are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// Index of the first slot.
    pub base: u32,
    /// Number of slots; 0: no server may get a new connection. Of a ring it is a power of two.
    pub len: u32,
    /// One of [`kind`].
    pub kind: u8,
}

/// What a slot is.
pub mod kind {
    /// A backend's turn: its number.
    pub const WHEEL: u8 = 0;
    /// A [`Member`](super::Member): the one with the fewest active connections for its weight is taken.
    pub const MEMBERS: u8 = 1;
    /// A [`crate::abi::ring::Slot`], found by the client's address.
    pub const RING_SOURCE: u8 = 2;
    /// A [`crate::abi::ring::Slot`], found by the flow's hash.
    pub const RING_FLOW: u8 = 3;
}

impl Stretch {
    /// As it stands in [`Picks`].
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.base as u64) << 32 | (self.kind as u64) << 24 | self.len as u64 & 0xff_ffff
    }

    /// From [`Picks`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self { base: (word >> 32) as u32, len: word as u32 & 0xff_ffff, kind: (word >> 24) as u8 }
    }
}

/// A backend that is compared with the others of its service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Number of the backend.
    pub backend: u16,
    /// Its weight, in any unit that all members of the service share; not 0.
    pub weight: u16,
}

impl Member {
    /// As it stands in the arena.
    #[inline(always)]
    pub const fn to_slot(self) -> u32 {
        (self.weight as u32) << 16 | self.backend as u32
    }

    /// From the arena.
    #[inline(always)]
    pub const fn from_slot(slot: u32) -> Self {
        Self { backend: slot as u16, weight: (slot >> 16) as u16 }
    }
}

/// The most members that are compared.
pub const MAX_MEMBERS: u32 = 1024;

/// Index into the arrays of two: IPv4.
pub const V4: usize = 0;
/// Index into the arrays of two: IPv6.
pub const V6: usize = 1;

layout! {
    Service: 64, 64;
    Picks: 24, 8;
}
pod!(Service);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_one_word() {
        for stretch in [
            Stretch::default(),
            Stretch { base: u32::MAX, len: 0xff_ffff, kind: kind::RING_FLOW },
            Stretch { base: 7, len: 1 << 17, kind: kind::MEMBERS },
        ] {
            assert_eq!(Stretch::from_word(stretch.to_word()), stretch);
        }
        let member = Member { backend: 32_767, weight: u16::MAX };
        assert_eq!(Member::from_slot(member.to_slot()), member);
    }
}
