//! Which server a client stays with. Array `PERSISTENCE` of sets, for both address families.
//!
//! An entry is *tentative* until a connection that uses it is established: it keeps the first connections of a client
//! together, but makes room for others, so that a SYN flood does not fill the table. From then on it lives its time.
//!
//! # Protocol
//! `owner` names service, VIP and backend; 0: the entry is free. It is claimed by swapping 0 for [`Owner::RESERVED`],
//! filled, and published by swapping in the final word. `use_` counts open connections and says when the last one ended;
//! every change of it is a compare-and-swap of the whole word. The agent removes an entry by swapping a `use_` without
//! connections, unchanged since it looked, for [`Use::DEAD`]: whoever came meanwhile has changed the word, and the entry
//! lives; whoever comes later finds it dead and takes another.

use super::{layout, pod};
use crate::ticks::Ticks;

/// How many entries a set has: four cache lines, looked at for new connections only.
pub const WAYS: usize = 8;

/// The entries of a hash.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PersistenceSet {
    /// The entries, in no order.
    pub entries: [PersistenceEntry; WAYS],
}

/// A client of a backend service at a VIP, and its server.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PersistenceEntry {
    /// The client; IPv4 in the first word.
    pub client: [u32; 4],
    /// See [`Owner`].
    pub owner: u64,
    /// See [`Use`].
    pub use_: u64,
}

/// Whose entry this is, and where the client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u64);

impl Owner {
    /// Nobody's.
    pub const FREE: Self = Self(0);
    /// Being filled or cleared.
    pub const RESERVED: Self = Self(1);

    /// Of a service (below 2^16), a VIP and a backend.
    #[inline(always)]
    pub const fn new(service: u32, vip: u32, backend: u32) -> Self {
        Self((service as u64) << 48 | (vip as u64 & 0xffff) << 32 | (backend as u64) << 1)
    }

    /// Number of the service.
    #[inline(always)]
    pub const fn service(self) -> u32 {
        (self.0 >> 48) as u32
    }

    /// Number of the VIP.
    #[inline(always)]
    pub const fn vip(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    /// Number of the backend.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        (self.0 as u32 >> 1) & 0x7fff
    }

    /// Whether no connection that uses the entry was established yet.
    #[inline(always)]
    pub const fn is_tentative(self) -> bool {
        self.0 & TENTATIVE != 0
    }

    /// The same, tentative or not.
    #[inline(always)]
    pub const fn tentative(self, tentative: bool) -> Self {
        Self(if tentative { self.0 | TENTATIVE } else { self.0 & !TENTATIVE })
    }

    /// The same client's with another backend.
    #[inline(always)]
    pub const fn with_backend(self, backend: u32) -> Self {
        Self(self.0 & !(0x7fff << 1) | (backend as u64) << 1)
    }

    /// Whether this is an entry in use, of service and VIP of `other`.
    #[inline(always)]
    pub const fn is_of(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32 && self.0 & 1 == 0
    }
}

const TENTATIVE: u64 = 1 << 31;

/// Open connections, and when the last one ended or the entry was made.
///
/// ```text
///  63        32 31       20 19          0
/// ┌────────────┬───────────┬─────────────┐
/// │ last used  │ agent end │ connections │
/// └────────────┴───────────┴─────────────┘
/// ```
/// `agent end` are the low bits of the number of the agent's last end (see [`crate::abi::active`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use(pub u64);

const COUNT_MASK: u64 = (1 << 20) - 1;

impl Use {
    /// No connection can be added any more: the agent is removing the entry.
    pub const DEAD: Self = Self(COUNT_MASK);

    /// Of a new entry without connections.
    #[inline(always)]
    pub const fn new(now: Ticks) -> Self {
        Self((now.0 as u64) << 32)
    }

    /// Open connections.
    #[inline(always)]
    pub const fn connections(self) -> u32 {
        (self.0 & COUNT_MASK) as u32
    }

    /// When the entry was used last.
    #[inline(always)]
    pub const fn last_used(self) -> Ticks {
        Ticks((self.0 >> 32) as u32)
    }

    /// The low bits of the number of the agent's last end.
    pub const fn end(self) -> u32 {
        (self.0 >> 20) as u32 & 0xfff
    }

    /// Whether the agent is removing the entry.
    #[inline(always)]
    pub const fn is_dead(self) -> bool {
        self.connections() as u64 == COUNT_MASK
    }

    /// One connection more; at a million of one client the count stays, and the entry with it.
    #[inline(always)]
    pub const fn opened(self, now: Ticks) -> Self {
        let full = self.connections() as u64 >= COUNT_MASK - 1;
        Self(self.0 & 0xffff_ffff | (now.0 as u64) << 32).plus(if full { 0 } else { 1 })
    }

    /// One connection less.
    #[inline(always)]
    pub const fn ended(self, now: Ticks) -> Self {
        let none = self.connections() == 0;
        Self(self.0 & 0xffff_ffff | (now.0 as u64) << 32).minus(if none { 0 } else { 1 })
    }

    /// One connection less, by the agent's end number `end`.
    #[must_use]
    pub const fn ended_by(self, now: Ticks, end: u32) -> Self {
        let Self(word) = self.ended(now);
        Self(word & !(0xfff << 20) | (end as u64 & 0xfff) << 20)
    }

    /// Whether the entry's time is over: no connection, and none for `timeout`.
    #[inline(always)]
    pub const fn is_over(self, now: Ticks, timeout: Ticks) -> bool {
        self.connections() == 0 && self.last_used().age(now).0 > timeout.0
    }

    #[inline(always)]
    const fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }

    #[inline(always)]
    const fn minus(self, n: u64) -> Self {
        Self(self.0 - n)
    }
}

/// The two sets of a client's hash in a table of `mask + 1` sets, a power of two.
#[inline(always)]
pub const fn sets(hash: u64, mask: u32) -> [u32; 2] {
    [hash as u32 & mask, (hash >> 32) as u32 & mask]
}

/// The link of a flow to its entry: its index and one, so that 0 is none, and a last bit that is 0, as that of a
/// [`ring_link`](super::flow::ring_link) is not.
#[inline(always)]
pub const fn link(set: u32, way: u32) -> u32 {
    (set * WAYS as u32 + way + 1) << 1
}

/// Set and way of the entry of a link; `None`: it names none.
#[inline(always)]
pub const fn linked(link: u32) -> Option<(u32, usize)> {
    if link == 0 || link & 1 != 0 {
        return None;
    }
    let index = (link >> 1) - 1;
    Some((index / WAYS as u32, index as usize % WAYS))
}

/// How many entries the table has for each client of its capacity.
pub const ENTRIES_PER_CLIENT: u32 = 2;

layout! {
    PersistenceEntry: 32, 8;
    PersistenceSet: 256, 64;
}
pod!(PersistenceEntry, PersistenceSet);

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const TIMEOUT: Ticks = Ticks::from_duration(Duration::from_secs(60));

    #[test]
    fn an_entry_with_a_connection_is_never_over() {
        let late = Ticks(TIMEOUT.0 * 100);
        let used = Use::new(Ticks(0)).opened(Ticks(0));
        assert!(!used.is_over(late, TIMEOUT));
        let ended = used.ended(Ticks(10));
        assert!(
            !ended.is_over(Ticks(10 + TIMEOUT.0), TIMEOUT) && ended.is_over(Ticks(11 + TIMEOUT.0), TIMEOUT)
        );
    }

    #[test]
    fn the_count_neither_wraps_nor_ends_as_dead() {
        let most = Use(COUNT_MASK - 1);
        assert_eq!(u64::from(most.opened(Ticks(1)).connections()), COUNT_MASK - 1);
        assert!(!most.opened(Ticks(1)).is_dead() && Use::DEAD.is_dead());
        assert_eq!(Use(0).ended(Ticks(1)).connections(), 0);
        let by_agent = Use::new(Ticks(3)).opened(Ticks(4)).opened(Ticks(4)).ended_by(Ticks(5), 0x1_2345);
        assert_eq!((by_agent.connections(), by_agent.end(), by_agent.last_used()), (1, 0x345, Ticks(5)));
    }

    #[test]
    fn a_link_names_its_entry_and_a_position_on_a_ring_names_none() {
        for (set, way) in [(0, 0), (0, 7), (1, 0), (0xf_ffff, 3)] {
            assert_eq!(linked(link(set, way)), Some((set, way as usize)));
        }
        for position in [0, 1, 2, 17, u32::MAX - 1, u32::MAX] {
            assert_eq!(linked(crate::abi::flow::ring_link(position)), None);
        }
        assert_eq!(linked(0), None);
    }

    #[test]
    fn an_owner_keeps_its_parts() {
        let owner = Owner::new(4095, 8191, 32_767);
        assert_eq!((owner.service(), owner.vip(), owner.backend()), (4095, 8191, 32_767));
        assert!(owner.is_of(Owner::new(4095, 8191, 1)) && !owner.is_of(Owner::new(4095, 8190, 32_767)));
        assert!(!Owner::RESERVED.is_of(Owner::new(0, 0, 0)));
        let tentative = owner.tentative(true).with_backend(5);
        assert!(tentative.is_tentative() && tentative.is_of(owner) && tentative.backend() == 5);
        assert_eq!(tentative.tentative(false), Owner::new(4095, 8191, 5));
    }
}
