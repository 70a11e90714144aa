//! Whose each slot of a consistent-hash ring is: weighted Maglev.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4: every
//! server walks over all slots in an order of its own; the servers take turns, and in its turn a server takes the
//! next slot of its walk that is free. Three things differ from the paper:
//!
//! - The table size is a power of two, so that a slot is the top bits of a hash and a ring can double. The k-th
//!   step of a walk is k times an odd number; the slots are offset + skip * k (k + 1) / 2, and the triangular
//!   numbers run through all residues of a power of two. A walk of equal steps does so, too, but where the skips
//!   of two servers are in a small ratio (and among the odd numbers many are), they chase each other: the worst
//!   removal out of 10 servers on 4096 slots then moved 14 % of the others' slots; so it moves 2 %.
//! - Servers have weights: the k-th turn of a server of weight w is due at (k + 1/2) / w. The order of the turns of
//!   any two servers depends on these two alone, so that a third that comes or goes does not disturb it.
//! - The order of the turns that are due together is that of the identities, not that of the input.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    iter,
    net::{IpAddr, SocketAddr},
};

/// A server that is to stand in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<T> {
    /// What stands in its slots.
    pub item: T,
    /// Its [`identity`], which decides what slots are its own.
    pub identity: u64,
    /// Its share of the slots relative to the others'; 0: none.
    pub weight: u16,
}

/// The owners of the 2^`bits` slots of a ring; none if no member has a weight. `bits` is at most 32.
///
/// Each member has its weight's share, rounded as Webster's method apportions seats: among members of similar
/// weight that is within a slot of the share; a member whose share is far below half a slot has none.
///
/// Equal members give equal rings, on every node and in whatever order; members of one identity (a collision, one
/// in 2^64) are told apart by their items.
pub fn ring<T: Copy + Ord>(members: &[Member<T>], bits: u32) -> Vec<T> {
    let mut members: Vec<Member<T>> = members.iter().copied().filter(|member| member.weight > 0).collect();
    members.sort_unstable_by_key(|member| (member.identity, member.item));
    let mut walks: Vec<Walk> = members.iter().map(|member| Walk::new(member.identity, bits)).collect();
    let mut turns: BinaryHeap<Reverse<Turn>> =
        members.iter().enumerate().map(|(member, of)| Reverse(Turn::first(member, of.weight))).collect();

    let len = 1usize << bits;
    let mut owners: Vec<Option<T>> = vec![None; len];
    for _ in 0..len {
        let Some(mut next) = turns.peek_mut() else { break };
        let member = next.0.member;
        next.0.due += 2;
        if let Some(slot) = walks[member].by_ref().find(|&slot| owners[slot].is_none()) {
            owners[slot] = Some(members[member].item);
        }
    }
    // All of them or, without members, none.
    owners.into_iter().flatten().collect()
}

/// The number of bits of a ring for a service of so many servers: those that are configured, whatever their weight
/// or health now, so that a server that fails and recovers does not resize the ring.
///
/// Two rings of different sizes have little in common: to cross a step moves as many clients as if the service were
/// new. So there are few steps: one server (any ring is right), up to 4, up to 128, and more. A ring in use that is
/// larger is no reason to compute a larger one (split it: two nodes of different pasts then agree). Each is large
/// enough that one of equal servers that goes moves about 1 % of the slots of the others at the most, 1.5 % with weights
/// from 1 to 100, which takes 1000 to 2000 slots a server for a few servers, 300 for 100, 130 for 1000. A slot is 4
/// bytes.
pub fn bits_for(servers: usize) -> u32 {
    match servers {
        0..=1 => 8,
        2..=4 => 13,
        5..=128 => 15,
        _ => 17,
    }
}

/// The identity of the server at an address and port.
///
/// It must never change: nodes of different versions that balance the same VIP must agree on the owner of every
/// slot. For the same reason it has no seed.
pub fn identity(server: SocketAddr) -> u64 {
    let (family, address) = match server.ip() {
        IpAddr::V4(address) => (4, u128::from(address.to_bits())),
        IpAddr::V6(address) => (6, address.to_bits()),
    };
    let words = [family << 16 | u64::from(server.port()), (address >> 64) as u64, address as u64];
    words.into_iter().fold(0, |hash, word| mix(hash ^ word))
}

/// One step of splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014):
/// a bijection whose every output bit depends on every input bit.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// A server's next turn, due at the fraction `due` / (2 `weight`).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn {
    due: u64,
    weight: u16,
    /// Index into the members, by identity.
    member: usize,
}

impl Turn {
    fn first(member: usize, weight: u16) -> Self {
        Self { due: 1, weight, member }
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.due * u64::from(other.weight), other.due * u64::from(self.weight));
        ours.cmp(&theirs).then_with(|| self.member.cmp(&other.member))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A server's order of preference: every slot once in 2^bits steps.
struct Walk {
    at: u64,
    step: u64,
    skip: u64,
    mask: u64,
}

impl Walk {
    fn new(identity: u64, bits: u32) -> Self {
        // Odd: only then the walk leads everywhere.
        let skip = mix(identity) | 1;
        Self { at: identity, step: 0, skip, mask: (1 << bits) - 1 }
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let slot = self.at & self.mask;
        self.step = self.step.wrapping_add(self.skip);
        self.at = self.at.wrapping_add(self.step);
        Some(slot as usize)
    }
}

/// A ring of at least 2^`bits` slots with the same owner at every position: every slot splits in two as often as
/// it takes. A ring's length is a power of two.
pub fn split<T: Copy>(ring: &[T], bits: u32) -> Vec<T> {
    let times = (1usize << bits).checked_div(ring.len()).unwrap_or(1).max(1);
    ring.iter().flat_map(|&owner| iter::repeat_n(owner, times)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn servers(weights: impl IntoIterator<Item = u16>) -> Vec<Member<u16>> {
        let member = |(n, weight)| {
            let [high, low] = u16::to_be_bytes(n);
            Member { item: n, identity: identity(SocketAddr::from(([10, 1, high, low], 8080))), weight }
        };
        (1..).zip(weights).map(member).collect()
    }

    fn count(ring: &[u16], item: u16) -> usize {
        ring.iter().filter(|&&owner| owner == item).count()
    }

    /// The share of the slots of the others that move when `gone` goes, in per cent.
    fn disruption(members: &[Member<u16>], bits: u32, gone: usize) -> f64 {
        let before = ring(members, bits);
        let left: Vec<_> =
            members.iter().copied().filter(|member| member.item != members[gone].item).collect();
        let after = ring(&left, bits);
        let stay = before.iter().zip(&after).filter(|&(&owner, _)| owner != members[gone].item);
        let moved = stay.clone().filter(|(before, after)| before != after).count();
        100.0 * moved as f64 / stay.count().max(1) as f64
    }

    /// Weights 1 to 100, as good as random.
    fn mixed(servers: u64) -> impl Iterator<Item = u16> {
        (0..servers).map(|n| 64 * (1 + (mix(n) % 100) as u16))
    }

    #[test]
    fn the_identity_of_a_server_never_changes() {
        let rows = [
            ("10.0.0.1:80", 0x9473_1cbc_fda8_25ef),
            ("10.0.0.2:80", 0xae1e_9f84_b45d_830e),
            ("10.0.0.1:81", 0x37ea_c1bf_6488_52a0),
            ("[2001:db8::1]:80", 0x2256_171d_044f_f3cc),
            ("[::10.0.0.1]:80", 0xb336_2d61_59d8_bd13),
        ];
        for (server, expected) in rows {
            let found = identity(server.parse().unwrap());
            assert_eq!(found, expected, "{server}: {found:#018x}");
        }
    }

    #[test]
    fn a_ring_never_changes() {
        let owners = ring(&servers([1, 2, 3]), 5);
        assert_eq!(
            owners,
            [3, 3, 3, 1, 3, 3, 3, 1, 1, 2, 1, 3, 2, 3, 2, 2, 3, 2, 3, 2, 3, 2, 2, 2, 3, 3, 2, 2, 3, 1, 3, 3]
        );
    }

    #[test]
    fn a_ring_without_weights_is_empty() {
        assert!(ring::<u16>(&[], 8).is_empty());
        assert!(ring(&servers([0, 0]), 8).is_empty());
        assert_eq!(ring(&servers([0, 5]), 2), [2; 4]);
        assert_eq!(ring(&servers([5]), 0), [1]);
    }

    #[test]
    fn a_walk_leads_everywhere() {
        for bits in 0..12 {
            for server in servers([1; 20]) {
                let mut seen: Vec<usize> = Walk::new(server.identity, bits).take(1 << bits).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..1 << bits), "{bits} bits, {server:?}");
            }
        }
    }

    #[test]
    fn small_services_have_small_rings() {
        let rows =
            [(0, 8), (1, 8), (2, 13), (4, 13), (5, 15), (128, 15), (129, 17), (1000, 17), (100_000, 17)];
        for (servers, bits) in rows {
            assert_eq!(bits_for(servers), bits, "{servers} servers");
        }
    }

    #[test]
    fn a_server_that_goes_moves_few_slots_of_the_others() {
        // Servers, the most that may move in per cent: with equal weights, with weights 1 to 100.
        let rows = [(2, 0.0, 0.0), (3, 1.0, 1.0), (10, 1.0, 1.0), (100, 1.0, 1.5), (1000, 1.0, 1.0)];
        for (count, equal, weighted) in rows {
            let bits = bits_for(count);
            for (members, limit) in
                [(servers(mixed(count as u64)), weighted), (servers(iter::repeat_n(64, count)), equal)]
            {
                for gone in (0..count).step_by(count.div_ceil(4)) {
                    let found = disruption(&members, bits, gone);
                    assert!(found <= limit, "{:?} of {count}: {found:.2} %", members[gone]);
                }
            }
        }
    }

    #[test]
    fn a_split_ring_has_the_same_owners_at_every_position() {
        assert_eq!(split(&['a', 'b'], 3), ['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b']);
        assert_eq!(split(&['a', 'b'], 0), ['a', 'b']);
        assert!(split::<char>(&[], 3).is_empty());
    }

    proptest! {
        #[test]
        fn no_slot_would_be_more_justly_anothers(
            weights in prop::collection::vec(0u16..=6400, 1..40),
            bits in 0u32..12,
        ) {
            let members = servers(weights);
            let ring = ring(&members, bits);
            prop_assume!(!ring.is_empty());
            prop_assert_eq!(ring.len(), 1 << bits);
            // Webster: whoever got a turn was due no later than anyone's next.
            let due = |member: &Member<u16>, turn: usize| (2 * turn + 1) as f64 / f64::from(member.weight);
            let standing = || members.iter().filter(|member| member.weight > 0);
            let last = standing()
                .filter(|member| count(&ring, member.item) > 0)
                .map(|member| due(member, count(&ring, member.item) - 1))
                .fold(0.0, f64::max);
            let next =
                standing().map(|member| due(member, count(&ring, member.item))).fold(f64::INFINITY, f64::min);
            prop_assert!(last <= next, "{last} {next}");
        }

        #[test]
        fn equal_weights_have_equal_shares(servers in 1usize..200, bits in 8u32..12) {
            let ring = ring(&self::servers(iter::repeat_n(64, servers)), bits);
            for item in (1..).take(servers) {
                let share = f64::from(1 << bits) / servers as f64;
                prop_assert!((count(&ring, item) as f64 - share).abs() < 1.0);
            }
        }

        #[test]
        fn the_order_of_the_members_does_not_matter(
            (members, shuffled) in prop::collection::vec(0u16..=100, 1..40)
                .prop_map(servers)
                .prop_flat_map(|members| (Just(members.clone()), Just(members).prop_shuffle())),
        ) {
            prop_assert_eq!(ring(&members, 9), ring(&shuffled, 9));
        }
    }
}
