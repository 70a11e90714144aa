//! Fragments go where the first one of their packet went, and extension headers are no hindrance.

use nlb_agent::{
    datapath::{Backend, Family, Forward, Op, Picks, Ring, RingKey, Service, Tracking, Turns},
    schedule::{Member, bits_for, identity, ring},
};
use nlb_common::{abi::ring::Slot, verdict::Verdict};
use nlb_tests::packet::{Frame, flag, fragments};

use crate::{
    bench::Bench,
    connection::Connection,
    parsed::{Check, Parsed},
    scene::{self, SERVICE, TCP_PORT, UDP_PORT},
};

/// Length of an Ethernet header.
const LINK: usize = 14;

/// Runs the fragments, each of which is to meet a verdict; what came out.
#[track_caller]
fn run_all(bench: &mut Bench, pieces: &[Vec<u8>], verdict: Verdict) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        let run = bench.run(piece);
        assert_eq!(run.verdict, verdict, "{piece:02x?}");
        out.push(run.bytes);
    }
    out
}

/// A datagram of the `n`-th client, too long for one frame somewhere on its way.
fn datagram(family: Family, n: u16) -> Frame {
    let payload: Vec<u8> = (0..700_u16).map(|byte| byte as u8).collect();
    Frame::udp(scene::client(family, n), scene::vip(family, UDP_PORT)).payload(&payload)
}

#[test]
fn the_fragments_of_a_translated_datagram_make_one_right_datagram_in_both_directions() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let question = datagram(family, 1);
        let pieces = fragments::cut(&question.build(), 77, &[64, 128, 512]);
        let whole = Parsed::of(&fragments::join(&run_all(&mut bench, &pieces, Verdict::Forward)));
        assert_eq!(whole.checksum, Check::Right);
        assert_eq!(whole.payload, Parsed::of(&question.build()).payload);
        let known =
            Connection { client: question.from(), vip: question.to(), snat: whole.from, server: whole.to };

        let answer = known.reply().payload(&[5; 600]);
        let mut pieces = fragments::cut(&answer.build(), 78, &[16, 320]);
        // The last may come before the one in the middle.
        pieces.swap(1, 2);
        let whole = Parsed::of(&fragments::join(&run_all(&mut bench, &pieces, Verdict::Reply)));
        assert_eq!((whole.from, whole.to, whole.checksum), (known.vip, known.client, Check::Right));
        assert_eq!(whole.payload, [5; 600]);
    }
}

#[test]
fn a_fragmented_segment_is_translated_whole() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 2);
        let segment = connection.request(flag::ACK).payload(&[9; 300]);
        let pieces = fragments::cut(&segment.build(), 5, &[40, 200]);
        let whole = Parsed::of(&fragments::join(&run_all(&mut bench, &pieces, Verdict::Forward)));
        assert_eq!(
            (whole.from, whole.to, whole.checksum),
            (connection.snat, connection.server, Check::Right)
        );
        // Another packet that happens to have the same identification goes its own way.
        let other = Connection::established(&mut bench, family, 3);
        let pieces = fragments::cut(&other.request(flag::ACK).payload(&[8; 90]).build(), 5, &[40]);
        let whole = Parsed::of(&fragments::join(&run_all(&mut bench, &pieces, Verdict::Forward)));
        assert_eq!((whole.from, whole.to), (other.snat, other.server));
    }
}

#[test]
fn without_the_first_one_fragments_are_dropped_and_counted() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let pieces = fragments::cut(&datagram(family, 4).build(), 6, &[64, 128]);
        let [first, rest @ ..] = &pieces[..] else { panic!("three pieces") };
        run_all(&mut bench, rest, Verdict::DropFragment);
        run_all(&mut bench, std::slice::from_ref(first), Verdict::Forward);
        run_all(&mut bench, rest, Verdict::Forward);
        // Those of another packet do not follow it.
        let others = fragments::cut(&datagram(family, 4).build(), 7, &[64, 128]);
        run_all(&mut bench, &others[1..], Verdict::DropFragment);
        // What is the host's own stays so.
        let host = Frame::udp(scene::client(family, 4), scene::host_vip(family, 99)).payload(&[0; 64]);
        run_all(&mut bench, &fragments::cut(&host.build(), 8, &[16, 32]), Verdict::PassHost);
        let stranger = Frame::udp(scene::client(family, 4), scene::stranger(family, 9)).payload(&[0; 64]);
        run_all(&mut bench, &fragments::cut(&stranger.build(), 8, &[16, 32]), Verdict::PassNotOurs);
        // A first one without a whole transport header is none that others could follow.
        let pieces = fragments::cut(
            &Connection::established(&mut bench, family, 5).request(flag::ACK).payload(&[1; 64]).build(),
            9,
            &[8, 16],
        );
        run_all(&mut bench, &pieces, Verdict::DropFragment);
    }
}

#[test]
fn fragments_end_with_their_connections_hops() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let pieces = fragments::cut(&datagram(family, 6).build(), 6, &[64]);
        run_all(&mut bench, &pieces, Verdict::Forward);
        let mut last = pieces[1].clone();
        let (at, sum) = if family == Family::V4 { (LINK + 8, Some(LINK + 10)) } else { (LINK + 7, None) };
        // One word of the header is less by so many hops, and so its checksum more.
        let hops = last[at] - 1;
        last[at] = 1;
        if let Some(sum) = sum {
            let old = u32::from(u16::from_be_bytes([last[sum], last[sum + 1]])) + (u32::from(hops) << 8);
            let new = (old & 0xffff) + (old >> 16);
            last[sum..sum + 2].copy_from_slice(&(new as u16).to_be_bytes());
        }
        run_all(&mut bench, &[last], Verdict::DropTtlExpired);
    }
}

/// The scene with servers behind tunnels.
fn tunnels(tracking: Tracking, forward: fn(Backend) -> Forward) -> Bench {
    let mut bench = Bench::new();
    let mut ops = scene::ops();
    let mut service = Service { balance_unknown: true, ..Service::default() };
    for family in Family::ALL {
        let ids = scene::backends(family);
        let members: Vec<_> = (0..3)
            .map(|index| {
                let (id, backend) = scene::backend(family, index);
                Member { item: id.0 as u16, identity: identity(backend.address), weight: 1 }
            })
            .collect();
        let slots = ring(&members, bits_for(3)).into_iter().map(Slot::clean).collect();
        let turns = Turns::Wheel(ids.to_vec());
        service.picks[family.index()] = Picks { turns, ring: Ring { by: RingKey::Flow, slots } };
    }
    for op in &mut ops {
        match op {
            Op::PutListener(_, listener) => listener.tracking = tracking,
            Op::PutBackend(_, backend) => backend.forward = forward(*backend),
            Op::PutService(_, put) => *put = service.clone(),
            _ => {}
        }
    }
    bench.apply(&ops);
    assert!(ops.iter().any(|op| matches!(op, Op::PutService(id, _) if *id == SERVICE)));
    bench
}

/// How packets reach a backend.
type Way = fn(Backend) -> Forward;

fn source(backend: Backend) -> std::net::IpAddr {
    scene::snat(Family::of(backend.address.ip()), 0).ip()
}

#[test]
fn the_fragments_of_a_flow_to_a_tunnel_reach_the_server_of_the_first_one() {
    let ways: [(Way, usize); 3] = [
        (|backend| Forward::Ipip(Some(source(backend))), 0),
        (|backend| Forward::Gue(Some(source(backend))), 12),
        (|_| Forward::Dsr, 0),
    ];
    for (forward, between) in ways {
        for tracking in [Tracking::Full, Tracking::Transition, Tracking::None] {
            let mut bench = tunnels(tracking, forward);
            for family in Family::ALL {
                let mut servers = Vec::new();
                for n in 0..6 {
                    let frame = datagram(family, n);
                    let pieces = fragments::cut(&frame.build(), 100 + u32::from(n), &[64, 320]);
                    let out = run_all(&mut bench, &pieces, Verdict::Forward);
                    let server = out[0][..6].to_vec();
                    let outer = if family == Family::V4 { 20 } else { 40 };
                    let is_tunnel = out[0].len() != pieces[0].len();
                    let outer = if is_tunnel { outer + between } else { 0 };
                    let inner: Vec<Vec<u8>> =
                        (out.iter()).map(|bytes| [&bytes[..LINK], &bytes[LINK + outer..]].concat()).collect();
                    assert!(out.iter().all(|bytes| bytes[..6] == server), "one server for all parts");
                    let (whole, before) = (Parsed::of(&fragments::join(&inner)), Parsed::of(&frame.build()));
                    assert_eq!(
                        (whole.from, whole.to, whole.checksum),
                        (before.from, before.to, Check::Right)
                    );
                    assert_eq!((whole.payload, whole.hops), (before.payload, before.hops - 1));
                    servers.push(server);
                }
                servers.sort();
                servers.dedup();
                assert!(servers.len() > 1, "{family} {tracking:?}: all at one server");
            }
        }
    }
}

/// Extension headers of IPv6, as bytes with the number of the first one; what follows them is TCP.
fn extensions() -> Vec<(u8, Vec<u8>)> {
    let options = |next: u8| vec![next, 0, 1, 4, 0, 0, 0, 0];
    let long = |next: u8| [vec![next, 2, 1, 20], vec![0; 20]].concat();
    let routing = |next: u8| vec![next, 0, 4, 0, 0, 0, 0, 0];
    let authentication = |next: u8| [vec![next, 1, 0, 0], vec![7; 8]].concat();
    let atomic = |next: u8| vec![next, 0, 0, 0, 0, 0, 0, 9];
    vec![
        (0, options(6)),
        (60, long(6)),
        (43, routing(6)),
        (51, authentication(6)),
        (44, atomic(6)),
        (0, [options(60), long(43), routing(44), atomic(51), authentication(60), options(6)].concat()),
    ]
}

/// A frame of IPv6 with extension headers put in.
fn extended(frame: &Frame, first: u8, headers: &[u8]) -> Vec<u8> {
    let mut bytes = frame.build();
    let len = u16::from_be_bytes([bytes[LINK + 4], bytes[LINK + 5]]) + headers.len() as u16;
    bytes[LINK + 4..LINK + 6].copy_from_slice(&len.to_be_bytes());
    bytes[LINK + 6] = first;
    bytes.splice(LINK + 40..LINK + 40, headers.iter().copied());
    bytes
}

#[test]
fn extension_headers_are_followed() {
    let family = Family::V6;
    let mut bench = scene::bench();
    for (n, (first, headers)) in (10..).zip(extensions()) {
        let client = scene::client(family, n);
        let vip = scene::vip(family, TCP_PORT);
        let syn = extended(&Frame::tcp(client, vip, flag::SYN), first, &headers);
        let run = bench.run(&syn);
        assert_eq!(run.verdict, Verdict::Forward, "{headers:02x?}");
        let (before, out) = (Parsed::of(&syn), run.parsed());
        assert_eq!(out.checksum, Check::Right);
        assert_eq!((out.hops, &out.ip_rest), (before.hops - 1, &before.ip_rest), "the flow label stays");
        assert_eq!(run.bytes[LINK + 6], first);
        assert_eq!(run.bytes[LINK + 40..][..headers.len()], headers);
        // The whole connection, with and without them.
        let connection = Connection { client, vip, snat: out.from, server: out.to };
        let answer = bench.run(&extended(&connection.answer(flag::SYN_ACK), first, &headers));
        assert_eq!((answer.verdict, answer.parsed().to), (Verdict::Reply, client));
        assert_eq!(answer.parsed().checksum, Check::Right);
        connection.goes_on(&mut bench);
        let again = bench.run(&extended(&connection.request(flag::ACK), first, &headers));
        assert_eq!((again.verdict, again.parsed().to), (Verdict::Forward, connection.server));
        // What has no future is told so, without the headers.
        let unknown = Frame::tcp(scene::client(family, n + 100), vip, flag::ACK);
        let reset = bench.run(&extended(&unknown, first, &headers));
        assert_eq!(reset.verdict, Verdict::ResetUnknownFlow);
        assert_eq!((reset.parsed().to, reset.parsed().checksum), (unknown.from(), Check::Right));
    }
}

#[test]
fn extension_headers_that_cannot_be_followed_are_dropped_at_a_vip() {
    let family = Family::V6;
    let mut bench = scene::bench();
    let frame = |to| Frame::tcp(scene::client(family, 0), to, flag::SYN);
    let rows: [(&str, u8, Vec<u8>); 6] = [
        (
            "hop-by-hop options behind others",
            60,
            [[0, 0, 1, 4, 0, 0, 0, 0], [6, 0, 1, 4, 0, 0, 0, 0]].concat(),
        ),
        ("segments left", 43, vec![6, 0, 4, 1, 0, 0, 0, 0]),
        ("longer than the packet", 60, vec![6, 200, 1, 4, 0, 0, 0, 0]),
        ("an authentication header of no length", 51, vec![6, 0, 0, 0, 0, 0, 0, 0]),
        ("too far behind", 60, [vec![6, 30], vec![0; 246]].concat()),
        ("too many", 60, [[60, 0, 1, 4, 0, 0, 0, 0]; 7].concat()),
    ];
    for (what, first, headers) in rows {
        for (to, verdict) in [
            (scene::vip(family, TCP_PORT), Verdict::DropExtensionHeader),
            (scene::host_vip(family, 22), Verdict::PassHost),
            (scene::stranger(family, 22), Verdict::PassNotOurs),
        ] {
            assert_eq!(bench.run(&extended(&frame(to), first, &headers)).verdict, verdict, "{what}");
        }
    }
}
