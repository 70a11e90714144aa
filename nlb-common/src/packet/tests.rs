//! The parser and the rewriting against etherparse, which shares no code with them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    vec::Vec,
};

use etherparse::{
    EtherType, Ethernet2Slice, IpAuthHeaderSlice, IpHeaders, IpNumber, Ipv4Header, Ipv4HeaderSlice,
    Ipv4Options, Ipv6FlowLabel, Ipv6FragmentHeaderSlice, Ipv6Header, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    NetSlice, PacketBuilder, SingleVlanSlice, SlicedPacket, TcpHeaderSlice, TransportSlice, UdpHeaderSlice,
};
use proptest::{collection::vec, prelude::*};

use super::*;

/// A frame's bytes, as the parser takes them.
fn bytes(frame: &mut [u8]) -> Bytes {
    let range = frame.as_mut_ptr_range();
    // SAFETY: tests use the value only while they hold the buffer, and write through nothing else meanwhile.
    unsafe { Bytes::new(range.start as usize, range.end as usize) }
}

/// What both parsers are asked.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    network_offset: usize,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    fragment: bool,
    hops: u8,
    /// Of TCP and UDP packets that are in one piece; `None`: malformed.
    transport: Option<(u16, u16, u8)>,
}

fn ours(frame: &mut [u8]) -> Option<Reading> {
    let frame = bytes(frame);
    let link = Link::parse(frame)?;
    match link.ethertype {
        ethertype::IPV4 => {
            let network = Ipv4::parse(frame.after(link.len())).ok()?;
            ours_of(frame, &link, &network, |address| Ipv4Addr::from(address.octets()).into())
        }
        ethertype::IPV6 => {
            let packet = frame.after(link.len());
            let network = Ipv6::parse(packet).ok()?;
            let chain = extension::follow(packet, &network);
            assert_eq!(extension::Chain::from_word(chain.to_word()), chain);
            let network = network.with(chain);
            ours_of(frame, &link, &network, |address| Ipv6Addr::from(address.octets()).into())
        }
        _ => None,
    }
}

fn ours_of<A: Copy>(
    frame: Bytes,
    link: &Link,
    network: &Network<A>,
    address: fn(A) -> IpAddr,
) -> Option<Reading> {
    let packet = frame.after(link.len());
    assert!(u32::from(network.header_len) <= network.len && network.len as usize <= packet.len());
    let has_ports = matches!(network.protocol, protocol::TCP | protocol::UDP) && !network.fragment;
    let transport =
        has_ports.then(|| Transport::parse(packet.after(network.header_len.into()), network).ok()).flatten();
    Some(Reading {
        network_offset: link.len(),
        source: address(network.source),
        destination: address(network.destination),
        protocol: network.protocol,
        fragment: network.fragment,
        hops: network.hops,
        transport: transport.map(|header| (header.source.get(), header.destination.get(), header.flags.0)),
    })
}

fn theirs(frame: &[u8]) -> Option<Reading> {
    let link = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
    let (mut ethertype, mut rest) = (link.ether_type(), link.payload_slice());
    for _ in 0..2 {
        if matches!(ethertype, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
            let tag = SingleVlanSlice::from_slice(rest).ok()?;
            (ethertype, rest) = (tag.ether_type(), tag.payload_slice());
        }
    }
    let network_offset = frame.len() - rest.len();
    let (reading, payload) = match ethertype {
        EtherType::IPV4 => {
            let header = Ipv4HeaderSlice::from_slice(rest).ok()?;
            let payload = rest.get(header.slice().len()..)?.get(..header.payload_len().ok()?.into())?;
            let reading = Reading {
                network_offset,
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                protocol: header.protocol().0,
                fragment: header.is_fragmenting_payload(),
                hops: header.ttl(),
                transport: None,
            };
            (reading, payload)
        }
        EtherType::IPV6 => {
            let header = Ipv6HeaderSlice::from_slice(rest).ok()?;
            let payload = rest.get(header.slice().len()..)?.get(..header.payload_length().into())?;
            let (protocol, fragment, payload) = their_headers(header.next_header(), payload);
            let reading = Reading {
                network_offset,
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                protocol,
                fragment,
                hops: header.hop_limit(),
                transport: None,
            };
            (reading, payload)
        }
        _ => return None,
    };
    let transport = if reading.fragment { None } else { their_transport(reading.protocol, payload) };
    Some(Reading { transport, ..reading })
}

/// The extension headers: what follows them, whether there is a fragment, and the rest. Where ours gives up, the header that
/// it gives up at.
fn their_headers(first: IpNumber, payload: &[u8]) -> (u8, bool, &[u8]) {
    let (mut protocol, mut rest, mut fragment) = (first, payload, false);
    let mut len = 40;
    for position in 0..6 {
        // Of one header at a time, so that what comes before a damaged one is read.
        let is_last = !protocol.is_ipv6_ext_header_value() || extension_len(protocol, rest).is_none();
        if is_last || (protocol == IpNumber::IPV6_HEADER_HOP_BY_HOP && position > 0) {
            break;
        }
        let Some(header) = extension_len(protocol, rest).and_then(|len| rest.get(..len)) else { break };
        len += header.len();
        if len > 255 || (protocol == IpNumber::IPV6_ROUTE_HEADER && header[3] != 0) {
            break;
        }
        if protocol == IpNumber::IPV6_FRAGMENTATION_HEADER {
            let slice = Ipv6FragmentHeaderSlice::from_slice(header).expect("eight bytes");
            fragment |= slice.is_fragmenting_payload();
            if slice.fragment_offset().value() != 0 {
                break;
            }
        }
        (protocol, rest) = (IpNumber(header[0]), &rest[header.len()..]);
    }
    (protocol.0, fragment, rest)
}

/// The length of an extension header that is there as a whole.
fn extension_len(protocol: IpNumber, bytes: &[u8]) -> Option<usize> {
    match protocol {
        IpNumber::IPV6_FRAGMENTATION_HEADER => {
            Ipv6FragmentHeaderSlice::from_slice(bytes).ok().map(|header| header.slice().len())
        }
        IpNumber::AUTHENTICATION_HEADER => {
            IpAuthHeaderSlice::from_slice(bytes).ok().map(|header| header.slice().len())
        }
        IpNumber::IPV6_HEADER_HOP_BY_HOP
        | IpNumber::IPV6_ROUTE_HEADER
        | IpNumber::IPV6_DESTINATION_OPTIONS => {
            Ipv6RawExtHeaderSlice::from_slice(bytes).ok().map(|header| header.slice().len())
        }
        _ => None,
    }
}

fn their_transport(protocol: u8, payload: &[u8]) -> Option<(u16, u16, u8)> {
    match protocol {
        protocol::TCP => {
            let header = TcpHeaderSlice::from_slice(payload).ok()?;
            Some((header.source_port(), header.destination_port(), header.slice()[13]))
        }
        protocol::UDP => {
            let header = UdpHeaderSlice::from_slice(payload).ok()?;
            // etherparse looks at the header alone; its length is ours to judge.
            let fits = (8..=payload.len()).contains(&usize::from(header.length()));
            fits.then(|| (header.source_port(), header.destination_port(), 0))
        }
        _ => None,
    }
}

/// An IPv4 or IPv6 pair of addresses.
fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
    ]
}

/// A well-formed frame with up to two tags, IPv4 options, TCP or UDP, a payload and padding.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let shape = (addresses(), any::<(u16, u16)>(), any::<bool>(), 3u8.., 0usize..=10);
    let rest = (vec(any::<(bool, u16)>(), 0..=2), vec(any::<u8>(), 0..80), 0usize..20);
    (shape, rest).prop_map(|((addresses, ports, tcp, hops, option_words), (tags, payload, padding))| {
        let ip = match addresses {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = Ipv4Header::new(0, hops, IpNumber(0), source.octets(), destination.octets())
                    .expect("an empty payload fits");
                header.options = Ipv4Options::try_from([1u8; 40].get(..option_words * 4).unwrap_or_default())
                    .expect("up to ten words");
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    traffic_class: 0x28,
                    flow_label: Ipv6FlowLabel::default(),
                    payload_length: 0,
                    next_header: IpNumber(0),
                    hop_limit: hops,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                IpHeaders::Ipv6(header, Default::default())
            }
            _ => unreachable!("both are of one family"),
        };
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ip(ip);
        let mut frame = Vec::new();
        if tcp {
            builder.tcp(ports.0, ports.1, 7, 1000).ack(9).write(&mut frame, &payload).expect("it fits");
        } else {
            builder.udp(ports.0, ports.1).write(&mut frame, &payload).expect("it fits");
        }
        for (service, tci) in tags.into_iter().rev() {
            let ethertype = if service { ethertype::SERVICE_VLAN } else { ethertype::VLAN };
            let [a, b] = tci.to_be_bytes();
            let [c, d] = ethertype.get().to_be_bytes();
            frame.splice(12..12, [c, d, a, b]);
        }
        frame.resize(frame.len() + padding, 0);
        frame
    })
}

/// Extension headers: kind, length beyond the least, and two bytes that mean something in some of them.
fn headers() -> impl Strategy<Value = Vec<(u8, u8, [u8; 2])>> {
    let kind = prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60)];
    vec((kind, prop_oneof![4 => 0u8..4, 1 => any::<u8>()], prop_oneof![Just([0, 0]), any::<[u8; 2]>()]), 0..8)
}

/// A whole IPv6 frame with extension headers put in between, in whatever order.
fn with_headers(mut frame: Vec<u8>, headers: &[(u8, u8, [u8; 2])]) -> Vec<u8> {
    let Some(link) = Link::parse(bytes(&mut frame)).filter(|link| link.ethertype == ethertype::IPV6) else {
        return frame;
    };
    let network = link.len();
    let mut chain = Vec::new();
    let mut next = frame[network + 6];
    for &(kind, units, meaning) in headers.iter().rev() {
        let len = match kind {
            44 => 8,
            51 => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        let mut header = std::vec![0; len];
        [header[0], header[1]] = [next, units];
        header[2..4].copy_from_slice(&meaning);
        chain.splice(0..0, header);
        next = kind;
    }
    frame[network + 6] = next;
    let payload = u16::from_be_bytes([frame[network + 4], frame[network + 5]]);
    let payload = usize::from(payload) + chain.len();
    frame[network + 4..network + 6].copy_from_slice(&u16::try_from(payload).expect("short").to_be_bytes());
    frame.splice(network + 40..network + 40, chain);
    frame
}

/// The addresses, ports and whether all checksums are right, by etherparse; `None`: the UDP checksum is absent.
fn checked(frame: &[u8]) -> ((SocketAddr, SocketAddr), Option<bool>) {
    let packet = SlicedPacket::from_ethernet(frame).expect("a whole packet");
    let (source, destination) = match packet.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            assert_eq!(
                header.to_header().calc_header_checksum(),
                header.header_checksum(),
                "IPv4 header checksum"
            );
            (IpAddr::from(header.source()), IpAddr::from(header.destination()))
        }
        Some(NetSlice::Ipv6(ip)) => (ip.header().source().into(), ip.header().destination().into()),
        _ => panic!("no IP packet"),
    };
    let (ports, right) = match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => {
            let sum = match (source, destination) {
                (IpAddr::V4(a), IpAddr::V4(b)) => tcp.calc_checksum_ipv4(a.octets(), b.octets()),
                (IpAddr::V6(a), IpAddr::V6(b)) => tcp.calc_checksum_ipv6(a.octets(), b.octets()),
                _ => panic!("two families in one packet"),
            };
            ((tcp.source_port(), tcp.destination_port()), Some(sum.expect("it fits") == tcp.checksum()))
        }
        Some(TransportSlice::Udp(udp)) => {
            let header = udp.to_header();
            let sum = match (source, destination) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    header.calc_checksum_ipv4_raw(a.octets(), b.octets(), udp.payload())
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    header.calc_checksum_ipv6_raw(a.octets(), b.octets(), udp.payload())
                }
                _ => panic!("two families in one packet"),
            };
            let right = (header.checksum != 0).then_some(sum.expect("it fits") == header.checksum);
            ((header.source_port, header.destination_port), right)
        }
        _ => panic!("neither TCP nor UDP"),
    };
    ((SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1)), right)
}

/// Translates a frame in place.
fn translated(frame: &mut [u8], source: SocketAddr, destination: SocketAddr) {
    let frame = bytes(frame);
    let link = Link::parse(frame).expect("a whole frame");
    match (source, destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            let [from, to] = [source, destination]
                .map(|side| (V4::from_octets(side.ip().octets()), Be16::new(side.port())));
            translated_as::<Ipv4>(frame, &link, from, to);
        }
        (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
            let [from, to] = [source, destination]
                .map(|side| (V6::from_octets(side.ip().octets()), Be16::new(side.port())));
            translated_as::<Ipv6>(frame, &link, from, to);
        }
        _ => panic!("two families"),
    }
}

fn translated_as<F: Family>(
    frame: Bytes,
    link: &Link,
    source: (F::Address, Be16),
    destination: (F::Address, Be16),
) {
    let packet = frame.after(link.len());
    let network = F::parse(packet).expect("a whole packet");
    let segment = packet.after(network.header_len.into());
    let transport = Transport::parse(segment, &network).expect("a whole header");
    translate::<F>([packet, segment], &network, &transport, source, destination).expect("it was parsed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_read_as_etherparse_reads_them(
        mut frame in vec(any::<u8>(), 0..120),
        ethertype in prop::sample::select(&[0x0800u16, 0x86dd, 0x8100, 0x88a8, 0x0806][..]),
        version in prop::sample::select(&[0x45u8, 0x46, 0x4f, 0x44, 0x60, 0x65][..]),
    ) {
        // Random bytes alone would seldom be IP.
        if frame.len() > 14 {
            frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
            frame[14] = version;
        }
        prop_assert_eq!(ours(&mut frame), theirs(&frame));
    }

    #[test]
    fn whole_frames_are_read_as_etherparse_reads_them(mut frame in frames()) {
        let expected = theirs(&frame);
        prop_assert!(expected.as_ref().is_some_and(|reading| reading.transport.is_some()));
        prop_assert_eq!(ours(&mut frame), expected);
    }

    #[test]
    fn extension_headers_are_followed_as_etherparse_follows_them(frame in frames(), headers in headers()) {
        let mut frame = with_headers(frame, &headers);
        prop_assert_eq!(ours(&mut frame), theirs(&frame));
    }

    #[test]
    fn frames_with_damage_are_read_as_etherparse_reads_them(
        frame in frames(),
        headers in headers(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut frame = with_headers(frame, &headers);
        for (at, byte) in damage {
            // The headers, where damage matters, are in the first 90 bytes.
            let at = at.index(frame.len().min(90));
            frame[at] = byte;
        }
        if is_cut {
            frame.truncate(cut.index(frame.len()));
        }
        prop_assert_eq!(ours(&mut frame), theirs(&frame));
    }

    #[test]
    fn translation_keeps_checksums_right_and_goes_back(
        mut frame in frames(),
        new_v4 in any::<[(Ipv4Addr, u16); 2]>(),
        new_v6 in any::<[(Ipv6Addr, u16); 2]>(),
    ) {
        let is_v4 = theirs(&frame).is_some_and(|reading| reading.source.is_ipv4());
        let at = theirs(&frame).map_or(0, |reading| reading.network_offset);
        let hops = at + if is_v4 { 8 } else { 7 };
        let original = frame.clone();
        let (old, right) = checked(&frame);
        prop_assert_eq!(right, Some(true));
        let new = if is_v4 { new_v4.map(SocketAddr::from) } else { new_v6.map(SocketAddr::from) };

        translated(&mut frame, new[0], new[1]);
        prop_assert_eq!(checked(&frame), ((new[0], new[1]), Some(true)));
        prop_assert_eq!(frame[hops], original[hops] - 1);

        translated(&mut frame, old.0, old.1);
        prop_assert_eq!(checked(&frame), (old, Some(true)));
        // All else is as it was: only the hop count, and in IPv4 the checksum over it, differ.
        for (index, (now, was)) in frame.iter().zip(&original).enumerate() {
            let may_differ = index == hops || (is_v4 && (at + 10..at + 12).contains(&index));
            prop_assert!(now == was || may_differ, "byte {index}");
        }
    }

    #[test]
    fn an_absent_udp_checksum_stays_absent(ports: [u16; 4], addresses: [Ipv4Addr; 4], payload in vec(any::<u8>(), 0..9)) {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(addresses[0].octets(), addresses[1].octets(), 9)
            .udp(ports[0], ports[1])
            .write(&mut frame, &payload)
            .expect("it fits");
        frame[14 + 20 + 6..14 + 20 + 8].fill(0);
        let new = [2, 3].map(|side| SocketAddr::from((addresses[side], ports[side])));
        translated(&mut frame, new[0], new[1]);
        prop_assert_eq!(checked(&frame), ((new[0], new[1]), None));
    }

    #[test]
    fn a_header_of_our_own_is_read_by_etherparse(v4: [Ipv4Addr; 2], v6: [Ipv6Addr; 2], protocol in 0u8..=255) {
        let mut frame = [0; 14 + 20 + 20];
        let [from, to] = v4.map(|address| V4::from_octets(address.octets()));
        Ipv4::write_header(bytes(&mut frame[14..]), from, to, protocol, 20).expect("there is room");
        let header = Ipv4HeaderSlice::from_slice(&frame[14..]).expect("a header");
        prop_assert_eq!((header.source_addr(), header.destination_addr()), (v4[0], v4[1]));
        prop_assert_eq!((header.protocol().0, header.payload_len()), (protocol, Ok(20)));
        prop_assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
        prop_assert!(header.dont_fragment() && !header.is_fragmenting_payload());

        let mut frame = [0; 14 + 40 + 20];
        let [from, to] = v6.map(|address| V6::from_octets(address.octets()));
        Ipv6::write_header(bytes(&mut frame[14..]), from, to, protocol, 20).expect("there is room");
        let header = Ipv6HeaderSlice::from_slice(&frame[14..]).expect("a header");
        prop_assert_eq!((header.source_addr(), header.destination_addr()), (v6[0], v6[1]));
        prop_assert_eq!((header.next_header().0, header.payload_length()), (protocol, 20));
    }

    #[test]
    fn a_link_layer_that_was_written_reads_the_same(
        count in 0u8..=2, service: bool, tci: [u16; 2], destination: [u8; 6], source: [u8; 6],
    ) {
        let mut tags = Tags { count, service: service && count > 0, tci: tci.map(Be16::new) };
        // Of a tag that is not there nothing is read.
        tags.tci[usize::from(count)..].fill(Be16::new(0));
        let link = Link { tags, ethertype: ethertype::IPV6 };
        let macs = Macs::new(Mac(destination), Mac(source));
        let mut frame = [0xff; 22];
        let frame = bytes(&mut frame);
        prop_assert_eq!(link.write(frame, macs), Some(()));
        prop_assert_eq!((Link::parse(frame), Macs::read(frame)), (Some(link), Some(macs)));
    }
}
