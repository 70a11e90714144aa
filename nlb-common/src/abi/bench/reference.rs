//! The maps of the reference balancer: an `LRU_HASH` of flows in front of a Maglev ring, IP in IP.

use crate::{
    abi::{layout, pod},
    addr::{V4, V6},
    be::Be16,
};

/// Entries of a flow table: room for a million flows and as many again.
pub const FLOWS: u32 = 1 << 21;
/// Slots of the ring; a power of two.
pub const RING: u32 = 1 << 16;
/// Backends, numbered from 1.
pub const MAX_BACKENDS: u32 = 128;
/// Listeners.
pub const MAX_LISTENERS: u32 = 512;

/// What became of a packet: the index of its counter.
pub mod verdict {
    /// For no listener: passed.
    pub const PASS: u32 = 0;
    /// Of a flow in the table: sent.
    pub const EXISTING: u32 = 1;
    /// Of no flow in the table: put there and sent.
    pub const NEW: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
}

/// What names a listener. In words, because a hash reads it so: what was just written in smaller pieces would have to
/// reach the cache first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerKey<A> {
    /// The VIP.
    pub vip: A,
    /// Port and IP protocol number: see [`service`].
    pub service: u32,
}

/// A port and an IP protocol number in one word.
#[inline(always)]
pub const fn service(port: Be16, protocol: u8) -> u32 {
    (port.raw() as u32) << 16 | protocol as u32
}

/// What names a flow. In words, as a listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey<A> {
    /// The client.
    pub client: A,
    /// The VIP.
    pub vip: A,
    /// The client's port and the listener's, in network byte order.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u32,
}

/// What is remembered of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Jiffies of the last packet.
    pub last_seen: u64,
    /// Number of the backend.
    pub backend: u32,
    /// 1 once a FIN or RST was seen.
    pub closed: u32,
}

/// What goes in front of a packet to a backend: an Ethernet header and an IP header whose length fields are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer<const WORDS: usize> {
    /// The first bytes, as they lie in memory.
    pub words: [u32; WORDS],
    /// The last two bytes.
    pub tail: u16,
    /// The IPv4 header's checksum, as long as the total length is zero.
    pub checksum: u16,
}

/// In front of IPv4: 14 and 20 bytes.
pub type OuterV4 = Outer<8>;
/// In front of IPv6: 14 and 40 bytes.
pub type OuterV6 = Outer<13>;

layout! {
    ListenerKey<V4>: 8, 4;
    ListenerKey<V6>: 20, 4;
    FlowKey<V4>: 16, 4;
    FlowKey<V6>: 40, 4;
    Flow: 16, 8;
    OuterV4: 36, 4;
    OuterV6: 56, 4;
}
pod!(ListenerKey<V4>, ListenerKey<V6>, FlowKey<V4>, FlowKey<V6>, Flow, OuterV4, OuterV6);
