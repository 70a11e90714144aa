//! What a packet looks like when it leaves: forward and back, over every way.

use nlb_agent::datapath::{Family, NextHop};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Checksum, Frame, SERVICE_VLAN, Tag, VLAN, flag};

use crate::{
    bench::{Action, Bench},
    connection::Connection,
    parsed::{Check, Parsed},
    scene::{self, EGRESS_MAC, TCP_PORT, UDP_PORT, Way, changed, client, server, server_mac, vip},
};

/// Tags that clients' packets come with; priorities are part of them.
const TAGS: [&[Tag]; 5] = [
    &[],
    &[(VLAN, 0x2064)],
    &[(VLAN, 0x0064), (VLAN, 0x00c8)],
    &[(SERVICE_VLAN, 0xe064)],
    &[(SERVICE_VLAN, 7), (VLAN, 0x7008)],
];

/// A bench on which every server is reached over `way`.
fn bench_over(way: Way) -> Bench {
    let mut bench = scene::bench();
    for family in Family::ALL {
        for index in 0..3 {
            let next_hop = Some(NextHop { egress: way.id(), mac: server_mac(index) });
            bench.apply(&[changed(family, index, |backend| backend.next_hop = next_hop)]);
        }
    }
    bench
}

/// Sends a client's packet over `way`, and asserts that nothing changes in it but what must.
#[track_caller]
fn forward(bench: &mut Bench, frame: &Frame, way: Way) -> Connection {
    let run = bench.expect(frame, Verdict::Forward);
    let out = run.parsed();
    let connection = Connection { client: frame.from(), vip: frame.to(), snat: out.from, server: out.to };
    let family = Family::of(frame.to().ip());
    let index = (0..3).find(|&index| server(family, index) == out.to).expect("it goes to one of the servers");
    let tags: Vec<Tag> = way.vlan().map(|vlan| (VLAN, vlan)).into_iter().collect();
    let sent = Parsed::of(&frame.build());
    let expected =
        sent.moved(&tags, [server_mac(index), EGRESS_MAC], scene::snat(family, out.from.port()), out.to);
    assert_eq!(out, expected, "{frame:?}");
    let action = if matches!(way, Way::Back | Way::BackTagged) { Action::Tx } else { Action::Redirect };
    assert_eq!(run.action, action, "{frame:?}");
    connection
}

/// Sends a server's packet, and asserts that it reaches the client the way the client's packets came.
#[track_caller]
fn back(bench: &mut Bench, frame: &Frame, connection: &Connection, tags: &[Tag]) {
    let run = bench.expect(frame, Verdict::Reply);
    let sent = Parsed::of(&frame.build());
    let expected = sent.moved(tags, [Frame::SOURCE, Frame::DESTINATION], connection.vip, connection.client);
    assert_eq!(run.parsed(), expected, "{frame:?}");
    assert_eq!(run.action, Action::Tx);
}

#[test]
fn tags_are_the_ways_own_there_and_the_clients_own_back() {
    for way in Way::ALL {
        let mut bench = bench_over(way);
        let way_tags: Vec<Tag> = way.vlan().map(|vlan| (VLAN, vlan)).into_iter().collect();
        for family in Family::ALL {
            for (n, tags) in (0..).zip(TAGS) {
                let syn = Frame::tcp(client(family, n), vip(family, TCP_PORT), flag::SYN).tags(tags);
                let connection = forward(&mut bench, &syn, way);
                let answer = connection.answer(flag::SYN_ACK).tags(&way_tags);
                back(&mut bench, &answer, &connection, tags);
                let request = connection.request(flag::ACK | flag::PSH).tags(tags).payload(b"GET / HTTP/1.1");
                assert_eq!(forward(&mut bench, &request, way), connection);

                let question =
                    Frame::udp(client(family, n), vip(family, UDP_PORT)).tags(tags).payload(b"who?");
                let flow = forward(&mut bench, &question, way);
                back(&mut bench, &flow.reply().tags(&way_tags).payload(b"me"), &flow, tags);
            }
        }
    }
}

/// A router may fail over: replies follow the client's newest packet.
#[test]
fn replies_go_back_the_way_the_last_packet_came() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 1);
        let other = [0x02, 9, 9, 9, 9, 9];
        let tags = [(VLAN, 0x0123)];
        bench.expect(
            &connection.request(flag::ACK).macs(Frame::DESTINATION, other).tags(&tags),
            Verdict::Forward,
        );
        let out = bench.expect(&connection.answer(flag::ACK), Verdict::Reply).parsed();
        assert_eq!((out.to_mac, out.from_mac, out.tags), (other, Frame::DESTINATION, tags.to_vec()));
    }
}

#[test]
fn options_and_payloads_of_any_size_arrive_as_they_were() {
    let mut bench = scene::bench();
    let long: Vec<u8> = (0..1400u32).map(|n| (n * 7) as u8).collect();
    for family in Family::ALL {
        let mut n = 100;
        for ip_options in [&[][..], &[1, 1, 1, 0], &[148, 4, 0, 0, 1, 1, 1, 0], &[1; 40]] {
            for tcp_options in [&[][..], &[2, 4, 5, 0xb4], &[1; 40]] {
                for payload in [&[][..], b"a", b"abc", &long] {
                    n += 1;
                    let dress = |frame: Frame| frame.ip_options(ip_options).payload(payload);
                    let syn = dress(Frame::tcp(client(family, n), vip(family, TCP_PORT), flag::SYN))
                        .tcp_options(tcp_options);
                    let connection = forward(&mut bench, &syn, Way::Back);
                    let answer = dress(connection.answer(flag::SYN_ACK)).tcp_options(tcp_options);
                    back(&mut bench, &answer, &connection, &[]);
                    let flow = forward(
                        &mut bench,
                        &dress(Frame::udp(client(family, n), vip(family, UDP_PORT))),
                        Way::Back,
                    );
                    back(&mut bench, &dress(flow.reply()), &flow, &[]);
                }
            }
        }
    }
}

#[test]
fn ethernet_padding_stays_behind_a_short_packet() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        for padding in [1, 6, 18] {
            let syn =
                Frame::tcp(client(family, padding as u16), vip(family, TCP_PORT), flag::SYN).padding(padding);
            let connection = forward(&mut bench, &syn, Way::Back);
            back(&mut bench, &connection.answer(flag::SYN_ACK).padding(padding), &connection, &[]);
        }
    }
}

/// All flags but those that open or end a connection, sequence numbers at the wrap: none of it is the balancer's.
#[test]
fn segments_of_a_connection_keep_numbers_and_flags() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 1);
        for flags in [flag::ACK, flag::ACK | flag::PSH, flag::ACK | 0x20, flag::ACK | 0xc0, 0] {
            for sequence in [0, 1, 0x7fff_ffff, 0xffff_ffff] {
                let request = connection.request(flags).numbers(sequence, !sequence);
                assert_eq!(forward(&mut bench, &request, Way::Back), connection);
                back(&mut bench, &connection.answer(flags).numbers(!sequence, sequence), &connection, &[]);
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_not_made_right_on_the_way() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let syn = Frame::tcp(client(family, 1), vip(family, TCP_PORT), flag::SYN).checksum(Checksum::Wrong);
        let question =
            Frame::udp(client(family, 1), vip(family, UDP_PORT)).payload(b"x").checksum(Checksum::Wrong);
        for frame in [syn, question] {
            assert_eq!(Parsed::of(&frame.build()).checksum, Check::Wrong);
            forward(&mut bench, &frame, Way::Back);
        }
    }
}

#[test]
fn a_udp_datagram_without_checksum_stays_without() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let question =
            Frame::udp(client(family, 1), vip(family, UDP_PORT)).payload(b"x").checksum(Checksum::Zero);
        let flow = forward(&mut bench, &question, Way::Back);
        let reply = flow.reply().payload(b"y").checksum(Checksum::Zero);
        assert_eq!(Parsed::of(&reply.build()).checksum, Check::None);
        back(&mut bench, &reply, &flow, &[]);
    }
}

/// RFC 768: a checksum that comes out as zero is sent as all ones, for zero says that there is none.
#[test]
fn a_udp_checksum_of_zero_is_sent_as_ffff() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let flow = Connection::datagram(&mut bench, family, 1);
        // The payload's one word is chosen so that the sum of the packet that leaves is zero: one's complement.
        let field = |bytes: &[u8], frame: &Frame| {
            let at = frame.transport_offset() + 6;
            u16::from_be_bytes([bytes[at], bytes[at + 1]])
        };
        let blank = flow.question().payload(&[0, 0]);
        let left = field(&bench.send(&blank).bytes, &blank);
        let question = flow.question().payload(&left.to_be_bytes());
        assert_eq!(forward(&mut bench, &question, Way::Back), flow);
        let run = bench.send(&question);
        assert_eq!(field(&run.bytes, &question), 0xffff);
        // etherparse agrees that this is the right one.
        assert_eq!(run.parsed().checksum, Check::Right);
    }
}
