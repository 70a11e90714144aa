//! Every type that crosses a map, and the names of the maps.
//!
//! All are `repr(C)` with explicit padding, hold no enum and no bool, and their sizes are asserted at compile
//! time. A change of any of them is a new [`LAYOUT_VERSION`].

pub mod acl;
pub mod active;
pub mod backend;
pub mod bench;
pub mod clock;
pub mod conn;
pub mod conn_set;
pub mod counters;
pub mod flow;
pub mod fragment;
pub mod handover;
pub mod interface;
pub mod listener;
pub mod maps;
pub mod meta;
pub mod persistence;
pub mod ring;
pub mod service;
pub mod sweep;
pub mod vip;

/// Of the pinned maps: an agent adopts maps of its own version only.
pub const LAYOUT_VERSION: u32 = 5;

/// Lets aya move a type in and out of maps.
#[cfg(feature = "user")]
macro_rules! pod {
    ($($type:ty),* $(,)?) => {
        $(
            // SAFETY: `repr(C)`, integers only, padding explicit: any bytes are a valid value.
            unsafe impl aya::Pod for $type {}
        )*
    };
}

#[cfg(not(feature = "user"))]
macro_rules! pod {
    ($($type:ty),* $(,)?) => {};
}

/// Asserts sizes and alignments at compile time.
macro_rules! layout {
    ($($type:ty: $size:literal, $align:literal;)*) => {
        $(
            const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);
        )*
    };
}

use {layout, pod};
