//! "This packet is too long": ICMP's fragmentation needed (RFC 792, RFC 1191) and ICMPv6's packet too big (RFC 4443, section
//! 3.2), made of the packet itself.

use super::{Family, Ipv4, Ipv6, Network, protocol};
use crate::{addr::Address as _, be::Be16, bytes::Bytes, checksum::Sum};

/// How much of the packet the message quotes. So much fits into the least that every host takes (576 bytes: RFC 1122, section
/// 3.3.2; 1280: RFC 8200, section 5), and a packet that is too long for any way has as much.
pub const QUOTED: usize = 512;

/// Length of an ICMP header.
pub const HEADER_LEN: usize = 8;

/// What a family's messages look like.
pub trait TooBig: Family {
    /// Type and code of the message.
    const KIND: [u8; 2];

    /// The least that every way takes: a sender makes no packets that are shorter.
    const LEAST_MTU: u32;

    /// Whether a sender may be told: over IPv4, only if it forbids that others cut its packets up.
    fn may_be_told(packet: Bytes) -> bool;

    /// Adds what the message's checksum covers besides the message: the pseudo header of a message of `len` bytes.
    fn add_pseudo_header(sum: &mut Sum, network: &Network<Self::Address>, len: u16);
}

impl TooBig for Ipv4 {
    /// Destination unreachable, fragmentation needed.
    const KIND: [u8; 2] = [3, 4];
    /// RFC 791, section 3.2.
    const LEAST_MTU: u32 = 68;

    #[inline(always)]
    fn may_be_told(packet: Bytes) -> bool {
        packet.read::<u8>(6).is_some_and(|flags| flags & 0x40 != 0)
    }

    #[inline(always)]
    fn add_pseudo_header(_sum: &mut Sum, _network: &Network<Self::Address>, _len: u16) {}
}

impl TooBig for Ipv6 {
    const KIND: [u8; 2] = [2, 0];
    const LEAST_MTU: u32 = 1280;

    #[inline(always)]
    fn may_be_told(_packet: Bytes) -> bool {
        true
    }

    /// RFC 8200, section 8.1.
    #[inline(always)]
    fn add_pseudo_header(sum: &mut Sum, network: &Network<Self::Address>, len: u16) {
        network.source.add_to(sum);
        network.destination.add_to(sum);
        sum.add_u16(Be16::new(len).raw());
        sum.add_u16(Be16::new(protocol::ICMPV6.into()).raw());
    }
}

/// Writes the outer and the ICMP header in front of the quoted packet; `quoted` is the one's complement sum of what is quoted.
#[inline(always)]
pub fn write_message<F: TooBig>(
    message: Bytes,
    network: &Network<F::Address>,
    mtu: u16,
    quoted: Sum,
) -> Option<()> {
    let len = (HEADER_LEN + QUOTED) as u16;
    F::write_header(message, network.destination, network.source, F::ICMP, len)?;
    let icmp = F::after_plain_header(message);
    let (kind, mtu) = (u16::from_ne_bytes(F::KIND), Be16::new(mtu));
    let mut sum = quoted;
    sum.add_u16(kind);
    sum.add_u16(mtu.raw());
    F::add_pseudo_header(&mut sum, network, len);
    icmp.write(0, kind)?;
    icmp.write(2, sum.checksum())?;
    icmp.write(4, 0u16)?;
    icmp.write(6, mtu)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{
        Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket,
        icmpv4::DestUnreachableHeader,
    };

    use super::*;

    fn message<F: TooBig>(packet: &mut [u8], mtu: u16) -> Option<Vec<u8>> {
        let range = packet.as_mut_ptr_range();
        // SAFETY: the value is used only while the buffer is held.
        let bytes = unsafe { Bytes::new(range.start as usize, range.end as usize) };
        let network = F::parse(bytes).ok()?;
        F::may_be_told(bytes).then_some(())?;
        let mut quoted = Sum::new();
        for pair in packet[..QUOTED].chunks(2) {
            quoted.add_u16(u16::from_ne_bytes([pair[0], pair[1]]));
        }
        let mut message = std::vec![0; F::HEADER_LEN + HEADER_LEN];
        message.extend(&packet[..QUOTED]);
        let range = message.as_mut_ptr_range();
        // SAFETY: as above.
        let bytes = unsafe { Bytes::new(range.start as usize, range.end as usize) };
        write_message::<F>(bytes, &network, mtu, quoted)?;
        Some(message)
    }

    #[test]
    fn an_ipv4_sender_that_forbids_fragments_is_told() {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([10, 9, 0, 5], [10, 0, 0, 10], 60)
            .udp(4242, 53)
            .write(&mut packet, &[7; 1400])
            .expect("it fits");
        let told = message::<Ipv4>(&mut packet, 1380).expect("etherparse forbids fragments");
        let parsed = SlicedPacket::from_ip(&told).expect("a packet");
        let Some(NetSlice::Ipv4(ip)) = &parsed.net else { panic!("IPv4") };
        let header = ip.header().to_header();
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        assert_eq!((header.source, header.destination), ([10, 0, 0, 10], [10, 9, 0, 5]));
        let icmp = Icmpv4Slice::from_slice(ip.payload().payload).expect("ICMP");
        assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
        let expected = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1380 };
        assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(expected));
        assert_eq!(icmp.payload(), &packet[..QUOTED]);

        packet[6] = 0;
        assert_eq!(message::<Ipv4>(&mut packet, 1380), None, "it may be cut up");
    }

    #[test]
    fn an_ipv6_sender_is_told() {
        let (client, vip) = ([0x20; 16], [0x30; 16]);
        let mut packet = Vec::new();
        PacketBuilder::ipv6(client, vip, 60).udp(4242, 53).write(&mut packet, &[9; 1431]).expect("it fits");
        let message = message::<Ipv6>(&mut packet, 1280).expect("IPv6 has no other way");
        let parsed = SlicedPacket::from_ip(&message).expect("a packet");
        let Some(NetSlice::Ipv6(ip)) = &parsed.net else { panic!("IPv6") };
        assert_eq!((ip.header().source(), ip.header().destination()), (vip, client));
        let icmp = Icmpv6Slice::from_slice(ip.payload().payload).expect("ICMPv6");
        assert!(icmp.is_checksum_valid(vip, client));
        assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1280 });
        assert_eq!(icmp.payload(), &packet[..QUOTED]);
    }
}
