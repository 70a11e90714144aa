//! Rings: the slots of a consistent-hash ring as they stand in the arena.
//!
//! A ring has a power of two of slots; a packet's slot is the top bits of its hash's [`position`]. So when a ring
//! doubles, the slot s splits into 2s and 2s + 1, and no packet leaves its slot's children.
//!
//! Slots of a service without flow state (`connection_tracking: transition`) say who gets which packet, and
//! whether the flow table has a say (the agent's side: `nlb-agent`, `schedule::transition`):
//!
//! | state | slot | flow table | SYN without a record | other packets without a record |
//! |---|---|---|---|---|
//! | clean | (c, 0) | not looked up | to c, no record | to c, no record |
//! | window | (c, p) | a record wins | to c, recorded as c's | to p, recorded as p's |
//! | settling | (c, c) | a record wins | to c, no record | to c, no record |
//!
//! ```text
//!                other server                  window over, or c gone                no record elsewhere
//!  clean (c, 0) --------------> window (n, c) ------------------------> settling (n, n) -----------> clean (n, 0)
//!                               |  ^  |                                 ^    |
//!                another (m, c) +--+  +--- back: settling (c, c) -------+    +-- other server --> window (m, n)
//! ```
//!
//! Nobody's slot, (0, p), is a window until it is someone's again or p is gone: it has no settling state.
//! A record that leads to a backend that is gone for good counts as none.

use super::{layout, pod};

/// A slot: the backend that gets new flows in the low 16 bits, the backend that has the unrecorded flows in the
/// high 16; 0 in the high bits: nothing is handed over. Array `ARENA`; read and written as one word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// Of `backend` alone (0: of nobody); no flow in it is someone else's.
    #[inline(always)]
    pub const fn clean(backend: u16) -> Self {
        Self::new(backend, 0)
    }

    /// New flows are `current`'s, unrecorded ones `previous`'s.
    #[inline(always)]
    pub const fn new(current: u16, previous: u16) -> Self {
        Self((previous as u32) << 16 | current as u32)
    }

    /// The backend that gets new flows; 0: nobody does.
    #[inline(always)]
    pub const fn current(self) -> u16 {
        self.0 as u16
    }

    /// The backend that has the unrecorded flows; 0: `current` has all.
    #[inline(always)]
    pub const fn previous(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// All flows are `current`'s: the flow table is not looked up.
    #[inline(always)]
    pub const fn is_clean(self) -> bool {
        self.previous() == 0
    }

    /// The slot is changing hands: every packet's flow is recorded.
    #[inline(always)]
    pub const fn is_window(self) -> bool {
        !self.is_clean() && self.previous() != self.current()
    }

    /// The slot has changed hands: recorded flows may be someone else's, unrecorded ones are `current`'s.
    #[inline(always)]
    pub const fn is_settling(self) -> bool {
        !self.is_clean() && self.previous() == self.current()
    }

    /// Who gets a packet that has no record (0: nobody): a SYN or another one. In a window it is recorded so.
    #[inline(always)]
    pub const fn unrecorded(self, is_syn: bool) -> u16 {
        if self.is_clean() || is_syn { self.current() } else { self.previous() }
    }
}

/// Where a packet stands on every ring, whatever its size: the upper half of its hash, so that it has nothing in
/// common with the flow table's set, which is of the lower bits.
#[inline(always)]
pub const fn position(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The slot of a position on a ring of 2^`bits` slots; `bits` is at most 32.
#[inline(always)]
pub const fn index(position: u32, bits: u32) -> u32 {
    ((position as u64) << bits >> 32) as u32
}

/// The same slot by the ring's length, a power of two.
#[inline(always)]
pub const fn index_in(position: u32, len: u32) -> u32 {
    ((position as u64 * len as u64) >> 32) as u32
}

layout! {
    Slot: 4, 4;
}
pod!(Slot);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_in_one_state() {
        // Slot, clean, window, settling.
        let rows = [
            (Slot::default(), true, false, false),
            (Slot::clean(7), true, false, false),
            (Slot::new(7, 7), false, false, true),
            (Slot::new(7, 8), false, true, false),
            (Slot::new(0, 8), false, true, false),
            (Slot::new(u16::MAX, u16::MAX), false, false, true),
        ];
        for (slot, clean, window, settling) in rows {
            assert_eq!(
                (slot.is_clean(), slot.is_window(), slot.is_settling()),
                (clean, window, settling),
                "{slot:?}"
            );
        }
    }

    #[test]
    fn in_a_window_only_a_syn_goes_to_the_new_backend() {
        // Slot, who gets a SYN, who gets another packet.
        let rows = [
            (Slot::clean(7), 7, 7),
            (Slot::new(7, 8), 7, 8),
            (Slot::new(7, 7), 7, 7),
            (Slot::new(0, 8), 0, 8),
        ];
        for (slot, syn, other) in rows {
            assert_eq!((slot.unrecorded(true), slot.unrecorded(false)), (syn, other), "{slot:?}");
        }
    }

    #[test]
    fn a_slot_is_two_halves_of_a_word() {
        let slot = Slot::new(0x1234, 0xabcd);
        assert_eq!((slot.0, slot.current(), slot.previous()), (0xabcd_1234, 0x1234, 0xabcd));
    }

    #[test]
    fn a_position_is_the_upper_half_and_a_slot_its_top_bits() {
        let position = position(0xdead_beef_0123_4567);
        assert_eq!(position, 0xdead_beef);
        let rows = [(0, 0), (1, 1), (8, 0xde), (16, 0xdead), (32, 0xdead_beef)];
        for (bits, slot) in rows {
            assert_eq!(index(position, bits), slot, "{bits} bits");
        }
    }

    #[test]
    fn when_a_ring_doubles_a_slot_splits_in_two() {
        for position in [0, 1, 0x7fff_ffff, 0x8000_0000, 0xdead_beef, u32::MAX] {
            for bits in 0..32 {
                assert_eq!(
                    index(position, bits + 1) / 2,
                    index(position, bits),
                    "{position:#x}, {bits} bits"
                );
                assert_eq!(index_in(position, 1 << bits), index(position, bits));
            }
        }
    }
}
