//! Tunnels: the flow table, half-open flows, schedulers, persistence, deadlines, and exact counts of connections.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use nlb_agent::{
    datapath::{
        Backend, BackendId, BackendState, Datapath as _, Eligibility, Family, Forward, Listener, Op, Picks,
        Ring, RingKey, Service, Tracking, Turns, aya::Sizes,
    },
    model::{OnDrainExpiry, Protocol},
    schedule::{Member, bits_for, identity, ring},
};
use nlb_common::{abi::ring::Slot, event::Event, ticks::Ticks, verdict::Verdict};
use nlb_tests::packet::{Frame, flag};

use crate::{
    bench::{Bench, Run},
    parsed::Parsed,
    scene::{self, SERVICE, TCP_PORT, UDP_PORT},
};

/// Length of an Ethernet header.
const LINK: usize = 14;
/// Length of the headers of UDP and GUE.
const GUE: usize = 12;
/// The protocol number of UDP.
const UDP: u8 = 17;

/// The scene with its listeners as tunnels.
pub(crate) fn bench(tracking: Tracking, turns: impl Fn(&[BackendId]) -> Turns) -> Bench {
    set_up(Bench::new(), tracking, turns)
}

fn set_up(mut bench: Bench, tracking: Tracking, turns: impl Fn(&[BackendId]) -> Turns) -> Bench {
    let mut ops = scene::ops();
    let mut service = Service { balance_unknown: true, ..Service::default() };
    for family in Family::ALL {
        let ids = scene::backends(family);
        service.picks[family.index()] = Picks { turns: turns(&ids), ring: ring_of(family, &[0, 1, 2]) };
    }
    for op in &mut ops {
        match op {
            Op::PutListener(_, listener) => listener.tracking = tracking,
            Op::PutBackend(_, backend) => *backend = tunnelled(*backend),
            Op::PutService(_, put) => *put = service.clone(),
            _ => {}
        }
    }
    bench.apply(&ops);
    bench
}

pub(crate) fn round_robin(ids: &[BackendId]) -> Turns {
    Turns::Wheel(ids.to_vec())
}

fn tunnelled(backend: Backend) -> Backend {
    let source = scene::snat(Family::of(backend.address.ip()), 0).ip();
    Backend { forward: Forward::Ipip(Some(source)), ..backend }
}

/// A backend of the scene, changed.
fn changed(family: Family, index: usize, change: impl FnOnce(&mut Backend)) -> Op {
    let (id, backend) = scene::backend(family, index);
    let mut backend = tunnelled(backend);
    change(&mut backend);
    Op::PutBackend(id, backend)
}

fn ring_of(family: Family, servers: &[usize]) -> Ring {
    let members: Vec<_> = (servers.iter())
        .map(|&index| {
            let (id, backend) = scene::backend(family, index);
            Member { item: id.0 as u16, identity: identity(backend.address), weight: 1 }
        })
        .collect();
    let slots = ring(&members, bits_for(3)).into_iter().map(Slot::clean).collect();
    Ring { by: RingKey::Flow, slots }
}

fn segment(family: Family, n: u16, flags: u8) -> Frame {
    Frame::tcp(scene::client(family, n), scene::vip(family, TCP_PORT), flags)
}

/// Which server a frame went to; what is in the tunnel is the client's packet, one hop further.
#[track_caller]
fn server_of(sent: &Frame, run: &Run) -> usize {
    let index = usize::from(run.bytes[5]);
    assert_eq!(run.bytes[..6], scene::server_mac(index));
    let family = Family::of(sent.to().ip());
    let outer = if family == Family::V4 { 20 } else { 40 };
    let header = &run.bytes[LINK..LINK + outer];
    let protocol = if family == Family::V4 { header[9] } else { header[6] };
    let inside = if family == Family::V4 { 4 } else { 41 };
    let between = if protocol == UDP { GUE } else { 0 };
    if protocol == UDP {
        let gue = &run.bytes[LINK + outer..][..GUE];
        assert!(u16::from_be_bytes([gue[0], gue[1]]) >= 0xc000, "its source port");
        let len = (run.bytes.len() - LINK - outer) as u16;
        assert_eq!((&gue[2..4], &gue[4..6]), (&6080_u16.to_be_bytes()[..], &len.to_be_bytes()[..]));
        assert_eq!(gue[6..], [0, 0, 0, inside, 0, 0]);
    } else {
        assert_eq!(protocol, inside);
    }
    let inner = Parsed::of(&[&run.bytes[..LINK], &run.bytes[LINK + outer + between..]].concat());
    let before = Parsed::of(&sent.build());
    let macs = [inner.to_mac, inner.from_mac];
    assert_eq!(inner, before.moved(&[], macs, sent.from(), sent.to()), "{family}: the packet inside");
    let server = scene::server(family, index).ip();
    match server {
        std::net::IpAddr::V4(server) => {
            assert_eq!((header[0], &header[16..20]), (0x45, &server.octets()[..]));
            let sum: u32 =
                header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the outer header's checksum");
            let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
            assert_eq!(len, run.bytes.len() - LINK);
        }
        std::net::IpAddr::V6(server) => {
            assert_eq!((header[0] >> 4, &header[24..40]), (6, &server.octets()[..]));
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            assert_eq!(len, run.bytes.len() - LINK - outer);
        }
    }
    index
}

#[track_caller]
fn send(bench: &mut Bench, frame: &Frame) -> usize {
    let run = bench.expect(frame, Verdict::Forward);
    server_of(frame, &run)
}

/// A connection by its handshake; its server.
#[track_caller]
fn connect(bench: &mut Bench, family: Family, n: u16) -> usize {
    let server = send(bench, &segment(family, n, flag::SYN));
    assert_eq!(send(bench, &segment(family, n, flag::ACK)), server);
    server
}

/// Active connections of a family's servers; what is counted is what the tables hold.
#[track_caller]
pub(crate) fn active(bench: &mut Bench, family: Family) -> [u64; 3] {
    let recount = bench.datapath().sweep().unwrap();
    let ids = scene::backends(family);
    let traffic = bench.datapath().traffic(&ids).unwrap();
    ids.map(|id| {
        let counted = traffic[&id].active;
        assert_eq!(counted, recount.backends.get(&id).map_or(0, |flows| flows.active), "backend {id}");
        counted
    })
}

fn count(bench: &mut Bench, event: Event) -> u64 {
    bench.datapath().events().unwrap()[event as usize]
}

#[test]
fn a_flow_keeps_its_server_from_syn_to_fin_whatever_the_service_does_meanwhile() {
    let mut bench = bench(Tracking::Full, round_robin);
    for family in Family::ALL {
        let server = connect(&mut bench, family, 1);
        assert_eq!(active(&mut bench, family).iter().sum::<u64>(), 1);
        bench.apply(&[Op::PutService(SERVICE, Service::default())]);
        for flags in [flag::ACK, flag::ACK, flag::FIN_ACK, flag::ACK] {
            assert_eq!(send(&mut bench, &segment(family, 1, flags)), server);
        }
        assert_eq!(active(&mut bench, family), [0; 3], "it is closing");
        let mut service = Service::default();
        for family in Family::ALL {
            service.picks[family.index()].turns = round_robin(&scene::backends(family));
        }
        bench.apply(&[Op::PutService(SERVICE, service)]);
        connect(&mut bench, family, 1);
        assert_eq!(active(&mut bench, family).iter().sum::<u64>(), 1, "its ports are used again");
        send(&mut bench, &segment(family, 1, flag::RST));
        assert_eq!(active(&mut bench, family), [0; 3]);
    }
}

#[test]
fn a_syn_sent_again_goes_to_the_same_server_and_counts_once() {
    let mut bench = bench(Tracking::Full, round_robin);
    for family in Family::ALL {
        let syn = segment(family, 7, flag::SYN);
        let server = send(&mut bench, &syn);
        for _ in 0..3 {
            assert_eq!(send(&mut bench, &syn), server);
        }
        assert_eq!(active(&mut bench, family).iter().sum::<u64>(), 1);
    }
}

#[test]
fn round_robin_is_exact_through_tunnels_and_over_udp() {
    let mut bench =
        bench(Tracking::Full, |ids| Turns::Wheel([0, 1, 1, 2, 2, 2].map(|index| ids[index]).to_vec()));
    for family in Family::ALL {
        let mut shares = [0; 3];
        for n in 0..600 {
            shares[connect(&mut bench, family, n)] += 1;
        }
        assert_eq!(shares, [100, 200, 300]);
        assert_eq!(active(&mut bench, family), [100, 200, 300]);
        for n in 0..60 {
            let datagram = Frame::udp(scene::client(family, n), scene::vip(family, UDP_PORT));
            let server = send(&mut bench, &datagram);
            assert_eq!(send(&mut bench, &datagram), server);
        }
        assert_eq!(active(&mut bench, family), [110, 220, 330]);
    }
}

#[test]
fn least_connections_keeps_active_counts_in_the_proportion_of_the_weights() {
    let weights = [1u16, 2, 5];
    let mut bench = bench(Tracking::Full, |ids| Turns::Fewest(ids.iter().copied().zip(weights).collect()));
    for family in Family::ALL {
        let mut open: BTreeMap<u16, usize> = BTreeMap::new();
        let mut random = 1u32;
        for n in 0..800u16 {
            open.insert(n, connect(&mut bench, family, n));
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if open.len() > 120 {
                // Some end, from anywhere: what is opened next has to make up for it.
                let index = random as usize % open.len();
                let (&n, _) = open.iter().nth(index).unwrap();
                open.remove(&n);
                send(&mut bench, &segment(family, n, flag::RST));
            }
            let mut counts = [0u16; 3];
            open.values().for_each(|&server| counts[server] += 1);
            if n > 200 && open.len() == 121 {
                continue;
            }
            let total: u16 = counts.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(total) * f64::from(weight) / 8.0;
                assert!(n < 121 || (f64::from(*count) - share).abs() <= 1.5, "{n}: {counts:?}");
            }
        }
        let expected = open.values().fold([0; 3], |mut counts, &server| {
            counts[server] += 1;
            counts
        });
        assert_eq!(active(&mut bench, family), expected);
    }
}

#[test]
fn an_unknown_segment_goes_where_the_ring_says_or_is_reset() {
    let mut bench = bench(Tracking::Full, round_robin);
    for family in Family::ALL {
        for n in 0..50 {
            let late = segment(family, 500 + n, flag::ACK);
            let server = send(&mut bench, &late);
            assert_eq!(send(&mut bench, &late), server);
            bench.expect(&segment(family, 700 + n, flag::RST), Verdict::DropUnknownFlow);
        }
    }
    bench.apply(&[Op::PutService(SERVICE, Service::default())]);
    bench.expect(&segment(Family::V4, 900, flag::ACK), Verdict::ResetUnknownFlow);
}

#[test]
fn without_tracking_the_ring_alone_decides_and_removing_a_server_moves_its_share() {
    let mut bench = bench(Tracking::None, |_| Turns::default());
    for family in Family::ALL {
        let before: Vec<_> = (0..300).map(|n| send(&mut bench, &segment(family, n, flag::ACK))).collect();
        assert_eq!(active(&mut bench, family), [0; 3]);
        let mut service = bench.datapath().image().unwrap().services[&SERVICE].clone();
        service.picks[family.index()].ring = ring_of(family, &[0, 1]);
        bench.apply(&[Op::PutService(SERVICE, service)]);
        let after: Vec<_> = (0..300).map(|n| send(&mut bench, &segment(family, n, flag::ACK))).collect();
        let moved =
            before.iter().zip(&after).filter(|(before, after)| **before != 2 && before != after).count();
        assert!(moved <= 6, "{moved} of the other servers' flows moved");
    }
}

/// The deadline is in the datapath: nobody writes anything when it is over.
#[test]
fn a_draining_backends_flows_end_at_its_deadline_without_an_agent() {
    for expiry in [OnDrainExpiry::Reset, OnDrainExpiry::Silent] {
        let mut bench = bench(Tracking::Full, |ids| Turns::Wheel(vec![ids[0]]));
        for family in Family::ALL {
            connect(&mut bench, family, 1);
            let now =
                nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap();
            let soon = now + Duration::from_millis(300);
            let at = Ticks::from_nanos(soon.as_nanos() as u64);
            bench.apply(&[changed(family, 0, |backend| backend.state = BackendState::Draining(expiry, at))]);
            send(&mut bench, &segment(family, 1, flag::ACK));
            let over =
                if expiry == OnDrainExpiry::Reset { Verdict::ResetExpired } else { Verdict::DropExpired };
            nlb_tests::wait::until("the deadline", Duration::from_secs(5), || {
                (bench.send(&segment(family, 1, flag::ACK)).verdict == over).then_some(())
            })
            .unwrap();
            bench.expect(&segment(family, 1, flag::ACK), over);
            assert_eq!(active(&mut bench, family), [0; 3]);
        }
    }
}

#[test]
fn a_client_stays_with_its_server_and_draining_beats_that() {
    let mut bench = bench(Tracking::Full, round_robin);
    let mut service = bench.datapath().image().unwrap().services[&SERVICE].clone();
    service.persistence = Some(Duration::from_secs(3600));
    bench.apply(&[Op::PutService(SERVICE, service)]);
    for family in Family::ALL {
        let server = connect(&mut bench, family, 0);
        for n in 1..30 {
            assert_eq!(connect(&mut bench, family, n), server, "every port of the client");
        }
        let entries = bench.datapath().persistence().unwrap();
        let of_family: Vec<_> = entries.iter().filter(|entry| Family::of(entry.client) == family).collect();
        assert_eq!(of_family.len(), 1);
        assert_eq!((of_family[0].connections, of_family[0].client), (30, scene::client(family, 0).ip()));
        for n in 0..30 {
            send(&mut bench, &segment(family, n, flag::RST));
        }
        let entries = bench.datapath().persistence().unwrap();
        assert!(entries.iter().any(|entry| Family::of(entry.client) == family && entry.connections == 0));
        let before = count(&mut bench, Event::PersistenceOverriddenDraining);
        bench.apply(&[changed(family, server, |backend| backend.eligibility = Eligibility::Draining)]);
        let mut service = bench.datapath().image().unwrap().services[&SERVICE].clone();
        let others = scene::backends(family).into_iter().enumerate().filter(|(index, _)| *index != server);
        service.picks[family.index()].turns = Turns::Wheel(others.map(|(_, id)| id).collect());
        bench.apply(&[Op::PutService(SERVICE, service)]);
        let other = connect(&mut bench, family, 40);
        assert_ne!(other, server);
        assert_eq!(connect(&mut bench, family, 41), other, "the new pick replaces the entry");
        assert_eq!(count(&mut bench, Event::PersistenceOverriddenDraining), before + 1);
    }
}

/// The same tunnel, with a UDP header in between that is the flow's own; `server_of` looks at it.
#[test]
fn gue_keeps_a_flow_on_one_way() {
    let mut bench = bench(Tracking::Full, round_robin);
    for family in Family::ALL {
        for index in 0..3 {
            let source = scene::snat(family, 0).ip();
            bench.apply(&[changed(family, index, |backend| backend.forward = Forward::Gue(Some(source)))]);
        }
        let outer = LINK + if family == Family::V4 { 20 } else { 40 };
        let mut ports = std::collections::BTreeSet::new();
        for n in 0..20 {
            let mut flow = std::collections::BTreeSet::new();
            for flags in [flag::SYN, flag::ACK, flag::ACK, flag::FIN_ACK] {
                let sent = segment(family, n, flags).payload(&[7; 33]);
                let run = bench.expect(&sent, Verdict::Forward);
                assert_eq!(run.bytes[LINK + if family == Family::V4 { 9 } else { 6 }], UDP);
                let port: [u8; 2] = run.bytes[outer..outer + 2].try_into().unwrap();
                flow.insert((server_of(&sent, &run), port));
                ports.insert(port);
            }
            assert_eq!(flow.len(), 1, "{family}: flow {n}: {flow:?}");
        }
        assert!(ports.len() > 10, "{family}: {ports:?}");
    }
}

/// The packet goes as it is, to the server's MAC address; and by the flow table, like that of a tunnel.
#[test]
fn direct_server_return_changes_the_link_layer_and_the_hops_alone() {
    let mut bench = bench(Tracking::Full, round_robin);
    for family in Family::ALL {
        for index in 0..3 {
            bench.apply(&[changed(family, index, |backend| backend.forward = Forward::Dsr)]);
        }
        for n in 0..20 {
            let mut server = None;
            for flags in [flag::SYN, flag::ACK, flag::ACK, flag::FIN_ACK] {
                let sent = segment(family, n, flags);
                for sent in [sent.clone(), sent.tags(&[(0x8100, 7)])] {
                    let run = bench.expect(&sent, Verdict::Forward);
                    let out = Parsed::of(&run.bytes);
                    let macs = [out.to_mac, out.from_mac];
                    assert_eq!(out, Parsed::of(&sent.build()).moved(&[], macs, sent.from(), sent.to()));
                    let index = usize::from(run.bytes[5]);
                    assert_eq!(out.to_mac, scene::server_mac(index));
                    assert_eq!(*server.get_or_insert(index), index, "{family}: flow {n}");
                }
            }
        }
        // The kernel has no better answer: for it the VIP is here.
        for index in 0..3 {
            bench.apply(&[changed(family, index, |backend| {
                *backend = Backend { forward: Forward::Dsr, next_hop: None, ..*backend };
            })]);
        }
        bench.expect(&segment(family, 50, flag::SYN), Verdict::DropNoNextHop);
        bench.expect(&segment(family, 0, flag::ACK), Verdict::DropNoNextHop);
    }
}

/// First packets of 60 000 flows, nearly twice as many as there is room for.
fn flood(bench: &mut Bench, family: Family, frame: impl Fn(SocketAddr) -> Frame) {
    for n in 0..60_000u32 {
        let address = match family {
            Family::V4 => Ipv4Addr::from(0x0c00_0000 + n).into(),
            Family::V6 => Ipv6Addr::from(0x2001_0db8_00f1_00d0 << 64 | u128::from(n)).into(),
        };
        let client = SocketAddr::new(address, (1024 + n % 50_000) as u16);
        bench.run_uncounted(&frame(client).build());
    }
}

fn flood_of_syns(bench: &mut Bench, family: Family) {
    let to = scene::vip(family, TCP_PORT);
    flood(bench, family, |client| Frame::tcp(client, to, flag::SYN));
}

/// Established flows, and what is left of the half-open ones of a flood.
fn assert_active_after_flood(bench: &mut Bench, family: Family, established: u64) {
    let sum: u64 = active(bench, family).iter().sum();
    let expected = established + 30_000..=established + 32_768;
    assert!(expected.contains(&sum), "{family}: {sum} connections are active");
}

/// Half-open flows have a table of their own: however many there are, established ones lose neither entry nor server,
/// and clients that come meanwhile get a connection, which needs no entry before it is established.
#[test]
fn a_flood_of_syns_takes_nothing_from_established_flows_nor_from_new_clients() {
    for family in Family::ALL {
        let mut bench = bench(Tracking::Full, round_robin);
        let servers: Vec<_> = (0..100).map(|n| connect(&mut bench, family, n)).collect();
        flood_of_syns(&mut bench, family);
        assert!(count(&mut bench, Event::SynUnrecorded) > 20_000);
        // Few look as if they were in the flow table, and are remembered.
        assert!(count(&mut bench, Event::HalfOpenEvicted) < 100);
        let new: Vec<_> = (100..200)
            .map(|n| {
                let server = send(&mut bench, &segment(family, n, flag::SYN));
                assert_eq!(send(&mut bench, &segment(family, n, flag::SYN)), server, "the same SYN again");
                assert_eq!(send(&mut bench, &segment(family, n, flag::ACK)), server);
                assert_eq!(send(&mut bench, &segment(family, n, flag::ACK)), server);
                server
            })
            .collect();
        // What is established does not go by the ring any more.
        let mut service = bench.datapath().image().unwrap().services[&SERVICE].clone();
        service.picks[family.index()].ring = ring_of(family, &[0]);
        bench.apply(&[Op::PutService(SERVICE, service)]);
        for (n, &server) in (0..).zip(servers.iter().chain(&new)) {
            assert_eq!(send(&mut bench, &segment(family, n, flag::ACK)), server, "{family}: flow {n}");
        }
        assert_eq!(count(&mut bench, Event::FlowEvicted), 0);
        assert_active_after_flood(&mut bench, family, 200);
        let (id, listener) = scene::listener(family, Protocol::Tcp);
        let closed = Listener { tracking: Tracking::Full, closed_to_new: true, ..listener };
        bench.apply(&[Op::PutListener(id, closed)]);
        for n in 300..400 {
            bench.expect(&segment(family, n, flag::SYN), Verdict::DropListenerDisabled);
        }
    }
}

/// Where the consistent hash does not have the next segment, the newest half-open flows are remembered.
#[test]
fn a_flood_of_syns_evicts_the_oldest_half_open_flows_where_they_must_be_remembered() {
    for family in Family::ALL {
        let mut bench = bench(Tracking::Full, round_robin);
        let mut service = bench.datapath().image().unwrap().services[&SERVICE].clone();
        service.balance_unknown = false;
        bench.apply(&[Op::PutService(SERVICE, service)]);
        let servers: Vec<_> = (0..100).map(|n| connect(&mut bench, family, n)).collect();
        flood_of_syns(&mut bench, family);
        assert!(count(&mut bench, Event::HalfOpenEvicted) > 10_000);
        assert_eq!(count(&mut bench, Event::SynUnrecorded), 0);
        assert_eq!(count(&mut bench, Event::FlowEvicted), 0);
        for (n, &server) in (0..).zip(&servers) {
            assert_eq!(send(&mut bench, &segment(family, n, flag::ACK)), server);
        }
        for n in 100..120 {
            connect(&mut bench, family, n);
        }
        assert_active_after_flood(&mut bench, family, 120);
    }
}

/// A table so small that some of the flows do not stand in their own set, but in its neighbour.
fn crowded() -> Bench {
    set_up(
        Bench::sized(Sizes { flows: 64, persistence: 64, ..Sizes::default() }),
        Tracking::Full,
        round_robin,
    )
}

/// How many flows there are then.
const CROWD: u16 = 130;

/// A SYN looks at the tags of the flow table only, which have to know each of its flows.
#[test]
fn a_syn_finds_its_flow_wherever_it_stands() {
    for family in Family::ALL {
        let mut bench = crowded();
        let servers: Vec<_> = (0..CROWD).map(|n| connect(&mut bench, family, n)).collect();
        for (n, &server) in (0..).zip(&servers) {
            assert_eq!(send(&mut bench, &segment(family, n, flag::SYN)), server, "{family}: flow {n}");
        }
    }
}

#[test]
fn a_flood_leaves_a_port_to_its_next_connection() {
    for family in Family::ALL {
        let mut bench = crowded();
        for n in 0..CROWD {
            connect(&mut bench, family, n);
        }
        flood_of_syns(&mut bench, family);
        for n in 0..CROWD {
            // If both its sets were full the flow is not known any more, and this RST is dropped.
            bench.run_uncounted(&segment(family, n, flag::RST).build());
            // The server before may have been any of them.
            connect(&mut bench, family, n);
        }
    }
}

#[test]
fn a_flood_of_datagrams_does_not_move_known_flows() {
    for family in Family::ALL {
        let mut bench = crowded();
        let to = scene::vip(family, UDP_PORT);
        let datagram = |n| Frame::udp(scene::client(family, n), to);
        let mut known = BTreeMap::new();
        for n in 0..CROWD {
            let server = send(&mut bench, &datagram(n));
            let without = count(&mut bench, Event::FlowUnrecorded);
            assert_eq!(send(&mut bench, &datagram(n)), server);
            // Both its sets may be full.
            if count(&mut bench, Event::FlowUnrecorded) == without {
                known.insert(n, server);
            }
        }
        assert!(known.len() > usize::from(CROWD / 2));
        flood(&mut bench, family, |client| Frame::udp(client, to));
        for (n, server) in known {
            assert_eq!(send(&mut bench, &datagram(n)), server, "{family}: flow {n}");
        }
    }
}
