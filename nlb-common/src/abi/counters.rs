//! Counters. Per-CPU arrays: `LISTENER_COUNTERS`, `BACKEND_COUNTERS`; `VERDICTS` holds bare `u64`s.

use super::{layout, pod};

/// What passed a listener or a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets of both directions.
    pub packets: u64,
    /// Their bytes, with the link layer, as received.
    pub bytes: u64,
    /// Connections opened.
    pub connections: u64,
    /// Zero.
    pub _pad: u64,
}

layout! {
    Traffic: 32, 8;
}
pod!(Traffic);
