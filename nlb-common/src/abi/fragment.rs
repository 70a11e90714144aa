//! Fragments: what the first one of a packet says, for the others, which have no transport header.

use core::time::Duration;

use super::{layout, pod};
use crate::{be::Be16, ticks::Ticks};

/// A fragmented packet. Key of map `FRAGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FragmentKey {
    /// Source address; IPv4 in the first word.
    pub source: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
    /// Identification, as it lies in the packet.
    pub id: u32,
    /// 4 or 6, and in IPv4 the IP protocol number, for which identifications count by themselves (RFC 791, section 3.2): see
    /// [`kind`].
    pub kind: u32,
}

/// Family and protocol in one word.
#[inline(always)]
pub const fn kind(family: u8, protocol: u8) -> u32 {
    if family == 4 { 4 << 8 | protocol as u32 } else { (family as u32) << 8 }
}

/// What the first fragment said. Value of map `FRAGMENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentPorts {
    /// The sender's port.
    pub source: Be16,
    /// The receiver's port.
    pub destination: Be16,
    /// IP protocol number.
    pub protocol: u32,
    /// [`Ticks`] at which it passed.
    pub seen: u32,
}

/// For how long the other fragments may follow: as long as Linux waits for them (`ipfrag_time`).
pub const TIMEOUT: Ticks = Ticks::from_duration(Duration::from_secs(30));

layout! {
    FragmentKey: 40, 4;
    FragmentPorts: 12, 4;
}
pod!(FragmentKey, FragmentPorts);
