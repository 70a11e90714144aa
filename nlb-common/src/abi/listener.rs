//! Listeners: VIP, port and protocol.

use super::{layout, pod};
use crate::be::Be16;

/// The key of map `LISTENER_INDEX`; its value is the listener's number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Number of the VIP, of either family.
    pub vip: u32,
    /// Port.
    pub port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub _pad: u8,
}

/// What a listener does. Array `LISTENERS`; the index is the listener's number, 0 is never used.
///
/// Each field is read and written on its own; together they are consistent only in that every service named
/// exists.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Number of the backend service; 0: the listener is gone.
    pub service: u32,
    /// [`crate::ticks::Ticks`] after which an established flow without a packet is over.
    pub idle_timeout: u32,
    /// 1: takes no new connections.
    pub closed_to_new: u32,
    /// Zero.
    pub _pad: u32,
}

layout! {
    ListenerKey: 8, 4;
    Listener: 16, 4;
}
pod!(ListenerKey, Listener);
