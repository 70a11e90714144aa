//! The connection table of `nat` and `dnat`. Arrays `CONNS_V4`, `CONNS_V6`.
//!
//! With `nat` the index is SNAT slot and port: the reply finds its connection without hashing, and the index that a flow
//! entry names is the port the server sees. With `dnat` the server sees the client's address and port, and the index is
//! merely a place: its slots are those behind the SNAT addresses', and a reply is found by the hash of its own tuple.
//!
//! # Protocol
//! `status` holds a generation and a state. Who wants to change the state swaps the word it has seen for a new
//! one; who fails has lost. An entry is taken by swapping a free (or reclaimable) status for `RESERVED` of the
//! next generation, filled, and published with the first real state. A reader copies what it needs and then
//! looks at the status again: if the generation is another, what it copied is void. A connection that holds its client's
//! persistence entry says so in the status, too: the link is written first, and one of several that establish a connection
//! at once swaps it in; the others give back what they held.

use core::time::Duration;

use super::{layout, pod};
use crate::{
    addr::{Address, V4, V6},
    be::Be16,
    hash::Tuple,
    packet::{Macs, Tags},
    tcp::State,
    ticks::Ticks,
};

/// A connection as both of its sides see it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Conn<A> {
    /// MAC address replies go to, with the frame's tags: see [`ReturnPath`].
    pub return_to: u64,
    /// MAC address replies come from.
    pub return_from: u64,
    /// Interface and VLAN tags of replies.
    pub return_via: u64,
    /// See [`Status`].
    pub status: u32,
    /// [`crate::ticks::Ticks`] of the last packet in either direction.
    pub last_seen: u32,
    /// The digest its flow entry has.
    pub digest: u32,
    /// Number of the backend.
    pub backend: u32,
    /// Number of the listener.
    pub listener: u32,
    /// The client's address.
    pub client: A,
    /// The VIP.
    pub vip: A,
    /// The server's address.
    pub server: A,
    /// The client's port.
    pub client_port: Be16,
    /// The listener's port.
    pub vip_port: Be16,
    /// The server's port.
    pub server_port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// One of [`translation`].
    pub translation: u8,
}

/// What is rewritten of a client's packets.
pub mod translation {
    /// Source and destination: `nat`.
    pub const BOTH: u8 = 0;
    /// The destination alone: `dnat`.
    pub const DESTINATION: u8 = 1;
}

impl<A: Address> Conn<A> {
    /// What its client's packets are found by.
    #[inline(always)]
    pub fn tuple(&self) -> Tuple<A> {
        let Self { client, vip, client_port, vip_port, protocol, .. } = *self;
        Tuple { client, vip, client_port, vip_port, protocol }
    }

    /// What its server's packets are found by, with `dnat`: the same, but for the server in the VIP's place.
    #[inline(always)]
    pub fn reply_tuple(&self) -> Tuple<A> {
        let Self { client, server, client_port, server_port, protocol, .. } = *self;
        Tuple { client, vip: server, client_port, vip_port: server_port, protocol }
    }

    /// The hash that a server's packets are found by.
    #[inline(always)]
    pub fn reply_hash(&self, seed: u64) -> u64 {
        self.reply_tuple().hash(reply_seed(seed))
    }
}

/// The seed of the hash of [replies](Conn::reply_tuple): not that of clients' packets, whose destination may look the same.
#[inline(always)]
pub const fn reply_seed(seed: u64) -> u64 {
    seed ^ 0x5851_f42d_4c95_7f2d
}

/// A connection over IPv4: one cache line.
pub type ConnV4 = Conn<V4>;
/// A connection over IPv6: two.
pub type ConnV6 = Conn<V6>;

/// How many entries a SNAT address has: one for each port.
pub const PORTS: u32 = 1 << 16;

/// The index of a SNAT slot's port.
#[inline(always)]
pub const fn index(slot: u32, port: u16) -> u32 {
    slot << 16 | port as u32
}

/// The port of an index.
#[inline(always)]
pub const fn port(index: u32) -> u16 {
    index as u16
}

/// The SNAT slot of an index.
#[inline(always)]
pub const fn slot(index: u32) -> u32 {
    index >> 16
}

/// An entry that belongs to nobody.
pub const FREE: State = State(0);
/// An entry that somebody is filling or clearing.
pub const RESERVED: State = State(1);
/// An entry that the agent is ending.
pub const SWEPT: State = State(9);
/// A port that a socket of the host uses, and flows may not.
pub const EXCLUDED: State = State(8);

/// State and generation of an entry in one word, and whether `CONN_LINKS` names a persistence entry that the connection
/// holds: who ends it learns that from the word it swaps.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// The state.
    #[inline(always)]
    pub const fn state(self) -> State {
        State(self.0 as u8 & !LINKED)
    }

    /// Whether the connection holds its client's persistence entry.
    #[inline(always)]
    pub const fn is_linked(self) -> bool {
        self.0 as u8 & LINKED != 0
    }

    /// The same, holding an entry.
    #[inline(always)]
    pub const fn linked(self) -> Self {
        Self(self.0 | LINKED as u32)
    }

    /// Which use of the entry this is, modulo 2^24.
    #[inline(always)]
    pub const fn generation(self) -> u32 {
        self.0 >> 8
    }

    /// The same use in another state.
    #[inline(always)]
    pub const fn with_state(self, state: State) -> Self {
        Self(self.0 & !(!LINKED as u32) | state.0 as u32)
    }

    /// The next use.
    #[inline(always)]
    pub const fn next_use(self, state: State) -> Self {
        Self((self.0 & !0xff).wrapping_add(0x100) | state.0 as u32)
    }

    /// Whether the entry holds a connection, closed ones included.
    #[inline(always)]
    pub const fn is_conn(self) -> bool {
        let state = self.state();
        state.is_active() || state.0 == State::CLOSED.0
    }
}

/// Bit of a status.
const LINKED: u8 = 1 << 7;

/// How long a handshake may take.
pub const HALF_OPEN_TIMEOUT: Ticks = Ticks::from_duration(Duration::from_secs(60));
/// How long a closed connection still passes its last packets.
pub const CLOSED_TIMEOUT: Ticks = Ticks::from_duration(Duration::from_secs(10));

/// How long a handshake takes at most that somebody means to complete: when no port is left, older ones make room.
pub const HANDSHAKE: Ticks = Ticks::from_duration(Duration::from_secs(1));

/// For how long a server that closed a connection may refuse another one from the same port: Linux's TIME_WAIT.
pub const TIME_WAIT: Ticks = Ticks::from_duration(Duration::from_secs(60));

/// After how long without a packet a connection in `state` is over, where `idle` is its listener's idle timeout.
#[inline(always)]
pub const fn timeout(state: State, idle: Ticks) -> Ticks {
    if state.is_half_open() {
        HALF_OPEN_TIMEOUT
    } else if state.0 == State::CLOSED.0 {
        CLOSED_TIMEOUT
    } else {
        idle
    }
}

/// Where replies go: back the way the client's packets came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnPath {
    /// To whoever handed the client's packets in, from the address they were sent to.
    pub macs: Macs,
    /// The interface.
    pub ifindex: u32,
    /// The VLAN tags.
    pub tags: Tags,
}

impl ReturnPath {
    /// As the three words of [`Conn`]: `return_to`, `return_from`, `return_via`.
    #[inline(always)]
    pub const fn to_words(self) -> [u64; 3] {
        let Self { macs, ifindex, tags } = self;
        let shape = tags.count as u16 | (tags.service as u16) << 8;
        let via = (ifindex as u64) << 32 | (tags.tci[0].get() as u64) << 16 | tags.tci[1].get() as u64;
        let (destination, source) = macs.to_words();
        [destination | (shape as u64) << 48, source, via]
    }

    /// From the three words.
    #[inline(always)]
    pub const fn from_words([to, from, via]: [u64; 3]) -> Self {
        let shape = (to >> 48) as u16;
        let tags = Tags {
            count: shape as u8 & 3,
            service: shape >> 8 != 0,
            tci: [Be16::new((via >> 16) as u16), Be16::new(via as u16)],
        };
        Self { macs: Macs::from_words(to, from), ifindex: (via >> 32) as u32, tags }
    }
}

layout! {
    ConnV4: 64, 64;
    ConnV6: 128, 64;
}
pod!(ConnV4, ConnV6);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Mac;

    #[test]
    fn return_path_round_trips() {
        let tags = Tags { count: 2, service: true, tci: [Be16::new(0x2064), Be16::new(7)] };
        let macs = Macs::new(Mac([1; 6]), Mac([2; 6]));
        let path = ReturnPath { macs, ifindex: 77, tags };
        assert_eq!(ReturnPath::from_words(path.to_words()), path);
    }

    #[test]
    fn a_use_ends_with_its_generation() {
        let first = Status(0).next_use(RESERVED);
        let open = first.with_state(State::HALF_OPEN);
        assert_eq!((first.generation(), open.generation()), (1, 1));
        assert!(open.is_conn() && !first.is_conn());
        assert_eq!(open.next_use(FREE).generation(), 2);
        assert_eq!(Status(u32::MAX).next_use(FREE), Status(0));
        let linked = open.linked().with_state(State::ESTABLISHED);
        assert!(linked.is_linked() && !open.is_linked() && linked.is_conn());
        assert_eq!((linked.state(), linked.generation()), (State::ESTABLISHED, 1));
        assert!(!linked.next_use(SWEPT).is_linked());
    }

    #[test]
    fn the_index_is_slot_and_port() {
        let at = index(3, 40_000);
        assert_eq!((slot(at), port(at)), (3, 40_000));
    }
}
