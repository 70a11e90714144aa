//! The interfaces that packets come in by.

use super::{layout, pod};

/// What the packet path needs of an interface to answer for a VIP there. Map `INTERFACES`; the key is the device's index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its MAC address: [`crate::packet::Mac::to_word`].
    pub mac: u64,
}

layout! {
    Interface: 8, 8;
}
pod!(Interface);
