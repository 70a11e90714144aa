//! IP addresses as they lie in packets and maps, and the trait that makes one source serve both families.

use crate::{checksum::Sum, hash::Hasher};

/// An address as it lies in a packet: network byte order.
pub trait Address: Copy + Eq + 'static {
    /// The 32-bit words as they lie in memory.
    type Words: AsRef<[u32]>;

    /// The words.
    fn words(self) -> Self::Words;

    /// Adds the address to a checksum.
    #[inline(always)]
    fn add_to(self, sum: &mut Sum) {
        for &word in self.words().as_ref() {
            sum.add_u32(word);
        }
    }

    /// Takes the address out of a checksum.
    #[inline(always)]
    fn remove_from(self, sum: &mut Sum) {
        for &word in self.words().as_ref() {
            sum.add_u32(!word);
        }
    }

    /// Feeds the address to a hash, and 32 bits that go with it.
    fn hash(self, hasher: &mut Hasher, with: u32);
}

/// An IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V4(pub u32);

impl V4 {
    /// From the four bytes as they are written.
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(octets))
    }

    /// The four bytes as they are written.
    pub const fn octets(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }
}

impl Address for V4 {
    type Words = [u32; 1];

    #[inline(always)]
    fn words(self) -> [u32; 1] {
        [self.0]
    }

    #[inline(always)]
    fn hash(self, hasher: &mut Hasher, with: u32) {
        hasher.add(u64::from(self.0) << 32 | u64::from(with));
    }
}

/// An IPv6 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V6(pub [u32; 4]);

impl V6 {
    /// From the sixteen bytes as they are written.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = octets;
        Self([
            u32::from_ne_bytes([a0, a1, a2, a3]),
            u32::from_ne_bytes([b0, b1, b2, b3]),
            u32::from_ne_bytes([c0, c1, c2, c3]),
            u32::from_ne_bytes([d0, d1, d2, d3]),
        ])
    }

    /// The sixteen bytes as they are written.
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d] = self.0;
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.to_ne_bytes(), b.to_ne_bytes());
        let ([c0, c1, c2, c3], [d0, d1, d2, d3]) = (c.to_ne_bytes(), d.to_ne_bytes());
        [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3]
    }
}

impl Address for V6 {
    type Words = [u32; 4];

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        self.0
    }

    #[inline(always)]
    fn hash(self, hasher: &mut Hasher, with: u32) {
        let [a, b, c, d] = self.0;
        hasher.add(u64::from(a) << 32 | u64::from(b));
        hasher.add(u64::from(c) << 32 | u64::from(d));
        hasher.add(with.into());
    }
}
