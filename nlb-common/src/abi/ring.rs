//! A slot of a ring, as it stands in the arena.

/// Who gets a slot's packets now, and who got them before the slot changed hands.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    /// A slot that did not change lately.
    #[inline(always)]
    pub const fn clean(backend: u16) -> Self {
        Self(backend as u32)
    }

    /// A slot that `previous` had before `current`.
    #[inline(always)]
    pub const fn new(current: u16, previous: u16) -> Self {
        Self((previous as u32) << 16 | current as u32)
    }

    /// Number of the backend that has the slot.
    #[inline(always)]
    pub const fn current(self) -> u16 {
        self.0 as u16
    }

    /// Number of the backend that had it; 0: the slot is clean.
    #[inline(always)]
    pub const fn previous(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Whether nothing of the slot's past matters.
    #[inline(always)]
    pub const fn is_clean(self) -> bool {
        self.previous() == 0
    }

    /// Whether flows of the previous backend may still show up that are not recorded.
    #[inline(always)]
    pub const fn is_window(self) -> bool {
        !self.is_clean() && self.previous() != self.current()
    }

    /// Whether recorded flows may still go elsewhere.
    #[inline(always)]
    pub const fn is_settling(self) -> bool {
        !self.is_clean() && self.previous() == self.current()
    }
}

/// The position of a hash on a ring of any size.
#[inline(always)]
pub const fn position(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The slot of a position in a ring of `len` slots, a power of two: its top bits.
#[inline(always)]
pub const fn index(position: u32, len: u32) -> u32 {
    ((position as u64 * len as u64) >> 32) as u32
}
