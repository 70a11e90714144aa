//! Byte order lives in types.

use core::fmt;

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Be16(u16);

impl Be16 {
    /// From host byte order.
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }

    /// In host byte order.
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// From how it lies in memory.
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// As it lies in memory, for checksums and hashes, which do not care about the order.
    pub const fn raw(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
