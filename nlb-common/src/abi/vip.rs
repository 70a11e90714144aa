//! The addresses the balancer answers to.

use super::{layout, pod};

/// What a destination address is to the balancer. Map `ADDRESSES_V4`, `ADDRESSES_V6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddress {
    /// The VIP's number, part of the listener's key; 0: not a VIP.
    pub vip: u32,
    /// The SNAT slot plus one; 0: no SNAT address.
    pub snat: u32,
    /// 1 if the address is the host's own: what the balancer does not want goes up to the kernel.
    pub host: u32,
    /// What of a VIP's the datapath does by itself: [`flags`].
    pub flags: u32,
}

/// Bits of [`LocalAddress::flags`].
pub mod flags {
    /// ARP requests and neighbour solicitations are answered.
    pub const ANNOUNCE: u32 = 1;
    /// Echo requests are answered.
    pub const ECHO: u32 = 2;
}

impl LocalAddress {
    /// Whether the datapath answers for the address, as `flag` says: an address of the host's own is the kernel's.
    #[inline(always)]
    pub const fn answers(&self, flag: u32) -> bool {
        self.vip != 0 && self.host == 0 && self.flags & flag != 0
    }
}

/// Which addresses are surely nobody's to the balancer: a set of hashes (B. H. Bloom, Space/Time Trade-offs in Hash Coding with
/// Allowable Errors, 1970, with one hash). Most packets of a host are spared a look into the map of addresses by it.
pub mod filter {
    use crate::{addr::Address, hash::Hasher};

    /// A bit that is set in every word while there are servers of `dnat`: whose addresses are in the filter, too, and for
    /// whose packets the source is looked at. An address whose own bit it is does no harm: in one word the question is
    /// asked in vain.
    pub const DNAT: u64 = 1;

    /// Words of the filter: eight bits for each address of both families that there is room for.
    pub const WORDS: u32 = 2 * super::super::maps::MAX_ADDRESSES * 8 / u64::BITS;

    /// An address's bit: the index of the word, and the word with this bit alone.
    #[inline(always)]
    pub fn bit<A: Address>(address: A, seed: u64) -> (u32, u64) {
        let mut hasher = Hasher::new(seed);
        address.hash(&mut hasher, 0);
        let hash = hasher.so_far();
        (hash as u32 % WORDS, 1 << (hash >> 58))
    }
}

/// A source address of `nat`, and the range of its ports; or, behind those, room for connections of `dnat`, without an
/// address. Arrays `SNATS_V4`, `SNATS_V6`; the index is the slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snat {
    /// The address; IPv4 in the first word.
    pub address: [u32; 4],
    /// The first port that may be used, in host byte order.
    pub first_port: u16,
    /// How many may be used from there; 0: the slot is empty.
    pub ports: u16,
    /// Where the search for a free port goes on; the kernel adds to it atomically.
    pub cursor: u32,
    /// [`crate::ticks::Ticks`] at which a search found none.
    pub exhausted: u32,
}

/// How long a slot in which a search found no free port is left alone by those that were not meant for it.
pub const EXHAUSTED: crate::ticks::Ticks =
    crate::ticks::Ticks::from_duration(core::time::Duration::from_secs(1));

layout! {
    LocalAddress: 16, 4;
    Snat: 28, 4;
}
pod!(LocalAddress, Snat);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vips_that_are_not_the_hosts_are_answered_for() {
        let vip = LocalAddress { vip: 7, flags: flags::ANNOUNCE, ..LocalAddress::default() };
        assert!(vip.answers(flags::ANNOUNCE));
        assert!(!vip.answers(flags::ECHO));
        assert!(!LocalAddress { host: 1, ..vip }.answers(flags::ANNOUNCE));
        assert!(!LocalAddress { vip: 0, snat: 1, ..vip }.answers(flags::ANNOUNCE));
    }
}
