//! Pings.

use std::net::{IpAddr, SocketAddr};

use nlb_agent::datapath::{Family, LocalAddress, Op};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{At, Checksum, Frame, SERVICE_VLAN, Tag, VLAN};

use crate::{
    announce,
    bench::{Action, Bench},
    scene::{self, client, host_vip, snat, stranger, vip},
};

const TAGS: [&[Tag]; 4] =
    [&[], &[(VLAN, 7)], &[(SERVICE_VLAN, 0x2005)], &[(SERVICE_VLAN, 5), (VLAN, 0xe006)]];

/// Identifier, sequence number, and what `ping` sends.
const DATA: &[u8] = b"\x12\x34\0\x01 !\"#$%&'()*+,-./01234567";

fn types(family: Family) -> [u8; 2] {
    if family == Family::V4 { [8, 0] } else { [128, 129] }
}

/// An echo request.
pub(crate) fn request(from: SocketAddr, to: SocketAddr) -> Frame {
    let [request, _] = types(if to.is_ipv4() { Family::V4 } else { Family::V6 });
    Frame::icmp(from, to, request, 0).payload(DATA)
}

fn bench() -> Bench {
    let mut bench = scene::bench();
    bench.apply(&announce::ops());
    bench
}

#[test]
fn a_ping_to_a_vip_is_answered_from_it_to_where_it_came_from() {
    let mut bench = bench();
    for family in Family::ALL {
        let (client, vip, [_, reply]) = (client(family, 0), vip(family, 0), types(family));
        for tags in TAGS {
            for (data, padding) in [(DATA, 0), (&DATA[..4], 18), (&DATA[..5], 1), (&[0xff; 1472][..], 0)] {
                for hops in [1, 61, 64, 255] {
                    let asked = request(client, vip).payload(data).tags(tags).hops(hops).padding(padding);
                    let run = bench.send(&asked);
                    assert_eq!(
                        (run.verdict, run.action),
                        (Verdict::AnswerEcho, Action::Tx),
                        "{family} {tags:?}"
                    );
                    let answer = Frame::icmp(vip, client, reply, 0).payload(data).tags(tags).hops(64);
                    let answer = answer.padding(padding).macs(Frame::SOURCE, Frame::DESTINATION);
                    assert_eq!(run.bytes, answer.build(), "{family} {tags:?} {hops}");
                }
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_answered_with_a_wrong_one() {
    let mut bench = bench();
    for family in Family::ALL {
        let (client, vip, [_, reply]) = (client(family, 0), vip(family, 0), types(family));
        let run = bench.send(&request(client, vip).checksum(Checksum::Wrong));
        assert_eq!(run.verdict, Verdict::AnswerEcho);
        let answer = Frame::icmp(vip, client, reply, 0).payload(DATA).hops(64);
        let right = answer.macs(Frame::SOURCE, Frame::DESTINATION).build();
        assert_eq!(run.bytes.len(), right.len());
        assert_ne!(run.bytes, right, "{family}");
    }
}

#[test]
fn other_icmp_to_a_vip_is_the_kernels() {
    let mut bench = bench();
    for family in Family::ALL {
        let (client, vip, [kind, reply]) = (client(family, 0), vip(family, 0), types(family));
        let from = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let icmp = |kind, code| Frame::icmp(client, vip, kind, code).payload(DATA);
        let mut rows = vec![
            ("a reply", icmp(reply, 0)),
            ("another code", icmp(kind, 1)),
            ("destination unreachable", icmp(if family == Family::V4 { 3 } else { 1 }, 0)),
            ("the other family's type", icmp(if family == Family::V4 { 128 } else { 8 }, 0)),
            ("without identifier", request(client, vip).payload(&[])),
            ("without sequence number", request(client, vip).payload(&DATA[..3])),
            ("without sequence number but padding", request(client, vip).payload(&DATA[..3]).padding(40)),
            ("from the VIP", Frame::icmp(vip, vip, kind, 0).payload(DATA)),
            ("to a group of stations", request(client, vip).macs([0xff; 6], Frame::SOURCE)),
            ("from a group of stations", request(client, vip).macs(Frame::DESTINATION, [0xff; 6])),
            ("to the host's own VIP", request(client, host_vip(family, 0))),
            ("to a SNAT address", request(client, snat(family, 0))),
        ];
        let sources: &[&str] = match family {
            Family::V4 => &["0.0.0.0", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"],
            Family::V6 => &["::", "::1", "ff02::1", "ff0e::1"],
        };
        rows.extend(sources.iter().map(|source| ("from nobody in particular", request(from(source), vip))));
        if family == Family::V4 {
            rows.push(("with options", request(client, vip).ip_options(&[1, 1, 1, 0])));
        }
        for (name, frame) in rows {
            let run = bench.send(&frame);
            assert_eq!((run.verdict, run.action), (Verdict::PassProtocol, Action::Pass), "{family}: {name}");
            assert_eq!(run.bytes, frame.build(), "{family}: {name}");
        }
        bench.expect(&request(client, stranger(family, 0)), Verdict::PassNotOurs);
    }
}

#[test]
fn fragments_of_pings_are_not_answered() {
    let mut bench = bench();
    let family = Family::V4;
    for bits in [0x2000u16, 0x2001, 0x0001] {
        let fragment = |to| request(client(family, 0), to).patch(At::Network(6), &bits.to_be_bytes());
        bench.expect(&fragment(vip(family, 0)), Verdict::DropFragment);
        bench.expect(&fragment(host_vip(family, 0)), Verdict::PassHost);
    }
    let family = Family::V6;
    let header = [&[58, 0, 0, 1, 0, 0, 0, 9][..], &[128, 0, 0, 0], DATA].concat();
    let fragment = Frame::other(client(family, 0), vip(family, 0), 44).payload(&header);
    bench.expect(&fragment, Verdict::DropFragment);
}

#[test]
fn a_ping_cut_short_is_never_answered() {
    let mut bench = bench();
    for family in Family::ALL {
        for tags in TAGS {
            let frame = request(client(family, 0), vip(family, 0)).tags(tags);
            let whole = frame.build();
            for len in 14..whole.len() {
                let run = bench.run(&whole[..len]);
                assert_eq!(
                    (run.action, &run.bytes[..]),
                    (Action::Pass, &whole[..len]),
                    "{family}: {len} {tags:?}"
                );
            }
            // The packet's own length says that the message's header is not all there.
            for message in 0..8u8 {
                let (at, len) = if family == Family::V4 { (2, 20 + message) } else { (4, message) };
                bench.expect(&frame.clone().patch(At::Network(at), &[0, len]), Verdict::PassProtocol);
            }
        }
    }
}

#[test]
fn pings_are_answered_only_where_the_balancer_says_so_and_in_both_ways_at_once() {
    let mut bench = bench();
    for family in Family::ALL {
        let (client, target) = (client(family, 0), vip(family, 0));
        let put = |bench: &mut Bench, address: IpAddr, announce, echo| {
            let vip = Some(scene::vip_id(family));
            let local = LocalAddress { vip, announce, echo, ..LocalAddress::default() };
            bench.apply(&[Op::PutAddress(address, local)]);
        };
        for announce in [false, true] {
            put(&mut bench, target.ip(), announce, true);
            bench.expect(&request(client, target), Verdict::AnswerEcho);
            put(&mut bench, target.ip(), announce, false);
            bench.expect(&request(client, target), Verdict::PassProtocol);
        }
    }
}
