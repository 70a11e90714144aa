//! What the agent is ending at this moment: array `SWEEP` with one entry, for the agent that comes after a killed one.

use super::{layout, pod};

/// The end that is being carried out. Written before the entry is touched, and cleared when all is done.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Which table the entry is in, one of [`table`]; [`table::NONE`]: nothing is being ended.
    pub table: u32,
    /// Index of the entry.
    pub entry: u32,
    /// Number of this end: the one after the last one's that the counts concerned do not bear already.
    pub end: u32,
    /// Number of the backend whose count is concerned; 0: none, the flow was not active.
    pub backend: u32,
    /// The link of the flow; 0: none.
    pub link: u32,
    /// Zero.
    pub _pad: u32,
}

/// Tables with entries that the agent ends.
pub mod table {
    /// None.
    pub const NONE: u32 = 0;
    /// `FLOWS`.
    pub const FLOWS: u32 = 1;
    /// `HALF_OPEN`.
    pub const HALF_OPEN: u32 = 2;
    /// `CONNS_V4`.
    pub const CONNS_V4: u32 = 3;
    /// `CONNS_V6`.
    pub const CONNS_V6: u32 = 4;
}

layout! {
    Sweep: 24, 4;
}
pod!(Sweep);
