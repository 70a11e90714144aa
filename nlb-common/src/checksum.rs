//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3).
//!
//! Words are summed as they lie in memory: the one's complement sum does not depend on the byte order as long as
//! all words, and the checksum itself, are read alike (RFC 1071, section 2 (B)).

/// A one's complement sum that has not been folded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Continues from a checksum field, so that what is removed and added gives its new value.
    #[inline(always)]
    pub const fn from_checksum(field: u16) -> Self {
        Self((!field) as u64)
    }

    /// Adds a 16-bit word.
    #[inline(always)]
    pub fn add_u16(&mut self, word: u16) {
        self.0 += u64::from(word);
    }

    /// Takes a 16-bit word out.
    #[inline(always)]
    pub fn remove_u16(&mut self, word: u16) {
        self.add_u16(!word);
    }

    /// Adds two 16-bit words.
    #[inline(always)]
    pub fn add_u32(&mut self, words: u32) {
        self.0 += u64::from(words);
    }

    /// The checksum field that `field` becomes when this sum, of what was taken out and put in, is applied to it.
    #[inline(always)]
    pub const fn applied_to(self, field: u16) -> u16 {
        Self(self.0 + (!field) as u64).checksum()
    }

    /// The checksum field: folded and complemented.
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        let mut sum = self.0;
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        !(sum as u16)
    }
}

/// The checksum field of an IPv4 header that has one hop less than before.
///
/// The hops are the low half of a word as it lies in memory, so the sum is one less and the field one more; 0xffff, which no
/// header's sum gives, becomes 0 (RFC 1624, section 3).
#[inline(always)]
pub const fn of_one_hop_less(field: u16) -> u16 {
    let more = field as u32 + 1;
    (more + ((more + 1) >> 16)) as u16
}

/// The checksum field of three words: fewer steps than a [`Sum`] of any number needs.
#[inline(always)]
pub const fn of_three(a: u16, b: u16, c: u16) -> u16 {
    let sum = a as u32 + b as u32 + c as u32;
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum + (sum >> 16)) as u16
}

/// A UDP checksum field: 0 would say that there is none (RFC 768), so 0xffff, which is the same number, stands
/// in its place.
#[inline(always)]
pub const fn udp_field(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 as its section 4.1 states it, over big-endian words.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn words(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
        bytes.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
    }

    proptest! {
        #[test]
        fn full_sum_is_that_of_rfc_1071(data in prop::collection::vec(any::<u16>(), 1..800)) {
            let bytes: Vec<u8> = data.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let mut sum = Sum::new();
            for word in words(&bytes) {
                sum.add_u16(word);
            }
            prop_assert_eq!(sum.checksum().to_ne_bytes(), reference(&bytes).to_be_bytes());
        }

        #[test]
        fn incremental_update_equals_a_fresh_sum(
            data in prop::collection::vec(any::<u16>(), 2..40),
            at in any::<prop::sample::Index>(),
            new in any::<u16>(),
        ) {
            // A real header is never all zero, so the two zeros of one's complement cannot be mistaken.
            prop_assume!(data.iter().any(|&word| word != 0));
            let at = at.index(data.len());
            let mut before = Sum::new();
            data.iter().for_each(|&word| before.add_u16(word));
            let mut changed = data.clone();
            changed[at] = new;
            prop_assume!(changed.iter().any(|&word| word != 0));
            let mut after = Sum::new();
            changed.iter().for_each(|&word| after.add_u16(word));

            let mut update = Sum::from_checksum(before.checksum());
            update.remove_u16(data[at]);
            update.add_u16(new);
            prop_assert_eq!(update.checksum(), after.checksum());
        }

        #[test]
        fn two_words_at_once_equal_one_by_one(words: u32, start: u16) {
            let mut at_once = Sum::from_checksum(start);
            at_once.add_u32(words);
            let mut single = Sum::from_checksum(start);
            single.add_u16(words as u16);
            single.add_u16((words >> 16) as u16);
            prop_assert_eq!(at_once.checksum(), single.checksum());
        }
    }

    #[test]
    fn one_hop_less_is_what_the_sum_says() {
        for hops in 2..=u8::MAX {
            for rest in [0u16, 1, 0x00ff, 0xff00, 0x4000, 0xffff - u16::from(hops), 0xfffe] {
                let header = |hops| {
                    let mut sum = Sum::new();
                    sum.add_u16(u16::from_ne_bytes([0x45, 0]));
                    sum.add_u16(u16::from_ne_bytes([hops, 6]));
                    sum.add_u16(rest);
                    sum.checksum()
                };
                assert_eq!(of_one_hop_less(header(hops)), header(hops - 1), "{hops} {rest:#x}");
            }
        }
    }

    #[test]
    fn three_words_sum_up_as_any_number_does() {
        let words = [0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff];
        for (a, b, c) in words.iter().flat_map(|&a| words.iter().flat_map(move |&b| words.map(|c| (a, b, c))))
        {
            let mut sum = Sum::new();
            [a, b, c].into_iter().for_each(|word| sum.add_u16(word));
            assert_eq!(of_three(a, b, c), sum.checksum(), "{a:#x} {b:#x} {c:#x}");
        }
    }

    #[test]
    fn a_udp_checksum_is_never_zero() {
        assert_eq!(udp_field(0), 0xffff);
        assert_eq!(udp_field(0x1234), 0x1234);
    }
}
