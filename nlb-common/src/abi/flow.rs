//! The flow table: which backend a flow belongs to, where the balancer need not know more. Arrays `FLOWS` and
//! `HALF_OPEN` of one-cache-line sets, for both address families.
//!
//! The protocol by which entries change hands is in [`crate::flow_set`].

use core::time::Duration;

use super::{layout, pod};
use crate::ticks::Ticks;

/// How many flows a set holds.
pub const WAYS: usize = 4;

/// The set of a hash: one cache line. When it is full a flow goes to its neighbour, the other half of 128 bytes,
/// which processors fetch together.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowSet {
    /// The entries, in no order.
    pub entries: [FlowEntry; WAYS],
}

/// A flow. The key is 0 if the entry is free, and the value but for the time in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEntry {
    /// See [`Key`].
    pub key: u64,
    /// See [`Value`].
    pub value: u64,
}

/// What a flow is known by.
///
/// Over IPv4 it is exact, and can be read back: client's address, client's port, listener. Over IPv6 it is 63 bits of
/// the flow's hash, under a seed that nobody outside knows: among a hundred million flows, two that share a key and a
/// set are to be expected in one of a million runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    /// Of an IPv4 flow; address and port as they lie in memory.
    #[inline(always)]
    pub const fn v4(client: u32, client_port: u16, listener: u32) -> Self {
        Self((client as u64) << 32 | (client_port as u64) << 16 | listener as u64)
    }

    /// Of an IPv6 flow. The bit that an IPv4 key never has keeps the two apart.
    #[inline(always)]
    pub const fn v6(hash: u64) -> Self {
        Self(hash | V6_BIT)
    }

    /// Client's address and port of an IPv4 flow, as they lie in memory; `None` over IPv6.
    pub const fn client_v4(self) -> Option<(u32, u16)> {
        if self.0 & V6_BIT != 0 { None } else { Some(((self.0 >> 32) as u32, (self.0 >> 16) as u16)) }
    }
}

/// Listeners are fewer than 2^13, so an IPv4 key never has this bit.
const V6_BIT: u64 = 1 << 15;

/// State, listener, backend and time of a flow, in one word.
///
/// ```text
///  63           32 31      30        16 15       3 2     0
/// ┌───────────────┬────────┬───────────┬──────────┬───────┐
/// │   last seen   │ linked │  backend  │ listener │ state │
/// └───────────────┴────────┴───────────┴──────────┴───────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub u64);

/// Where a flow stands. Of TCP the balancer may see the client's side alone.
pub mod state {
    /// Nobody's.
    pub const FREE: u64 = 0;
    /// The program is filling or clearing the entry.
    pub const RESERVED: u64 = 1;
    /// The client has sent its first packet; UDP, too.
    pub const HALF_OPEN: u64 = 2;
    /// The client has sent more: the server has answered.
    pub const ESTABLISHED: u64 = 3;
    /// The client has sent its FIN.
    pub const CLOSING: u64 = 4;
    /// The client has sent a RST.
    pub const CLOSED: u64 = 5;
    /// The agent is clearing the entry.
    pub const SWEPT: u64 = 6;
}

impl Value {
    /// A free entry's.
    pub const FREE: Self = Self(state::FREE);
    /// That of an entry the program works on.
    pub const RESERVED: Self = Self(state::RESERVED);

    /// Of a flow.
    #[inline(always)]
    pub const fn new(state: u64, listener: u32, backend: u32, now: Ticks) -> Self {
        Self((now.0 as u64) << 32 | (backend as u64 & 0x7fff) << 16 | (listener as u64 & 0x1fff) << 3 | state)
    }

    /// One of [`state`].
    #[inline(always)]
    pub const fn state(self) -> u64 {
        self.0 & 7
    }

    /// Number of the listener.
    #[inline(always)]
    pub const fn listener(self) -> u32 {
        (self.0 >> 3) as u32 & 0x1fff
    }

    /// Number of the backend.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        (self.0 >> 16) as u32 & 0x7fff
    }

    /// Whether the entry's link (`FLOW_LINKS`) means something.
    #[inline(always)]
    pub const fn is_linked(self) -> bool {
        self.0 & LINKED != 0
    }

    /// With or without a link.
    #[inline(always)]
    pub const fn linked(self, linked: bool) -> Self {
        Self(if linked { self.0 | LINKED } else { self.0 & !LINKED })
    }

    /// When the last packet came.
    #[inline(always)]
    pub const fn last_seen(self) -> Ticks {
        Ticks((self.0 >> 32) as u32)
    }

    /// The same flow in another state.
    #[inline(always)]
    pub const fn with_state(self, state: u64) -> Self {
        Self(self.0 & !7 | state)
    }

    /// The same flow, seen `now`.
    #[inline(always)]
    pub const fn seen(self, now: Ticks) -> Self {
        Self(self.0 & 0xffff_ffff | (now.0 as u64) << 32)
    }

    /// Whether the entry is nobody's. A late packet may have left a time in it.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.state() == state::FREE
    }

    /// Whether there is a flow, a closed one included.
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.state() >= state::HALF_OPEN && self.state() <= state::CLOSED
    }

    /// Whether the flow is an active connection: half-open or established.
    #[inline(always)]
    pub const fn is_active(self) -> bool {
        matches!(self.state(), state::HALF_OPEN | state::ESTABLISHED)
    }

    /// After how long without a packet the flow is over, where `idle` is the idle timeout of its listener, which
    /// speaks `protocol`: to UDP there is no handshake that could take too long.
    #[inline(always)]
    pub const fn timeout(self, protocol: u8, idle: Ticks) -> Ticks {
        let bound = match self.state() {
            state::HALF_OPEN if protocol == crate::packet::protocol::TCP => super::conn::HALF_OPEN_TIMEOUT,
            state::CLOSING => CLOSING_TIMEOUT,
            state::CLOSED => super::conn::CLOSED_TIMEOUT,
            _ => return idle,
        };
        if idle.0 < bound.0 && self.state() == state::CLOSING { idle } else { bound }
    }
}

const LINKED: u64 = 1 << 31;

/// How long the server may go on without a packet from the client that has sent its FIN: what Linux gives a
/// connection in FIN_WAIT (nf_conntrack_tcp_timeout_fin_wait).
pub const CLOSING_TIMEOUT: Ticks = Ticks::from_duration(Duration::from_secs(120));

/// The set of a flow's hash in a table of `mask + 1` sets, a power of two.
#[inline(always)]
pub const fn set_index(hash: u64, mask: u32) -> u32 {
    hash as u32 & mask
}

/// The set that takes what does not fit into set `index`.
#[inline(always)]
pub const fn neighbour(index: u32) -> u32 {
    index ^ 1
}

/// How many entries the table has for each flow of its capacity: at that load one newcomer in a thousand finds both of
/// its sets full.
pub const ENTRIES_PER_FLOW: u32 = 4;

layout! {
    FlowEntry: 16, 8;
    FlowSet: 64, 64;
}
pod!(FlowEntry, FlowSet);

/// What the entries of a set are linked to: in `full` tracking the client's persistence entry (see
/// [`super::persistence::link`]), in `transition` the position on the ring ([`ring_link`]). Array `FLOW_LINKS`.
pub type Links = [u32; WAYS];

/// What there is to know at a glance of a set and its neighbour: a byte of each entry's flow's hash, the even set's ways
/// first. Array `FLOW_TAGS`, a sixteenth of the table, so that whether a flow may be in there is found out in the
/// processor's cache and not in memory.
///
/// Whoever owns an entry writes its tag before the flow is published, and nobody takes it away: a flow in the table
/// always has its tag, a tag not always a flow.
pub type Tags = u64;

/// The number of [`Tags`] in which set `index` is.
#[inline(always)]
pub const fn pair(index: u32) -> u32 {
    index / 2
}

/// The tag of a flow's hash; not 0, which no flow has.
#[inline(always)]
pub const fn tag(hash: u64) -> u8 {
    let tag = (hash >> 56) as u8;
    if tag == 0 { 1 } else { tag }
}

/// The byte of [`Tags`] for an entry of set `index`.
#[inline(always)]
pub const fn tag_byte(index: u32, way: usize) -> usize {
    (index as usize & 1) * WAYS + (way & (WAYS - 1))
}

/// Whether one of the tags is that of a hash.
#[inline(always)]
pub const fn has_tag(tags: Tags, hash: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The byte that is equal becomes 0, and a byte is 0 just if taking one away borrows from above it.
    let different = tags ^ (ONES * tag(hash) as u64);
    different.wrapping_sub(ONES) & !different & (ONES << 7) != 0
}

/// The link of a flow that was recorded because its slot of the ring changed hands: its position, but for the last bit,
/// which says that it is one. Links to persistence entries do not have it.
#[inline(always)]
pub const fn ring_link(position: u32) -> u32 {
    position | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        abi::conn::HALF_OPEN_TIMEOUT,
        packet::protocol::{TCP, UDP},
    };

    #[test]
    fn a_value_keeps_its_parts() {
        let value = Value::new(state::ESTABLISHED, 8191, 32_767, Ticks(u32::MAX));
        assert_eq!((value.state(), value.listener(), value.backend()), (3, 8191, 32_767));
        assert!(!value.is_linked() && value.linked(true).is_linked());
        let later = value.linked(true).seen(Ticks(7)).with_state(state::CLOSING);
        assert_eq!((later.last_seen(), later.backend(), later.listener()), (Ticks(7), 32_767, 8191));
        assert!(later.is_linked() && later.is_live() && !later.is_active());
    }

    #[test]
    fn the_tags_of_two_sets_that_are_neighbours_are_apart_and_all_are_found() {
        for hash in [0, 1 << 56, 0x80 << 56, u64::MAX, 0x7f << 56] {
            assert!(!has_tag(0, hash));
            for index in [6, neighbour(6)] {
                assert_eq!(pair(index), 3);
                for way in 0..WAYS {
                    let mut tags = [tag(hash) ^ 0x81; 2 * WAYS];
                    assert!(!has_tag(Tags::from_le_bytes(tags), hash), "{hash:x}");
                    tags[tag_byte(index, way)] = tag(hash);
                    assert!(has_tag(Tags::from_le_bytes(tags), hash), "{hash:x}");
                }
            }
        }
        let bytes: std::collections::BTreeSet<_> =
            [0, 1].into_iter().flat_map(|index| (0..WAYS).map(move |way| tag_byte(index, way))).collect();
        assert_eq!(bytes.len(), 2 * WAYS);
        // No two bytes mistaken for one: exact, not only likely.
        for tag in 1..=u8::MAX {
            let others = Tags::from_le_bytes([tag.wrapping_sub(1), tag.wrapping_add(1), !tag, 0, 0, 0, 0, 0]);
            assert!(!has_tag(others, u64::from(tag) << 56), "{tag}");
        }
    }

    #[test]
    fn keys_of_the_families_never_meet() {
        let v4 = Key::v4(u32::MAX, u16::MAX, 8191);
        assert_eq!(v4.client_v4(), Some((u32::MAX, u16::MAX)));
        assert_ne!(v4, Key::v6(v4.0));
        assert_eq!(Key::v6(0).client_v4(), None);
    }

    #[test]
    fn a_closing_flow_does_not_outlive_an_idle_one() {
        let value = |state| Value::new(state, 1, 1, Ticks(0));
        let short = Ticks::from_duration(Duration::from_secs(5));
        let long = Ticks::from_duration(Duration::from_secs(1800));
        assert_eq!(value(state::CLOSING).timeout(TCP, short), short);
        assert_eq!(value(state::CLOSING).timeout(TCP, long), CLOSING_TIMEOUT);
        assert_eq!(value(state::ESTABLISHED).timeout(TCP, short), short);
        assert_eq!(value(state::HALF_OPEN).timeout(TCP, short), HALF_OPEN_TIMEOUT);
        assert_eq!(value(state::HALF_OPEN).timeout(UDP, short), short);
    }
}
