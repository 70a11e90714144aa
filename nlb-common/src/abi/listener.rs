//! Listeners: VIP, port and protocol.

use super::{layout, pod};
use crate::be::Be16;

/// What a listener does. Array `LISTENERS`; the index is the listener's number, 0 is never used.
///
/// What it is found by does not change while the number is in use. The other words are read and written each on its
/// own; together they are consistent only in that every service named exists.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// The VIP; IPv4 in the first word.
    pub address: [u32; 4],
    /// Port, protocol and family: [`endpoint`].
    pub endpoint: u32,
    /// The VIP's number.
    pub vip: u32,
    /// Number of the backend service; 0: the listener is gone.
    pub service: u32,
    /// [`crate::ticks::Ticks`] after which an established flow without a packet is over.
    pub idle_timeout: u32,
    /// 1: takes no new connections.
    pub closed_to_new: u32,
    /// One of [`tracking`], which does not change while the number is in use, and the number of the access list that says
    /// which clients may use the listener: see [`guarded`].
    pub tracking: u32,
    /// Zero.
    pub _pad: [u32; 6],
}

/// A port, an IP protocol number, and the family of the VIP, 4 or 6, in one word: they are compared at once.
#[inline(always)]
pub const fn endpoint(port: Be16, protocol: u8, family: u8) -> u32 {
    port.raw() as u32 | (protocol as u32) << 16 | (family as u32) << 24
}

impl Listener {
    /// The port.
    #[inline(always)]
    pub const fn port(&self) -> Be16 {
        Be16::from_raw(self.endpoint as u16)
    }

    /// IP protocol number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        protocol_of(self.endpoint)
    }

    /// One of [`tracking`].
    pub const fn tracking(&self) -> u32 {
        tracking_of(self.tracking)
    }

    /// 4 or 6.
    pub const fn family(&self) -> u8 {
        (self.endpoint >> 24) as u8
    }
}

/// The IP protocol number of an [`endpoint`].
#[inline(always)]
pub const fn protocol_of(endpoint: u32) -> u8 {
    (endpoint >> 16) as u8
}

/// What the balancer remembers of a listener's flows.
pub mod tracking {
    /// A connection in the connection table: addresses are translated.
    pub const NAT: u32 = 0;
    /// An entry in the flow table.
    pub const FULL: u32 = 1;
    /// An entry in the flow table while the flow's slot of the ring changes hands.
    pub const TRANSITION: u32 = 2;
    /// Nothing.
    pub const NONE: u32 = 3;
    /// A connection in the connection table: the destination is translated.
    pub const DNAT: u32 = 4;
}

/// One of [`tracking`] together with the number of an access list; 0: everybody may use the listener. In one word, so that who
/// compares it with a [`tracking`] finds none of them where there is a list.
#[inline(always)]
pub const fn guarded(tracking: u32, acl: u32) -> u32 {
    tracking | acl << 8
}

/// The [`tracking`] of such a word.
#[inline(always)]
pub const fn tracking_of(word: u32) -> u32 {
    word & 0xff
}

/// The number of the access list of such a word; 0: none.
#[inline(always)]
pub const fn acl_of(word: u32) -> u32 {
    word >> 8
}

/// How many listeners a bucket names.
pub const BUCKET: usize = 8;

/// Which listeners have a hash: one cache line. Array `LISTENER_BUCKETS`; a word is an [`Entry`] or 0, and is written as
/// a whole by the agent. Who finds no room goes to the next bucket.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerBucket {
    /// The entries; those in use come first.
    pub words: [u64; BUCKET],
}

/// A listener in a bucket. That it is the right one is checked in `LISTENERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// High half of the hash of VIP, port and protocol.
    pub digest: u32,
    /// Number of the listener; never 0.
    pub listener: u32,
}

impl Entry {
    /// As it stands in a bucket.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.digest as u64) << 32 | self.listener as u64
    }

    /// From a bucket; `None`: nobody.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        let entry = Self { digest: (word >> 32) as u32, listener: word as u32 };
        if entry.listener == 0 { None } else { Some(entry) }
    }
}

/// The high half of the hash.
#[inline(always)]
pub const fn digest(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The bucket of a hash, and the one after it.
#[inline(always)]
pub const fn buckets(hash: u64) -> [u32; 2] {
    let first = hash as u32 % super::maps::LISTENER_BUCKETS;
    [first, (first + 1) % super::maps::LISTENER_BUCKETS]
}

layout! {
    Listener: 64, 64;
    ListenerBucket: 64, 64;
}
pod!(Listener, ListenerBucket);
