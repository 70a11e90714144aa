//! What is none of the balancer's business, and what it refuses.

use std::net::SocketAddr;

use nlb_agent::datapath::Family;
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{At, Frame, SERVICE_VLAN, VLAN, flag};

use crate::{
    bench::Action,
    connection::Connection,
    scene::{
        self, FIRST_PORT, OTHER_PORT, SERVER_PORT, TCP_PORT, UDP_PORT, client, host_vip, server, snat,
        stranger, vip,
    },
};

/// What a row is called, its packet, and what becomes of it.
type Row = (&'static str, Frame, Verdict);

#[track_caller]
fn check(rows: impl Fn(Family) -> Vec<Row>) {
    let mut bench = scene::bench();
    for family in Family::ALL {
        for (name, frame, verdict) in rows(family) {
            let run = bench.send(&frame);
            let action = if verdict.name().starts_with("PASS") { Action::Pass } else { Action::Drop };
            assert_eq!((run.verdict, run.action), (verdict, action), "{family}: {name}");
            if action == Action::Pass {
                assert_eq!(run.bytes, frame.build(), "{family}: {name}: changed");
            }
        }
    }
}

fn tcp(family: Family, to: SocketAddr) -> Frame {
    Frame::tcp(client(family, 0), to, flag::SYN)
}

fn udp(family: Family, to: SocketAddr) -> Frame {
    Frame::udp(client(family, 0), to).payload(b"question")
}

#[test]
fn what_is_not_ip_goes_to_the_kernel() {
    check(|family| {
        let syn = tcp(family, vip(family, TCP_PORT));
        let ethertype = |value: u16| At::Link(12).bytes(&syn, value);
        vec![
            ("ARP", ethertype(0x0806), Verdict::PassNotIp),
            ("LLDP", ethertype(0x88cc), Verdict::PassNotIp),
            ("an 802.3 length", ethertype(46), Verdict::PassNotIp),
            ("three tags", syn.clone().tags(&[(VLAN, 1), (VLAN, 2), (VLAN, 3)]), Verdict::PassNotIp),
            (
                "ARP in two tags",
                syn.clone().tags(&[(SERVICE_VLAN, 1), (VLAN, 2)]).patch(At::Link(20), &[8, 6]),
                Verdict::PassNotIp,
            ),
        ]
    });
}

/// A packet's field made wrong.
trait Broken {
    fn bytes(self, frame: &Frame, value: u16) -> Frame;
}

impl Broken for At {
    fn bytes(self, frame: &Frame, value: u16) -> Frame {
        frame.clone().patch(self, &value.to_be_bytes())
    }
}

#[test]
fn a_damaged_ip_header_goes_to_the_kernel() {
    check(|family| {
        let syn = tcp(family, vip(family, TCP_PORT));
        let total = (syn.build().len() - 14) as u16;
        let malformed =
            |name, at: At, value: &[u8]| (name, syn.clone().patch(at, value), Verdict::PassMalformed);
        match family {
            Family::V4 => vec![
                malformed("version 6", At::Network(0), &[0x65]),
                malformed("version 0", At::Network(0), &[0x05]),
                malformed("IHL 0", At::Network(0), &[0x40]),
                malformed("IHL 4", At::Network(0), &[0x44]),
                malformed("header longer than the packet", At::Network(0), &[0x4f]),
                malformed("total length beyond the frame", At::Network(2), &(total + 1).to_be_bytes()),
                malformed("total length 65535", At::Network(2), &[0xff, 0xff]),
                malformed("total length below the header", At::Network(2), &[0, 19]),
                malformed("total length 0", At::Network(2), &[0, 0]),
            ],
            Family::V6 => vec![
                malformed("version 4", At::Network(0), &[0x42]),
                malformed("version 15", At::Network(0), &[0xf2]),
                malformed("payload length beyond the frame", At::Network(4), &(total - 39).to_be_bytes()),
                malformed("payload length 65535", At::Network(4), &[0xff, 0xff]),
            ],
        }
    });
}

#[test]
fn a_frame_cut_short_is_passed_or_dropped_but_never_sent() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        for frame in [tcp(family, vip(family, TCP_PORT)), udp(family, vip(family, UDP_PORT))] {
            let tagged = frame.clone().tags(&[(SERVICE_VLAN, 5), (VLAN, 6)]);
            for bytes in [frame.build(), tagged.build()] {
                for len in 14..bytes.len() {
                    let run = bench.run(&bytes[..len]);
                    let expected = (Verdict::PassMalformed, Action::Pass);
                    assert_eq!(
                        (run.verdict, run.action),
                        expected,
                        "{family}: {len} of {} bytes",
                        bytes.len()
                    );
                    assert_eq!(run.bytes, bytes[..len]);
                }
            }
        }
    }
}

#[test]
fn what_is_to_nobody_here_goes_to_the_kernel() {
    check(|family| {
        vec![
            ("a stranger, TCP", tcp(family, stranger(family, TCP_PORT)), Verdict::PassNotOurs),
            ("a stranger, UDP", udp(family, stranger(family, UDP_PORT)), Verdict::PassNotOurs),
            ("a stranger, TTL 0", tcp(family, stranger(family, TCP_PORT)).hops(0), Verdict::PassNotOurs),
            (
                "from the VIP",
                Frame::tcp(vip(family, TCP_PORT), client(family, 0), flag::ACK),
                Verdict::PassNotOurs,
            ),
            ("SNAT address, no flow", tcp(family, snat(family, FIRST_PORT)), Verdict::PassNoFlow),
            ("SNAT address, SSH", tcp(family, snat(family, 22)), Verdict::PassNoFlow),
            ("SNAT address, port 0", udp(family, snat(family, 0)), Verdict::PassNoFlow),
            (
                "SNAT address, damaged",
                tcp(family, snat(family, 22)).patch(At::Transport(12), &[0x40]),
                Verdict::PassNoFlow,
            ),
        ]
    });
}

#[test]
fn a_reply_is_one_only_from_the_server_of_its_flow() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::syn(&mut bench, family, 1);
        let (from, to) = (connection.server, connection.snat);
        let other_port = SocketAddr::new(from.ip(), SERVER_PORT + 1);
        let other_server = SocketAddr::new(server(family, 2).ip(), from.port());
        for frame in [
            Frame::tcp(other_port, to, flag::SYN_ACK),
            Frame::tcp(other_server, to, flag::SYN_ACK),
            Frame::udp(from, to),
            Frame::tcp(from, SocketAddr::new(to.ip(), to.port() + 1), flag::SYN_ACK),
        ] {
            bench.expect(&frame, Verdict::PassNoFlow);
        }
        bench.expect(&Frame::tcp(from, to, flag::SYN_ACK), Verdict::Reply);
    }
}

#[test]
fn ports_without_a_listener_are_closed_unless_the_host_may_want_them() {
    check(|family| {
        vec![
            ("VIP, other port", tcp(family, vip(family, OTHER_PORT)), Verdict::DropNoListener),
            ("VIP, UDP to the TCP port", udp(family, vip(family, TCP_PORT)), Verdict::DropNoListener),
            ("VIP, TCP to the UDP port", tcp(family, vip(family, UDP_PORT)), Verdict::DropNoListener),
            ("VIP, port 0", tcp(family, vip(family, 0)), Verdict::DropNoListener),
            ("host's VIP", tcp(family, host_vip(family, 22)), Verdict::PassHost),
            ("host's VIP, UDP", udp(family, host_vip(family, 123)), Verdict::PassHost),
        ]
    });
}

#[test]
fn other_protocols_to_a_vip_go_to_the_kernel() {
    check(|family| {
        let other = |protocol| {
            Frame::other(client(family, 0), vip(family, 0), protocol).payload(&[8, 0, 0, 0, 0, 0, 0, 0])
        };
        let icmp = if family == Family::V4 { 1 } else { 58 };
        vec![
            ("ICMP", other(icmp), Verdict::PassProtocol),
            ("OSPF", other(89), Verdict::PassProtocol),
            ("ESP", other(50), Verdict::PassProtocol),
            ("SCTP", other(132), Verdict::PassProtocol),
            ("no next header", other(59), Verdict::PassProtocol),
            (
                "to a SNAT address",
                Frame::other(client(family, 0), snat(family, 0), icmp),
                Verdict::PassProtocol,
            ),
        ]
    });
}

#[test]
fn dont_fragment_and_the_reserved_bit_make_no_fragment() {
    let mut bench = scene::bench();
    for bits in [0x4000, 0x8000, 0xc000, 0] {
        let frame = At::Network(6).bytes(&tcp(Family::V4, vip(Family::V4, TCP_PORT)), bits);
        bench.expect(&frame, Verdict::Forward);
    }
}

#[test]
fn what_an_extension_header_is_in_ipv6_is_another_protocol_in_ipv4() {
    let mut bench = scene::bench();
    let frame = Frame::other(client(Family::V4, 0), vip(Family::V4, 0), 43);
    bench.expect(&frame, Verdict::PassProtocol);
}

#[test]
fn a_damaged_transport_header_to_a_vip_is_dropped_and_to_the_host_passed() {
    check(|family| {
        let mut rows = Vec::new();
        for (to_vip, verdict) in [(true, Verdict::DropMalformed), (false, Verdict::PassHost)] {
            let to = |port| if to_vip { vip(family, port) } else { host_vip(family, port) };
            let (syn, question) = (tcp(family, to(TCP_PORT)), udp(family, to(UDP_PORT)));
            let offset = |words: u8| syn.clone().patch(At::Transport(12), &[words << 4]);
            let length = |len: u16| At::Transport(4).bytes(&question, len);
            let short =
                |protocol, len| Frame::other(client(family, 0), to(0), protocol).payload(&[0; 64][..len]);
            rows.extend([
                ("TCP data offset 0", offset(0), verdict),
                ("TCP data offset 4", offset(4), verdict),
                ("TCP data offset beyond the packet", offset(6), verdict),
                ("TCP data offset into the padding", offset(6).padding(40), verdict),
                ("TCP without any byte", short(6, 0), verdict),
                ("TCP without any byte but padding", short(6, 0).padding(40), verdict),
                ("TCP of 19 bytes", short(6, 19), verdict),
                ("TCP of 19 bytes and padding", short(6, 19).padding(40), verdict),
                ("UDP length 0", length(0), verdict),
                ("UDP length 7", length(7), verdict),
                ("UDP length beyond the packet", length(17), verdict),
                ("UDP length into the padding", length(17).padding(20), verdict),
                ("UDP of 7 bytes", short(17, 7), verdict),
                ("UDP of 7 bytes and padding", short(17, 7).padding(40), verdict),
            ]);
        }
        rows
    });
}

#[test]
fn the_last_hop_is_not_for_forwarding() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 3);
        for hops in [0, 1] {
            let syn = Frame::tcp(client(family, 4), vip(family, TCP_PORT), flag::SYN);
            bench.expect(&syn.hops(hops), Verdict::DropTtlExpired);
            bench.expect(&connection.request(flag::ACK).hops(hops), Verdict::DropTtlExpired);
            bench.expect(&connection.answer(flag::ACK).hops(hops), Verdict::DropTtlExpired);
        }
        bench.expect(&connection.request(flag::ACK).hops(2), Verdict::Forward);
        bench.expect(&connection.answer(flag::ACK).hops(2), Verdict::Reply);
    }
}
