//! The link layer: Ethernet with up to two VLAN tags.

use network_types::{eth::EthHdr, vlan::VlanHdr};

use crate::{be::Be16, bytes::Bytes};

/// EtherTypes (IEEE 802 numbers).
pub mod ethertype {
    use crate::be::Be16;

    /// IPv4.
    pub const IPV4: Be16 = Be16::new(0x0800);
    /// ARP.
    pub const ARP: Be16 = Be16::new(0x0806);
    /// IPv6.
    pub const IPV6: Be16 = Be16::new(0x86dd);
    /// A customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: Be16 = Be16::new(0x8100);
    /// A service VLAN tag (IEEE 802.1ad).
    pub const SERVICE_VLAN: Be16 = Be16::new(0x88a8);
}

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = EthHdr::LEN;
/// Length of a VLAN tag.
pub const VLAN_LEN: usize = VlanHdr::LEN;

/// What a frame's link layer says beside who sent it to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The VLAN tags.
    pub tags: Tags,
    /// What follows the tags.
    pub ethertype: Be16,
}

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// In the low 48 bits of a word, as it lies in memory.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// From the low 48 bits of a word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// Whether the word is the address of a group, or of everybody, rather than of a station.
    #[inline(always)]
    pub const fn is_group(word: u64) -> bool {
        word & 1 != 0
    }
}

/// Who sent a frame to whom: its first twelve bytes, in words, because an array of bytes would be moved byte by byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Macs {
    low: u64,
    high: u32,
}

impl Macs {
    /// The receiver's and the sender's.
    #[inline(always)]
    pub const fn new(destination: Mac, source: Mac) -> Self {
        Self::from_words(destination.to_word(), source.to_word())
    }

    /// From the low 48 bits of two words ([`Mac::to_word`]).
    #[inline(always)]
    pub const fn from_words(destination: u64, source: u64) -> Self {
        Self { low: destination & 0xffff_ffff_ffff | source << 48, high: (source >> 16) as u32 }
    }

    /// The receiver's and the sender's, each in the low 48 bits of a word.
    #[inline(always)]
    pub const fn to_words(self) -> (u64, u64) {
        (self.low & 0xffff_ffff_ffff, (self.high as u64) << 16 | self.low >> 48)
    }

    /// Reads them from the start of a frame; `None` if it is too short.
    #[inline(always)]
    pub fn read(frame: Bytes) -> Option<Self> {
        Some(Self { low: frame.read(0)?, high: frame.read(8)? })
    }

    /// Writes them to the start of a frame; `None` if it is too short.
    #[inline(always)]
    pub fn write(self, frame: Bytes) -> Option<()> {
        frame.write(0, self.low)?;
        frame.write(8, self.high)
    }

    /// Those of an answer.
    #[inline(always)]
    pub const fn swapped(self) -> Self {
        let (destination, source) = self.to_words();
        Self::from_words(source, destination)
    }
}

/// Up to two VLAN tags, outer first. Of a tag both the identifier and the priority bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// How many there are.
    pub count: u8,
    /// Whether the outer one is a service tag (0x88a8).
    pub service: bool,
    /// Tag control information of the outer and the inner tag.
    pub tci: [Be16; 2],
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { count: 0, service: false, tci: [Be16::new(0); 2] };

    /// One customer tag.
    pub const fn one(tci: u16) -> Self {
        Self { count: 1, service: false, tci: [Be16::new(tci), Be16::new(0)] }
    }

    /// Length of the Ethernet header with these tags.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        ETHERNET_LEN + VLAN_LEN * self.count as usize
    }
}

const fn is_tag(ethertype: Be16) -> bool {
    ethertype.raw() == ethertype::VLAN.raw() || ethertype.raw() == ethertype::SERVICE_VLAN.raw()
}

impl Link {
    /// Reads the link layer; `None` if the frame is shorter than its headers.
    #[inline(always)]
    pub fn parse(frame: Bytes) -> Option<Self> {
        let mut tags = Tags::NONE;
        let mut ethertype = frame.read::<Be16>(12)?;
        if is_tag(ethertype) {
            tags.service = ethertype == ethertype::SERVICE_VLAN;
            tags.count = 1;
            tags.tci[0] = frame.read(14)?;
            ethertype = frame.read(16)?;
            if is_tag(ethertype) {
                tags.count = 2;
                tags.tci[1] = frame.read(18)?;
                ethertype = frame.read(20)?;
            }
        }
        Some(Self { tags, ethertype })
    }

    /// Offset of the network header.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.tags.header_len()
    }

    /// Never: a frame has a header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the link layer at the start of a frame; `None` if it is too short.
    #[inline(always)]
    pub fn write(&self, frame: Bytes, macs: Macs) -> Option<()> {
        let frame = frame.proven(ETHERNET_LEN)?;
        macs.write(frame)?;
        let outer = if self.tags.service { ethertype::SERVICE_VLAN } else { ethertype::VLAN };
        match self.tags.count {
            0 => frame.write(12, self.ethertype),
            1 => {
                frame.write(12, outer)?;
                frame.write(14, self.tags.tci[0])?;
                frame.write(16, self.ethertype)
            }
            _ => {
                frame.write(12, outer)?;
                frame.write(14, self.tags.tci[0])?;
                frame.write(16, ethertype::VLAN)?;
                frame.write(18, self.tags.tci[1])?;
                frame.write(20, self.ethertype)
            }
        }
    }
}
