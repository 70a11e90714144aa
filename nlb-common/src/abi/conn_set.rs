//! From a client's packet to its connection in `nat`. Arrays `CONN_SETS_V4`, `CONN_SETS_V6` of one-cache-line sets.

use super::{layout, pod};

/// How many connections a set names.
pub const WAYS: usize = 8;

/// The set of a hash: one cache line. A word is an [`Entry`] or 0; it is only ever replaced as a whole, by
/// compare-and-swap.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnSet {
    /// The entries, in no order.
    pub words: [u64; WAYS],
}

/// An entry: which connection a digest belongs to. That it is the right one is checked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// High half of the flow's hash.
    pub digest: u32,
    /// Index in the connection table; never 0.
    pub conn: u32,
}

impl Entry {
    /// As it stands in a set.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.digest as u64) << 32 | self.conn as u64
    }
}

/// The high half of a flow's hash.
#[inline(always)]
pub const fn digest(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The set of a flow's hash in a table of `mask + 1` sets, a power of two.
#[inline(always)]
pub const fn set_index(hash: u64, mask: u32) -> u32 {
    hash as u32 & mask
}

layout! {
    ConnSet: 64, 64;
}
pod!(ConnSet);
