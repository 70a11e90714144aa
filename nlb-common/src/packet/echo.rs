//! Echo: the answer to a ping (RFC 792, RFC 4443), made in place.

use super::{Family, Ipv4, Ipv6, Network, OWN_HOPS};
use crate::{
    addr::{V4, V6},
    bytes::Bytes,
    checksum::Sum,
};

/// Length of the header of an echo message.
pub const HEADER_LEN: usize = 8;

/// What a family's echo messages look like.
pub trait Echo: Family {
    /// Type of a request.
    const REQUEST: u8;
    /// Type of a reply.
    const REPLY: u8;

    /// Whether somebody can be answered there: not a group, not everybody, not nobody (RFC 1122, section 3.2.1.3;
    /// RFC 4443, section 2.4).
    fn is_somebody(address: Self::Address) -> bool;

    /// Writes the number of hops, without which the header's checksum is kept right.
    fn write_hops(packet: Bytes, network: &Network<Self::Address>, hops: u8) -> Option<()>;
}

impl Echo for Ipv4 {
    const REQUEST: u8 = 8;
    const REPLY: u8 = 0;

    #[inline(always)]
    fn is_somebody(address: V4) -> bool {
        // "This" network, loopback, and groups with all that is above them (RFC 6890).
        let [first, ..] = address.octets();
        first != 0 && first != 127 && first < 224
    }

    #[inline(always)]
    fn write_hops(packet: Bytes, network: &Network<V4>, hops: u8) -> Option<()> {
        let hops = u16::from_ne_bytes([hops, network.protocol]);
        let mut sum = Sum::from_checksum(packet.read(10)?);
        sum.remove_u16(u16::from_ne_bytes([network.hops, network.protocol]));
        sum.add_u16(hops);
        packet.write(8, hops)?;
        packet.write(10, sum.checksum())
    }
}

impl Echo for Ipv6 {
    const REQUEST: u8 = 128;
    const REPLY: u8 = 129;

    #[inline(always)]
    fn is_somebody(address: V6) -> bool {
        let V6([a, b, c, d]) = address;
        // Not ff00::/8; neither :: nor ::1.
        a & 0xff != 0xff && (a | b | c != 0 || d & !1u32.to_be() != 0)
    }

    #[inline(always)]
    fn write_hops(packet: Bytes, _network: &Network<V6>, hops: u8) -> Option<()> {
        packet.write(7, hops)
    }
}

/// Whether a packet, in one piece and of the family's ICMP, is an echo request that can be answered: without IP options,
/// which would have to be reversed or filled in (RFC 1122, section 3.2.2.6), long enough, and from somebody.
#[inline(always)]
pub fn is_request<F: Echo>(packet: Bytes, network: &Network<F::Address>) -> bool {
    // The packet's own length is within the frame's.
    let is_long_enough = network.len as usize >= F::HEADER_LEN + HEADER_LEN;
    is_long_enough
        && network.header_len as usize == F::HEADER_LEN
        && packet.read(F::HEADER_LEN) == Some([F::REQUEST, 0])
        && network.source != network.destination
        && F::is_somebody(network.source)
}

/// Turns a request into its reply. A wrong checksum stays as wrong as it is, so that the sender notices.
#[inline(always)]
pub fn answer<F: Echo>(packet: Bytes, network: &Network<F::Address>) -> Option<()> {
    let packet = packet.proven(F::HEADER_LEN + HEADER_LEN)?;
    let [source, destination] = F::ADDRESSES;
    packet.write(source, network.destination)?;
    packet.write(destination, network.source)?;
    F::write_hops(packet, network, OWN_HOPS)?;
    // Both addresses are where they were, to a sum: only the type changes (RFC 1624).
    let reply = [F::REPLY, 0];
    let mut sum = Sum::from_checksum(packet.read(F::HEADER_LEN + 2)?);
    sum.remove_u16(u16::from_ne_bytes([F::REQUEST, 0]));
    sum.add_u16(u16::from_ne_bytes(reply));
    packet.write(F::HEADER_LEN, reply)?;
    packet.write(F::HEADER_LEN + 2, sum.checksum())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{IpSlice, PacketBuilder, icmpv4, icmpv6};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn bytes(packet: &mut [u8]) -> Bytes {
        let range = packet.as_mut_ptr_range();
        // SAFETY: tests use the value only while they hold the buffer, and write through nothing else meanwhile.
        unsafe { Bytes::new(range.start as usize, range.end as usize) }
    }

    fn v4(hops: u8, id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([10, 9, 0, 5], [10, 0, 0, 10], hops)
            .icmpv4_echo_request(id, sequence)
            .write(&mut packet, data)
            .unwrap();
        packet
    }

    fn v6(hops: u8, id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6(client(), vip(), hops)
            .icmpv6_echo_request(id, sequence)
            .write(&mut packet, data)
            .unwrap();
        packet
    }

    fn client() -> [u8; 16] {
        core::net::Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 5).octets()
    }

    fn vip() -> [u8; 16] {
        core::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10).octets()
    }

    fn answered<F: Echo>(packet: &mut [u8]) -> bool {
        let packet = bytes(packet);
        let Ok(network) = F::parse(packet) else { return false };
        if network.fragment || network.protocol != F::ICMP || !is_request::<F>(packet, &network) {
            return false;
        }
        answer::<F>(packet, &network).unwrap();
        true
    }

    proptest! {
        #[test]
        fn an_ipv4_reply_is_what_a_host_would_send(
            hops in 1u8..,
            id: u16,
            sequence: u16,
            data in vec(any::<u8>(), 0..200),
        ) {
            let mut packet = v4(hops, id, sequence, &data);
            prop_assert!(answered::<Ipv4>(&mut packet));
            let mut expected = Vec::new();
            PacketBuilder::ipv4([10, 0, 0, 10], [10, 9, 0, 5], 64)
                .icmpv4_echo_reply(id, sequence)
                .write(&mut expected, &data)
                .unwrap();
            prop_assert_eq!(packet, expected);
        }

        #[test]
        fn an_ipv6_reply_is_what_a_host_would_send(
            hops in 1u8..,
            id: u16,
            sequence: u16,
            data in vec(any::<u8>(), 0..200),
        ) {
            let mut packet = v6(hops, id, sequence, &data);
            prop_assert!(answered::<Ipv6>(&mut packet));
            let mut expected = Vec::new();
            PacketBuilder::ipv6(vip(), client(), 64)
                .icmpv6_echo_reply(id, sequence)
                .write(&mut expected, &data)
                .unwrap();
            prop_assert_eq!(packet, expected);
        }

        #[test]
        fn any_bytes_are_answered_only_if_another_parser_finds_a_request(mut packet in vec(any::<u8>(), 0..80)) {
            for first in [0x45, 0x60] {
                if let Some(byte) = packet.first_mut() {
                    *byte = first;
                }
                let before = packet.clone();
                if answered::<Ipv4>(&mut packet) || answered::<Ipv6>(&mut packet) {
                    let ip = IpSlice::from_slice(&before).unwrap();
                    let kind = ip.payload().payload[0];
                    prop_assert!([icmpv4::TYPE_ECHO_REQUEST, icmpv6::TYPE_ECHO_REQUEST].contains(&kind));
                    prop_assert!(ip.payload().payload.len() >= HEADER_LEN);
                } else {
                    prop_assert_eq!(&packet, &before);
                }
            }
        }
    }

    #[test]
    fn a_wrong_checksum_stays_wrong() {
        let mut packet = v4(61, 1, 2, b"data");
        packet[22] ^= 0x11;
        assert!(answered::<Ipv4>(&mut packet));
        let right = {
            let mut packet = v4(61, 1, 2, b"data");
            assert!(answered::<Ipv4>(&mut packet));
            packet
        };
        assert_ne!(packet[22..24], right[22..24]);
    }

    #[test]
    fn what_is_no_request_from_somebody_is_left_alone() {
        type Row = (&'static str, fn(&mut Vec<u8>));
        let rows: [Row; 8] = [
            ("a reply", |packet| packet[20] = 0),
            ("another code", |packet| packet[21] = 1),
            ("a fragment", |packet| packet[6] = 0x20),
            ("from a group", |packet| packet[12] = 224),
            ("from everybody", |packet| packet[12..16].fill(255)),
            ("from nobody", |packet| packet[12..16].fill(0)),
            ("from loopback", |packet| packet[12] = 127),
            ("from the VIP", |packet| packet.copy_within(16..20, 12)),
        ];
        for (name, change) in rows {
            let mut packet = v4(61, 1, 2, b"data");
            change(&mut packet);
            let before = packet.clone();
            assert!(!answered::<Ipv4>(&mut packet), "{name}");
            assert_eq!(packet, before, "{name}");
        }
        let options = {
            let mut packet = v4(61, 1, 2, b"data");
            packet[0] = 0x46;
            packet[3] += 4;
            packet.splice(20..20, [1, 1, 1, 0]);
            packet
        };
        assert!(!answered::<Ipv4>(&mut options.clone()), "options");
        let addresses: [(&str, [u8; 16], bool); 5] = [
            ("::", [0; 16], false),
            ("::1", 1u128.to_be_bytes(), false),
            ("::2", 2u128.to_be_bytes(), true),
            ("a group", (0xff02 << 112 | 1u128).to_be_bytes(), false),
            ("link-local", (0xfe80 << 112 | 1u128).to_be_bytes(), true),
        ];
        for (name, source, expected) in addresses {
            let mut packet = v6(61, 1, 2, b"data");
            packet[8..24].copy_from_slice(&source);
            assert_eq!(answered::<Ipv6>(&mut packet), expected, "{name}");
        }
    }
}
