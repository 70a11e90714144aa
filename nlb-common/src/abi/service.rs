//! Backend services: their wheels.

use super::{layout, pod};

/// What a backend service does. Array `SERVICES`; the index is the service's number, 0 is never used.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// For IPv4 and IPv6: where the wheel lies in the arena (see [`Wheel`]); written as one word, so that the
    /// change from one wheel to the next is atomic.
    pub wheels: [u64; 2],
    /// For IPv4 and IPv6: whose turn it is; the kernel adds to it atomically.
    pub cursors: [u32; 2],
    /// Zero.
    pub _pad: [u64; 5],
}

/// A stretch of the arena: array `ARENA` of backend numbers, one for each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wheel {
    /// Index of the first slot.
    pub base: u32,
    /// Number of slots; 0: no server may get a new connection.
    pub len: u32,
}

impl Wheel {
    /// As it stands in [`Service::wheels`].
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.base as u64) << 32 | self.len as u64
    }

    /// From [`Service::wheels`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self { base: (word >> 32) as u32, len: word as u32 }
    }
}

/// Index into the arrays of two: IPv4.
pub const V4: usize = 0;
/// Index into the arrays of two: IPv6.
pub const V6: usize = 1;

layout! {
    Service: 64, 64;
}
pod!(Service);
