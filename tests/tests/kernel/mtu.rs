//! Packets that do not fit the way to their server: the sender is told, by a message that etherparse reads.

use etherparse::{
    Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, icmpv4::DestUnreachableHeader,
};
use nlb_agent::datapath::{Backend, Family, Forward, Op, Tracking};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{At, Frame, VLAN, flag};

use crate::{
    bench::Bench,
    connection::Connection,
    scene::{self, UDP_PORT},
};

/// The longest packet that is let through.
const MAX_LEN: u16 = 1300;

/// Makes the way to every server that narrow.
fn narrow(bench: &mut Bench, forward: impl Fn(Backend) -> Forward) {
    for family in Family::ALL {
        for index in 0..3 {
            bench.apply(&[scene::changed(family, index, |backend| {
                backend.forward = forward(*backend);
                backend.max_len = Some(MAX_LEN);
            })]);
        }
    }
}

/// A datagram whose IP packet is so long.
fn datagram(family: Family, len: u16) -> Frame {
    let headers = if family == Family::V4 { 28 } else { 48 };
    let payload = vec![5; usize::from(len) - headers];
    Frame::udp(scene::client(family, 1), scene::vip(family, UDP_PORT)).payload(&payload)
}

/// The message's MTU and what it quotes, in a frame that goes back to where `sent` came from.
#[track_caller]
fn told(sent: &Frame, bytes: &[u8]) -> (u32, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let before = sent.build();
    assert_eq!((&bytes[..6], &bytes[6..12]), (&before[6..12], &before[..6]), "the addresses exchanged");
    assert_eq!(bytes[12..sent.network_offset()], before[12..sent.network_offset()], "the same tags");
    match (&packet.net, &packet.transport) {
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp))) => {
            let header = ip.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!(std::net::IpAddr::from(header.source), sent.to().ip());
            assert_eq!(std::net::IpAddr::from(header.destination), sent.from().ip());
            assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
            let Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
                next_hop_mtu,
            }) = icmp.icmp_type()
            else {
                panic!("{:?}", icmp.icmp_type());
            };
            (next_hop_mtu.into(), icmp.payload().to_vec())
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
            let header = ip.header();
            assert_eq!(std::net::IpAddr::from(header.source()), sent.to().ip());
            assert_eq!(std::net::IpAddr::from(header.destination()), sent.from().ip());
            assert!(icmp.is_checksum_valid(header.source(), header.destination()));
            let Icmpv6Type::PacketTooBig { mtu } = icmp.icmp_type() else {
                panic!("{:?}", icmp.icmp_type());
            };
            (mtu, icmp.payload().to_vec())
        }
        other => panic!("no ICMP: {other:?}"),
    }
}

#[test]
fn what_does_not_fit_is_answered_and_what_fits_goes_through() {
    type Way = fn(Backend) -> Forward;
    let ways: [(Tracking, Way); 4] = [
        (Tracking::Nat, |_| Forward::Nat),
        (Tracking::Full, |backend| {
            Forward::Ipip(Some(scene::snat(Family::of(backend.address.ip()), 0).ip()))
        }),
        (Tracking::Full, |backend| Forward::Gue(Some(scene::snat(Family::of(backend.address.ip()), 0).ip()))),
        (Tracking::Full, |_| Forward::Dsr),
    ];
    for (tracking, forward) in ways {
        let mut bench = Bench::new();
        let mut ops = scene::ops();
        for op in &mut ops {
            if let Op::PutListener(_, listener) = op {
                listener.tracking = tracking;
            }
        }
        bench.apply(&ops);
        narrow(&mut bench, forward);
        for family in Family::ALL {
            for tags in [&[][..], &[(VLAN, 7)][..]] {
                let too_long = datagram(family, MAX_LEN + 1).tags(tags);
                let run = bench.expect(&too_long, Verdict::AnswerTooBig);
                let (mtu, quoted) = told(&too_long, &run.bytes);
                assert_eq!(mtu, u32::from(MAX_LEN));
                assert_eq!(quoted, too_long.build()[too_long.network_offset()..][..512]);
                bench.expect(&datagram(family, MAX_LEN).tags(tags), Verdict::Forward);
            }
        }
    }
}

#[test]
fn a_segment_of_an_established_connection_is_answered_too() {
    let mut bench = scene::bench();
    narrow(&mut bench, |_| Forward::Nat);
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 2);
        let segment = connection.request(flag::ACK).payload(&[1; 1400]);
        let run = bench.expect(&segment, Verdict::AnswerTooBig);
        assert_eq!(told(&segment, &run.bytes).0, u32::from(MAX_LEN));
        connection.goes_on(&mut bench);
    }
}

#[test]
fn whoever_may_not_be_told_is_dropped_and_counted() {
    let mut bench = scene::bench();
    narrow(&mut bench, |_| Forward::Nat);
    let may_be_cut = datagram(Family::V4, MAX_LEN + 1).patch(At::Network(6), &[0, 0]);
    bench.expect(&may_be_cut, Verdict::DropTooBig);
    // No IPv6 link is that narrow, and no sender would make shorter packets.
    bench.apply(&[scene::changed(Family::V6, 0, |backend| backend.max_len = Some(1279)), scene::wheel(&[0])]);
    bench.expect(&datagram(Family::V6, 1280), Verdict::DropTooBig);
}
