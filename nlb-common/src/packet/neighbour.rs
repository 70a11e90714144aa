//! Neighbour discovery (RFC 4861): solicitations for an address, and the advertisements that answer them.

use super::{ETHERNET_LEN, Family as _, Ipv6, Mac, Macs, Network, protocol};
use crate::{
    addr::{Address as _, V6},
    be::Be16,
    bytes::Bytes,
    checksum::Sum,
};

/// Hop limit of all these messages: who is further away cannot send them.
const HOPS: u8 = 255;
/// Type of a solicitation.
const SOLICITATION: u8 = 135;
/// Type of an advertisement.
const ADVERTISEMENT: u8 = 136;
/// Option: the sender's link-layer address.
const SOURCE_LINK_LAYER: u8 = 1;
/// Option: the target's link-layer address, one unit of eight bytes.
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
/// An advertisement's flag: it answers a solicitation.
const SOLICITED: u8 = 0x40;
/// An advertisement's flag: what was known before is replaced.
const OVERRIDE: u8 = 0x20;

/// Length of a message without options.
const BARE_LEN: usize = 24;
/// Options come in units of so many bytes.
const UNIT: usize = 8;
/// The longest options that are read: an address, a nonce (RFC 3971, RFC 7527), and room for as much again.
const UNITS: usize = 8;

/// Length of an advertisement with its IPv6 header.
pub const LEN: usize = Ipv6::HEADER_LEN + BARE_LEN + UNIT;

/// All nodes of the link.
pub const ALL_NODES: V6 = V6::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The group of an address, where it is solicited (RFC 4291, section 2.7.1).
#[inline(always)]
#[must_use]
pub const fn solicited_node(address: V6) -> V6 {
    let V6([_, _, _, last]) = address;
    let last = u32::from_be(last) & 0x00ff_ffff | 0xff00_0000;
    V6([0xff02_0000u32.to_be(), 0, 1u32.to_be(), last.to_be()])
}

/// The MAC address of a group (RFC 2464, section 7).
#[inline(always)]
const fn group_mac(V6([_, _, _, last]): V6) -> u64 {
    (last as u64) << 16 | 0x3333
}

/// A solicitation for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; `::` in duplicate address detection (RFC 4862).
    pub source: V6,
    /// What is asked for.
    pub target: V6,
}

impl Solicitation {
    /// Whether a packet may be one: for most ICMPv6 this is the end.
    #[inline(always)]
    pub fn may_be(packet: Bytes) -> bool {
        packet.read(Ipv6::HEADER_LEN) == Some([SOLICITATION, 0])
    }

    /// Reads a packet, with all that RFC 4861, section 7.1.1, asks of it, and sent to its target. `None`: it is something
    /// else or damaged, or has more options than anybody sends.
    #[inline(always)]
    pub fn read(packet: Bytes, network: &Network<V6>) -> Option<Self> {
        let packet = packet.proven(Ipv6::HEADER_LEN + BARE_LEN)?;
        let len = network.len as usize - Ipv6::HEADER_LEN;
        let is_sound = Self::may_be(packet)
            && network.protocol == protocol::ICMPV6
            && network.hops == HOPS
            && (BARE_LEN..=BARE_LEN + UNITS * UNIT).contains(&len)
            && len.is_multiple_of(UNIT);
        if !is_sound {
            return None;
        }
        let target = V6(packet.read(Ipv6::HEADER_LEN + 8)?);
        let is_probe = network.source == V6::default();
        let has_source = sound_options(packet, (len - BARE_LEN) / UNIT, network)?;
        let to_group = network.destination == solicited_node(target);
        let is_to_target = to_group || (network.destination == target && !is_probe);
        if !is_to_target || is_group(target) || (is_probe && has_source) {
            return None;
        }
        Some(Self { source: network.source, target })
    }

    /// The answer, if `mac` has the target; `to_mac` is where the solicitation came from.
    #[inline(always)]
    #[must_use]
    pub fn answer(&self, mac: u64, to_mac: u64) -> Advertisement {
        let Self { source, target } = *self;
        if source == V6::default() {
            // To all, because who asks has no address yet (RFC 4861, section 7.2.4).
            return Advertisement {
                to: ALL_NODES,
                to_mac: group_mac(ALL_NODES),
                target,
                mac,
                flags: OVERRIDE,
            };
        }
        Advertisement { to: source, to_mac, target, mac, flags: SOLICITED | OVERRIDE }
    }
}

/// Whether checksum and options are as they must be; if so, whether there is a source's link-layer address.
#[inline(always)]
fn sound_options(packet: Bytes, units: usize, network: &Network<V6>) -> Option<bool> {
    let mut sum = pseudo_header(network.source, network.destination, (BARE_LEN + units * UNIT) as u16);
    for offset in (0..BARE_LEN).step_by(4) {
        sum.add_u32(packet.read(Ipv6::HEADER_LEN + offset)?);
    }
    let mut next = 0;
    let mut has_source = false;
    for unit in 0..UNITS {
        if unit >= units {
            break;
        }
        let [first, second] = [0, 4].map(|half| Ipv6::HEADER_LEN + BARE_LEN + UNIT * unit + half);
        if unit == next {
            let [kind, len] = packet.read::<[u8; 2]>(first)?;
            if len == 0 {
                return None;
            }
            has_source |= kind == SOURCE_LINK_LAYER;
            next += usize::from(len);
        }
        sum.add_u32(packet.read(first)?);
        sum.add_u32(packet.read(second)?);
    }
    // The checksum is among the words: with it they sum up to nothing.
    (next == units && sum.checksum() == 0).then_some(has_source)
}

/// The sum of what is before a message (RFC 8200, section 8.1).
#[inline(always)]
fn pseudo_header(source: V6, destination: V6, len: u16) -> Sum {
    let mut sum = Sum::new();
    source.add_to(&mut sum);
    destination.add_to(&mut sum);
    sum.add_u16(Be16::new(len).raw());
    sum.add_u16(Be16::new(protocol::ICMPV6.into()).raw());
    sum
}

#[inline(always)]
const fn is_group(V6([first, ..]): V6) -> bool {
    first & 0xff == 0xff
}

/// An advertisement of an address. MAC addresses are in the low 48 bits of words ([`Mac::to_word`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    to: V6,
    to_mac: u64,
    target: V6,
    mac: u64,
    flags: u8,
}

impl Advertisement {
    /// Tells everybody that `mac` has an address (RFC 4861, section 7.2.6).
    #[must_use]
    pub const fn unsolicited(address: V6, mac: Mac) -> Self {
        let to_mac = group_mac(ALL_NODES);
        Self { to: ALL_NODES, to_mac, target: address, mac: mac.to_word(), flags: OVERRIDE }
    }

    /// Receiver and sender of its frame.
    #[inline(always)]
    #[must_use]
    pub const fn macs(&self) -> Macs {
        Macs::from_words(self.to_mac, self.mac)
    }

    /// Length of its frame without VLAN tags.
    pub const FRAME_LEN: usize = ETHERNET_LEN + LEN;

    /// Writes it, from the IPv6 header on; `None` if there is no room.
    #[inline(always)]
    pub fn write(&self, packet: Bytes) -> Option<()> {
        const MESSAGE_LEN: u16 = (BARE_LEN + UNIT) as u16;
        let packet = packet.proven(LEN)?;
        let Self { to, to_mac: _, target, mac, flags } = *self;
        Ipv6::write_header(packet, target, to, protocol::ICMPV6, MESSAGE_LEN)?;
        packet.write(7, HOPS)?;
        let message = packet.split::<{ Ipv6::HEADER_LEN }>();
        let head = u32::from_ne_bytes([ADVERTISEMENT, 0, 0, 0]);
        let flags = u32::from_ne_bytes([flags, 0, 0, 0]);
        let [kind, len] = TARGET_LINK_LAYER;
        let option = [u32::from(u16::from_ne_bytes([kind, len])) | (mac as u32) << 16, (mac >> 16) as u32];
        let mut sum = pseudo_header(target, to, MESSAGE_LEN);
        target.add_to(&mut sum);
        [head, flags].into_iter().chain(option).for_each(|word| sum.add_u32(word));
        message.write(0, head | u32::from(sum.checksum()) << 16)?;
        message.write(4, flags)?;
        message.write(8, target)?;
        message.write(24, option[0])?;
        message.write(28, option[1])
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{Icmpv6Type, IpNumber, Ipv6FlowLabel, Ipv6Header, icmpv6};

    use super::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 5]);

    fn bytes(packet: &mut [u8]) -> Bytes {
        let range = packet.as_mut_ptr_range();
        // SAFETY: tests use the value only while they hold the buffer, and write through nothing else meanwhile.
        unsafe { Bytes::new(range.start as usize, range.end as usize) }
    }

    fn address(text: &str) -> [u8; 16] {
        text.parse::<core::net::Ipv6Addr>().unwrap().octets()
    }

    /// An ICMPv6 packet with the checksum that etherparse finds.
    fn packet(source: &str, destination: &str, hops: u8, head: [u8; 8], body: &[u8]) -> Vec<u8> {
        let (source, destination) = (address(source), address(destination));
        let [kind, code, _, _, rest @ ..] = head;
        let checksum = Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: rest }
            .calc_checksum(source, destination, body)
            .unwrap();
        let ip = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: (8 + body.len()) as u16,
            next_header: IpNumber::IPV6_ICMP,
            hop_limit: hops,
            source,
            destination,
        };
        let mut packet = ip.to_bytes().to_vec();
        packet.extend([kind, code]);
        packet.extend(checksum.to_be_bytes());
        packet.extend(rest);
        packet.extend(body);
        packet
    }

    const NS: [u8; 8] = [icmpv6::TYPE_NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    const SOURCE_OPTION: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 5];
    const NONCE: [u8; 8] = [14, 1, 9, 8, 7, 6, 5, 4];

    fn solicitation(source: &str, destination: &str, options: &[u8]) -> Vec<u8> {
        packet(source, destination, 255, NS, &[&address("fd00::12:3410"), options].concat())
    }

    fn read(packet: &[u8]) -> Option<Solicitation> {
        let mut packet = packet.to_vec();
        let packet = bytes(&mut packet);
        Solicitation::read(packet, &Ipv6::parse(packet).ok()?)
    }

    #[test]
    fn sound_solicitations_are_read() {
        let group = "ff02::1:ff12:3410";
        let many = SOURCE_OPTION.repeat(UNITS);
        let long = [&[14, 7][..], &[5; 54]].concat();
        let rows = [
            ("fd00::2", group, &SOURCE_OPTION[..]),
            ("fd00::2", group, &[]),
            ("fd00::2", "fd00::12:3410", &SOURCE_OPTION),
            ("fe80::2", "fd00::12:3410", &[]),
            ("::", group, &[]),
            ("::", group, &NONCE),
            ("fd00::2", group, &[SOURCE_OPTION, NONCE].concat()),
            ("fd00::2", group, &many),
            ("fd00::2", group, &long),
        ];
        for (source, destination, options) in rows {
            let expected = Solicitation {
                source: V6::from_octets(address(source)),
                target: V6::from_octets(address("fd00::12:3410")),
            };
            let mut packet = solicitation(source, destination, options);
            assert_eq!(read(&packet), Some(expected), "{source} {destination} {options:?}");
            packet.extend([7; 20]);
            assert_eq!(read(&packet), Some(expected), "with padding: {source} {destination} {options:?}");
        }
    }

    #[test]
    fn what_is_not_sound_is_none() {
        let (us, group, source) = ("fd00::12:3410", "ff02::1:ff12:3410", &SOURCE_OPTION[..]);
        let target = address(us);
        let with = |hops, head, target: [u8; 16]| {
            packet("fd00::2", group, hops, head, &[&target[..], source].concat())
        };
        let advertisement = [icmpv6::TYPE_NEIGHBOR_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0];
        let too_many = SOURCE_OPTION.repeat(UNITS + 1);
        let rows = [
            ("from another link", with(254, NS, target)),
            ("code 1", with(255, [NS[0], 1, 0, 0, 0, 0, 0, 0], target)),
            ("an advertisement", with(255, advertisement, target)),
            ("for a group", with(255, NS, address(group))),
            ("to the group of another", solicitation("fd00::2", "ff02::1:ff12:3411", source)),
            ("to all nodes", solicitation("fd00::2", "ff02::1", source)),
            ("to another address", solicitation("fd00::2", "fd00::1", source)),
            ("a probe to the address", solicitation("::", us, &[])),
            ("a probe with an address", solicitation("::", group, source)),
            ("an option of no length", solicitation("fd00::2", group, &[1, 0, 2, 0, 0, 0, 0, 5])),
            ("an option beyond the end", solicitation("fd00::2", group, &[1, 2, 2, 0, 0, 0, 0, 5])),
            ("no whole option", solicitation("fd00::2", group, &source[..4])),
            ("too many options", solicitation("fd00::2", group, &too_many)),
        ];
        for (name, packet) in rows {
            assert_eq!(read(&packet), None, "{name}");
        }
        let sound = solicitation("fd00::2", group, source);
        for len in 0..sound.len() {
            assert_eq!(read(&sound[..len]), None, "{len} bytes");
        }
        // The payload length says less than there is.
        for len in 0..32u8 {
            let mut packet = sound.clone();
            packet[5] = len;
            assert_eq!(read(&packet), None, "{len} bytes of payload");
        }
        for bit in 40 * 8..sound.len() * 8 {
            let mut packet = sound.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&packet), None, "bit {bit}: the checksum is wrong");
        }
    }

    /// The advertisement's packet as etherparse builds it.
    fn advertisement(to: &str, flags: u8) -> Vec<u8> {
        let body = [&address("fd00::12:3410")[..], &[2, 1], &OURS.0].concat();
        packet("fd00::12:3410", to, 255, [136, 0, 0, 0, flags, 0, 0, 0], &body)
    }

    fn written(advertisement: Advertisement) -> Vec<u8> {
        let mut buffer = [0xaa; LEN].to_vec();
        advertisement.write(bytes(&mut buffer)).unwrap();
        assert_eq!(advertisement.write(bytes(&mut buffer[..LEN - 1].to_vec())), None);
        buffer
    }

    #[test]
    fn a_solicitation_is_answered_to_who_asks_and_a_probe_to_all() {
        let target = V6::from_octets(address("fd00::12:3410"));
        let all = Mac([0x33, 0x33, 0, 0, 0, 1]);
        for (source, to, to_mac, flags) in [
            ("fd00::2", "fd00::2", THEIRS, 0x60),
            ("fe80::7", "fe80::7", THEIRS, 0x60),
            ("::", "ff02::1", all, 0x20),
        ] {
            let asked = Solicitation { source: V6::from_octets(address(source)), target };
            let answer = asked.answer(OURS.to_word(), THEIRS.to_word());
            assert_eq!(answer.macs(), Macs::new(to_mac, OURS), "{source}");
            assert_eq!(written(answer), advertisement(to, flags), "{source}");
        }
    }

    #[test]
    fn an_unsolicited_one_goes_to_all_and_overrides() {
        let advertised = Advertisement::unsolicited(V6::from_octets(address("fd00::12:3410")), OURS);
        assert_eq!(advertised.macs(), Macs::new(Mac([0x33, 0x33, 0, 0, 0, 1]), OURS));
        assert_eq!(written(advertised), advertisement("ff02::1", 0x20));
    }

    #[test]
    fn groups_are_those_of_rfc_4291() {
        for (of, group) in
            [("fd00::12:3410", "ff02::1:ff12:3410"), ("4037::1:800:200e:8c6c", "ff02::1:ff0e:8c6c")]
        {
            let of = V6::from_octets(address(of));
            assert_eq!(solicited_node(of).octets(), address(group), "{of:?}");
        }
    }
}
