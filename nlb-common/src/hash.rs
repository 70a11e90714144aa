//! The one hash of a packet: seeded, a multiplication a word, computed once for set and digest.

use crate::{addr::Address, be::Be16};

/// Odd constants with well-mixed bits: the fractional parts of the golden ratio and of sqrt(2).
const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909];

/// Mixes words into 64 bits; different seeds give unrelated hashes.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

impl Hasher {
    /// Starts with a seed that is random per boot.
    #[inline(always)]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Mixes one word in.
    #[inline(always)]
    pub fn add(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(MULTIPLIERS[0]);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// The hash of a flow, of whose destination this hasher is.
    #[inline(always)]
    pub fn with_client<A: Address>(self, client: A, port: Be16, seed: u64) -> u64 {
        // By itself, so that a processor mixes both at the same time.
        let mut hasher = Self::new(seed.rotate_left(32));
        client.hash(&mut hasher, port.raw().into());
        Self(self.0 ^ hasher.0.rotate_left(17)).finish()
    }

    /// What was mixed so far: good enough to find something in a table, not to spread over one.
    #[inline(always)]
    pub const fn so_far(self) -> u64 {
        self.0
    }

    /// The hash.
    #[inline(always)]
    pub fn finish(self) -> u64 {
        let mixed = self.0.wrapping_mul(MULTIPLIERS[1]);
        mixed ^ (mixed >> 29)
    }
}

/// What identifies a flow: the packet's addresses and ports on its way from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<A> {
    /// The client.
    pub client: A,
    /// The VIP.
    pub vip: A,
    /// The client's port.
    pub client_port: Be16,
    /// The listener's port.
    pub vip_port: Be16,
    /// IP protocol number.
    pub protocol: u8,
}

impl<A: Address> Tuple<A> {
    /// The hash under `seed`.
    #[inline(always)]
    pub fn hash(&self, seed: u64) -> u64 {
        let Self { client, vip, client_port, vip_port, protocol } = *self;
        Destination { vip, port: vip_port, protocol }.hasher(seed).with_client(client, client_port, seed)
    }
}

/// What identifies a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<A> {
    /// The VIP.
    pub vip: A,
    /// The port.
    pub port: Be16,
    /// IP protocol number.
    pub protocol: u8,
}

impl<A: Address> Destination<A> {
    /// The hash's beginning under `seed`: the same for all flows of a listener, for the listener's own hash
    /// ([`Hasher::so_far`]) and for its flows' ([`Hasher::with_client`]).
    #[inline(always)]
    pub fn hasher(&self, seed: u64) -> Hasher {
        let mut hasher = Hasher::new(seed);
        self.vip.hash(&mut hasher, u32::from(self.protocol) << 16 | u32::from(self.port.raw()));
        hasher
    }
}

/// The hash of a client's address alone: all its connections have it in common.
#[inline(always)]
pub fn source<A: Address>(client: A, seed: u64) -> u64 {
    let mut hasher = Hasher::new(seed);
    client.hash(&mut hasher, 0);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::addr::V4;

    fn tuple(n: u32) -> Tuple<V4> {
        Tuple {
            client: V4::from_octets([10, 9, (n >> 16) as u8, (n >> 8) as u8]),
            vip: V4::from_octets([10, 0, 0, 10]),
            client_port: Be16::new(1024 + (n & 0xff) as u16),
            vip_port: Be16::new(80),
            protocol: 6,
        }
    }

    #[test]
    fn neighbouring_tuples_spread_evenly_over_sets_and_digests() {
        const SETS: usize = 1024;
        let mut sets = [0u32; SETS];
        let mut digests = HashSet::new();
        for n in 0..100_000 {
            let hash = tuple(n).hash(0x1234_5678_9abc_def0);
            sets[hash as usize % SETS] += 1;
            digests.insert((hash >> 32) as u32);
        }
        // Mean 97.7, standard deviation 9.9 if random: six sigma.
        assert!(sets.iter().all(|&count| (38..158).contains(&count)), "{sets:?}");
        // 100 000 out of 2^32: 1.2 collisions expected.
        assert!(digests.len() > 99_980, "{}", digests.len());
    }

    #[test]
    fn another_seed_gives_another_hash() {
        assert_ne!(tuple(1).hash(1), tuple(1).hash(2));
    }
}
