//! What a later agent must know of the pinned maps. Array `META` with one entry.

use super::{layout, pod};

/// Written once, when the maps are made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// [`super::LAYOUT_VERSION`] of the maps; 0: not written yet.
    pub layout_version: u32,
    /// How many of the last slots of `SNATS_V4` and `SNATS_V6` are those of `dnat`.
    pub dnat_slots: u32,
    /// Seed of the packet hash: the flow tables are of no use under another.
    pub hash_seed: u64,
}

layout! {
    Meta: 16, 8;
}
pod!(Meta);
