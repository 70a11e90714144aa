//! `dnat`: servers see the client's address and port, and answer by way of the balancer.

use std::{net::SocketAddr, thread, time::Duration};

use aya::maps::{Array, Map, MapData};
use nlb_agent::{
    datapath::{
        Backend, BackendId, BackendState, Datapath as _, Family, Forward, Listener, ListenerId, Op, Picks,
        Ring, RingKey, Service, ServiceId, Slots, Snat, Tracking, Turns, aya as kernel,
    },
    model::{OnDrainExpiry, Protocol},
};
use nlb_common::{
    abi::{
        conn_set::{ConnSet, WAYS},
        maps::name,
        ring::Slot,
        vip::filter,
    },
    event::Event,
    ticks::Ticks,
    verdict::Verdict,
};
use nlb_tests::packet::{Checksum, Frame, Tag, VLAN, flag, fragments};

use crate::{
    bench::{Action, Bench, test_run},
    connection::Connection,
    crowd::{Random, pin},
    parsed::{Check, Parsed},
    recount,
    resets::check_reset,
    scene::{self, EGRESS_MAC, client, server, server_mac, stranger, vip},
};

/// Ports of the VIP: two listeners of one service.
const PORT: u16 = 90;
const SECOND: u16 = 91;
/// The service.
const DNAT: ServiceId = ServiceId(2);
/// What is added to the number of a backend of the scene.
const OWN: u32 = 6;

/// The family's `index`-th backend, changed.
fn changed(family: Family, index: usize, change: impl FnOnce(&mut Backend)) -> Op {
    let (id, backend) = scene::backend(family, index);
    let snat = Slots::default().dnat(family);
    let mut backend = Backend { forward: Forward::Dnat, snat, ..backend };
    change(&mut backend);
    Op::PutBackend(BackendId(id.0 + OWN), backend)
}

/// The numbers of the backends of these indexes.
fn ids(family: Family, indexes: &[usize]) -> Vec<BackendId> {
    indexes.iter().map(|&index| BackendId(scene::backends(family)[index].0 + OWN)).collect()
}

/// The service with these wheels.
fn wheel(indexes: &[usize]) -> Op {
    Op::PutService(DNAT, service(indexes))
}

fn service(indexes: &[usize]) -> Service {
    let mut service = Service::default();
    for family in Family::ALL {
        service.picks[family.index()].turns = Turns::Wheel(ids(family, indexes));
    }
    service
}

fn listener(family: Family, protocol: Protocol, port: u16) -> (ListenerId, Listener) {
    let (id, listener) = scene::listener(family, protocol);
    let id = ListenerId(id.0 + if port == PORT { 10 } else { 20 });
    (id, Listener { port, service: DNAT, tracking: Tracking::Dnat, ..listener })
}

/// What comes to the scene, with so much room in each slot.
pub(crate) fn ops(places: u16) -> Vec<Op> {
    let mut ops = Vec::new();
    for family in Family::ALL {
        for slot in Slots::default().dnat(family).slots() {
            ops.push(Op::PutSnat(family, slot, Snat { ports: places, ..Snat::room(family) }));
        }
        ops.extend((0..3).map(|index| changed(family, index, |_| ())));
    }
    ops.push(wheel(&[0, 1, 2]));
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for port in [PORT, SECOND] {
                let (id, listener) = listener(family, protocol, port);
                ops.push(Op::PutListener(id, listener));
            }
        }
    }
    ops
}

fn bench() -> Bench {
    let mut bench = scene::bench();
    bench.apply(&ops(u16::MAX));
    bench
}

fn syn(family: Family, n: u16) -> Frame {
    Frame::tcp(client(family, n), vip(family, PORT), flag::SYN)
}

fn question(family: Family, n: u16) -> Frame {
    Frame::udp(client(family, n), vip(family, PORT))
}

#[track_caller]
fn established(bench: &mut Bench, family: Family, n: u16) -> Connection {
    let connection = Connection::open(bench, &syn(family, n));
    complete(bench, &connection);
    connection
}

#[track_caller]
fn complete(bench: &mut Bench, connection: &Connection) {
    bench.expect(&connection.answer(flag::SYN_ACK), Verdict::Reply);
    connection.goes_on(bench);
}

/// The frame as it reaches a server: nothing changes but the link layer, the destination and the hops.
#[track_caller]
fn forward(bench: &mut Bench, frame: &Frame) -> Connection {
    let run = bench.expect(frame, Verdict::Forward);
    let (out, sent) = (run.parsed(), Parsed::of(&frame.build()));
    let family = Family::of(frame.to().ip());
    let index = (0..3).find(|&index| server(family, index) == out.to).expect("it goes to one of the servers");
    let expected = sent.moved(&[], [server_mac(index), EGRESS_MAC], frame.from(), out.to);
    assert_eq!(out, expected, "{frame:?}");
    assert_eq!(run.action, Action::Tx);
    Connection { client: frame.from(), vip: frame.to(), snat: out.from, server: out.to }
}

/// The frame as it reaches the client: from the VIP, the way its packets came.
#[track_caller]
fn back(bench: &mut Bench, frame: &Frame, connection: &Connection, tags: &[Tag]) {
    let run = bench.expect(frame, Verdict::Reply);
    let sent = Parsed::of(&frame.build());
    let expected = sent.moved(tags, [Frame::SOURCE, Frame::DESTINATION], connection.vip, connection.client);
    assert_eq!(run.parsed(), expected, "{frame:?}");
    assert_eq!(run.action, Action::Tx);
}

#[test]
fn only_the_destination_changes_there_and_the_source_back() {
    let mut bench = bench();
    for family in Family::ALL {
        for (n, tags) in (0..).zip([&[][..], &[(VLAN, 0x2064)]]) {
            let connection = forward(&mut bench, &syn(family, n).tags(tags));
            assert_eq!(connection.snat, connection.client);
            back(
                &mut bench,
                &connection.answer(flag::SYN_ACK).tcp_options(&[2, 4, 5, 0xb4]),
                &connection,
                tags,
            );
            let request = connection.request(flag::ACK | flag::PSH).tags(tags).payload(b"GET / HTTP/1.1");
            assert_eq!(forward(&mut bench, &request), connection);
            back(&mut bench, &connection.answer(flag::ACK).payload(b"200 OK"), &connection, tags);

            let flow = forward(&mut bench, &question(family, n).tags(tags).payload(b"who?"));
            back(&mut bench, &flow.reply().payload(b"me"), &flow, tags);
        }
    }
    let connections: u64 = bench.datapath().sweep().unwrap().snats.values().sum();
    assert_eq!(connections, 8);
}

/// Also where a server's packets come in with a tag, or a client's with options: the general program hands them over.
#[test]
fn what_is_not_plain_goes_the_same_way() {
    let mut bench = bench();
    for family in Family::ALL {
        let options: &[u8] = if family == Family::V4 { &[1, 1, 1, 0] } else { &[] };
        let connection = forward(&mut bench, &syn(family, 1).ip_options(options));
        let answer = connection.answer(flag::SYN_ACK).tags(&[(VLAN, 300)]).ip_options(options);
        back(&mut bench, &answer, &connection, &[]);
        bench.expect(&connection.answer(flag::ACK).hops(1), Verdict::DropTtlExpired);
        bench.expect(&connection.request(flag::ACK).hops(1), Verdict::DropTtlExpired);
    }
}

#[test]
fn a_datagram_without_checksum_stays_without_and_a_wrong_one_stays_wrong() {
    let mut bench = bench();
    for (checksum, expected) in [(Checksum::Zero, Check::None), (Checksum::Wrong, Check::Wrong)] {
        let n = expected as u16;
        let out = bench.expect(&question(Family::V4, n).checksum(checksum), Verdict::Forward).parsed();
        assert_eq!(out.checksum, expected);
    }
}

/// A server is a host like any other: what it sends of its own, or to somebody else, is the kernel's to route.
#[test]
fn what_a_server_sends_of_no_known_connection_is_passed() {
    let mut bench = bench();
    for family in Family::ALL {
        let connection = established(&mut bench, family, 1);
        let other_port = SocketAddr::new(connection.server.ip(), connection.server.port() + 1);
        let other_client = SocketAddr::new(connection.client.ip(), connection.client.port() + 1);
        for (from, to) in [
            (connection.server, stranger(family, 443)),
            (connection.server, other_client),
            (other_port, connection.client),
            (server(family, 2), stranger(family, 1)),
        ] {
            bench.expect(&Frame::tcp(from, to, flag::SYN), Verdict::PassNotOurs);
            bench.expect(&Frame::tcp(from, to, flag::ACK), Verdict::PassNotOurs);
            bench.expect(&Frame::udp(from, to), Verdict::PassNotOurs);
        }
        bench.expect(&Frame::udp(connection.server, connection.client), Verdict::PassNotOurs);
        bench.expect(&Frame::other(connection.server, connection.client, 1), Verdict::PassNotOurs);
        // A fragment whose first one nobody has seen.
        let answer = connection.answer(flag::ACK).payload(&[1; 64]).build();
        let fragment = &fragments::cut(&answer, 1, &[32])[1];
        assert_eq!(bench.run(fragment).verdict, Verdict::PassNotOurs);
        bench.expect(&Frame::tcp(stranger(family, 1), connection.client, flag::ACK), Verdict::PassNotOurs);
        // To the server itself, past the balancer.
        let direct = Frame::tcp(connection.client, connection.server, flag::ACK);
        bench.expect(&direct, Verdict::PassNotOurs);
        // A server may be a client of the VIP, and still the SNAT addresses are what they were.
        bench.expect(&Frame::tcp(connection.server, vip(family, PORT), flag::SYN), Verdict::Forward);
        let probe = Frame::tcp(connection.server, scene::snat(family, 9), flag::ACK);
        bench.expect(&probe, Verdict::PassNoFlow);
    }
}

#[test]
fn fragments_follow_the_first_one_in_both_directions() {
    let mut bench = bench();
    for family in Family::ALL {
        let connection = established(&mut bench, family, 1);
        let request = connection.request(flag::ACK).payload(&[7; 300]);
        let answer = connection.answer(flag::ACK).payload(&[8; 300]);
        for (frame, verdict, ends) in [
            (request, Verdict::Forward, (connection.client, connection.server)),
            (answer, Verdict::Reply, (connection.vip, connection.client)),
        ] {
            let mut sent = Vec::new();
            for piece in fragments::cut(&frame.build(), 9, &[64, 128]) {
                let run = bench.run(&piece);
                assert_eq!(run.verdict, verdict);
                sent.push(run.bytes);
            }
            let whole = Parsed::of(&fragments::join(&sent));
            assert_eq!(((whole.from, whole.to), whole.checksum), (ends, Check::Right));
        }
    }
}

#[test]
fn a_segment_of_no_known_connection_is_answered_with_a_reset() {
    let mut bench = bench();
    for family in Family::ALL {
        let request = Frame::tcp(client(family, 1), vip(family, PORT), flag::ACK).numbers(1000, 2000);
        check_reset(&bench.expect(&request, Verdict::ResetUnknownFlow), &request, 2000, 0, flag::RST);
        let rst = Frame::tcp(client(family, 1), vip(family, PORT), flag::RST);
        bench.expect(&rst, Verdict::DropUnknownFlow);
    }
}

/// Two connections of one address and port, by two listeners of one service: a client may have them, a server may not.
/// The SYN that is to meet the verdict.
pub(crate) fn clash(bench: &mut Bench, family: Family, n: u16) -> (Connection, Frame) {
    bench.apply(&[wheel(&[0])]);
    let first = established(bench, family, n);
    (first, Frame::tcp(client(family, n), vip(family, SECOND), flag::SYN))
}

#[test]
fn what_would_be_one_connection_to_the_server_is_refused() {
    let mut bench = bench();
    for family in Family::ALL {
        let (first, second) = clash(&mut bench, family, 1);
        for _ in 0..3 {
            bench.expect(&second, Verdict::DropClash);
            first.goes_on(&mut bench);
            back(&mut bench, &first.answer(flag::ACK), &first, &[]);
        }
        let flow = forward(&mut bench, &question(family, 1));
        let other = Frame::udp(client(family, 1), vip(family, SECOND));
        bench.expect(&other, Verdict::DropClash);
        back(&mut bench, &flow.reply(), &flow, &[]);
        // Nothing is left of what was refused.
        let held = bench.datapath().sweep().unwrap().backends[&ids(family, &[0])[0]];
        assert_eq!((held.active, held.held), (2, 2));

        // To another server it is another connection.
        bench.apply(&[wheel(&[1])]);
        let second = Connection::open(&mut bench, &second);
        complete(&mut bench, &second);
        assert_eq!(second.server, server(family, 1));
        for connection in [&first, &second] {
            connection.goes_on(&mut bench);
            back(&mut bench, &connection.answer(flag::ACK), connection, &[]);
        }
    }
}

#[test]
fn a_connection_that_is_over_makes_way_for_the_next_with_its_ports() {
    let mut bench = bench();
    for family in Family::ALL {
        let (first, second) = clash(&mut bench, family, 1);
        first.finish(&mut bench);
        // Its last packets still pass.
        first.goes_on(&mut bench);
        back(&mut bench, &first.answer(flag::ACK), &first, &[]);
        let second = Connection::open(&mut bench, &second);
        complete(&mut bench, &second);
        back(&mut bench, &second.answer(flag::ACK), &second, &[]);
        second.finish(&mut bench);
        // The same ports once more, by the first listener.
        let third = Connection::open(&mut bench, &first.request(flag::SYN));
        assert_eq!(third, first);
        complete(&mut bench, &third);
        back(&mut bench, &third.answer(flag::ACK), &third, &[]);
    }
}

/// Names of connections that are over, with nobody there to sweep them, are no hindrance.
#[test]
fn idle_connections_are_taken_over_without_an_agent() {
    let mut bench = bench();
    bench.apply(&ops(2));
    for family in Family::ALL {
        for port in [PORT, SECOND] {
            let (id, listener) = listener(family, Protocol::Udp, port);
            bench.apply(&[Op::PutListener(
                id,
                Listener { idle_timeout: Duration::from_millis(5), ..listener },
            )]);
        }
        bench.apply(&[wheel(&[0])]);
        for n in 0..40 {
            // Between two listeners, whose clients are the same to the server.
            let to = vip(family, if n % 3 == 0 { SECOND } else { PORT });
            let flow = forward(&mut bench, &Frame::udp(client(family, n % 2), to));
            back(&mut bench, &flow.reply(), &flow, &[]);
            thread::sleep(Duration::from_millis(12));
        }
    }
}

#[test]
fn idle_connections_end_and_leave_no_name() {
    let mut bench = bench();
    let mut connections = Vec::new();
    for family in Family::ALL {
        connections.extend((0..20).map(|n| established(&mut bench, family, n)));
        connections.extend((0..20).map(|n| forward(&mut bench, &question(family, n))));
        assert_eq!(names(&bench, family), 80, "each has two");
    }
    let past =
        Ticks(kernel::now().0.wrapping_add(Ticks::from_duration(scene::IDLE + Duration::from_secs(9)).0));
    let counts = bench.datapath().sweep_at(past).unwrap();
    assert_eq!(counts.ended, 80);
    for connection in &connections[..20] {
        bench.expect(&connection.request(flag::ACK), Verdict::ResetUnknownFlow);
        bench.expect(&connection.answer(flag::ACK), Verdict::PassNotOurs);
    }
    Family::ALL.into_iter().for_each(|family| assert_eq!(names(&bench, family), 0));
}

/// How many words of the sets name a connection.
fn names(bench: &Bench, family: Family) -> usize {
    let name = [name::CONN_SETS_V4, name::CONN_SETS_V6][family.index()];
    let map = MapData::from_pin(bench.maps().join(name)).unwrap();
    let sets = Array::<_, ConnSet>::try_from(Map::Array(map)).unwrap();
    let count = |set: ConnSet| set.words.iter().filter(|&&word| word != 0).count();
    sets.iter().map(|set| count(set.unwrap())).sum()
}

#[test]
fn both_sides_hear_of_a_draining_time_that_is_over() {
    for family in Family::ALL {
        let mut bench = bench();
        bench.apply(&[wheel(&[0])]);
        let connection = established(&mut bench, family, 1);
        let silent = established(&mut bench, family, 2);
        let flow = forward(&mut bench, &question(family, 1));
        let past = Ticks(kernel::now().0.wrapping_sub(1));
        let drain = |bench: &mut Bench, state| {
            bench.apply(&[wheel(&[1]), changed(family, 0, |backend| backend.state = state)]);
        };
        let later = Ticks(kernel::now().0.wrapping_add(Ticks::from_duration(Duration::from_secs(60)).0));
        drain(&mut bench, BackendState::Draining(OnDrainExpiry::Reset, later));
        connection.goes_on(&mut bench);
        back(&mut bench, &connection.answer(flag::ACK), &connection, &[]);
        drain(&mut bench, BackendState::Draining(OnDrainExpiry::Reset, past));
        for _ in 0..2 {
            let request = connection.request(flag::ACK).payload(b"more");
            check_reset(&bench.expect(&request, Verdict::ResetExpired), &request, 2000, 0, flag::RST);
            let answer = connection.answer(flag::ACK).payload(b"more");
            check_reset(&bench.expect(&answer, Verdict::ResetExpired), &answer, 1001, 0, flag::RST);
            bench.expect(&flow.reply(), Verdict::DropExpired);
        }
        drain(&mut bench, BackendState::Expired(OnDrainExpiry::Silent));
        bench.expect(&silent.request(flag::ACK), Verdict::DropExpired);
        bench.expect(&silent.answer(flag::ACK), Verdict::DropExpired);
        // Who is cut off may come again, and a UDP client cannot know that it is.
        assert_eq!(Connection::open(&mut bench, &connection.request(flag::SYN)).server, server(family, 1));
        assert_eq!(forward(&mut bench, &flow.question()).server, server(family, 1));
    }
}

#[test]
fn clients_stay_with_their_server() {
    let mut bench = bench();
    let persistence = Some(Duration::from_secs(3600));
    bench.apply(&[Op::PutService(DNAT, Service { persistence, ..service(&[0, 1, 2]) })]);
    for family in Family::ALL {
        let first = established(&mut bench, family, 1);
        for n in 2..8 {
            assert_eq!(established(&mut bench, family, n).server, first.server);
        }
        let flow = forward(&mut bench, &question(family, 1));
        assert_eq!(flow.server, first.server);
        // So it cannot have the same port twice: it is told apart by nothing else.
        bench.expect(&Frame::tcp(first.client, vip(family, SECOND), flag::SYN), Verdict::DropClash);
        recount::links(&bench);
        first.finish(&mut bench);
        recount::links(&bench);
    }
    let connections: u32 =
        bench.datapath().persistence().unwrap().iter().map(|entry| entry.connections).sum();
    assert_eq!(connections, 14, "seven of each family, UDP counted");
}

#[test]
fn the_other_schedulers_pick_servers_as_well() {
    let mut bench = bench();
    for family in Family::ALL {
        let members = ids(family, &[0, 1, 2]).into_iter().zip([1, 1, 2]).collect();
        let mut least = service(&[]);
        least.picks[family.index()].turns = Turns::Fewest(members);
        bench.apply(&[Op::PutService(DNAT, least)]);
        let servers: Vec<_> = (0..8).map(|n| established(&mut bench, family, n).server).collect();
        let share = |index| servers.iter().filter(|&&to| to == server(family, index)).count();
        assert_eq!([share(0), share(1), share(2)], [2, 2, 4]);

        let mut by_source = service(&[]);
        let [one] = ids(family, &[1])[..] else { unreachable!("one") };
        let slots = vec![Slot::clean(u16::try_from(one.0).unwrap()); 16];
        let ring = Ring { by: RingKey::Source, slots };
        by_source.picks[family.index()] = Picks { turns: Turns::default(), ring };
        bench.apply(&[Op::PutService(DNAT, by_source)]);
        assert_eq!(established(&mut bench, family, 100).server, server(family, 1));
    }
}

#[test]
fn a_new_agent_finds_connections_as_they_were() {
    let mut bench = bench();
    let mut connections = Vec::new();
    for family in Family::ALL {
        connections.extend((0..10).map(|n| established(&mut bench, family, n)));
    }
    let image = bench.datapath().image().unwrap();
    let slots = bench.datapath().slots();
    assert_eq!(slots, Slots::default());
    bench.restart();
    assert_eq!(bench.datapath().image().unwrap(), image);
    assert_eq!(bench.datapath().slots(), slots);
    for connection in &connections {
        connection.goes_on(&mut bench);
        back(&mut bench, &connection.answer(flag::ACK), connection, &[]);
    }
    bench.datapath().sweep().unwrap();
    connections.iter().for_each(|connection| connection.goes_on(&mut bench));
}

/// The forwarding of a service cannot be changed, but a listener can be given another service.
#[test]
fn a_listener_of_nat_that_gets_a_service_of_dnat_keeps_its_connections() {
    let mut bench = bench();
    for family in Family::ALL {
        let before = Connection::established(&mut bench, family, 1);
        let flow = Connection::datagram(&mut bench, family, 1);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (id, listener) = scene::listener(family, protocol);
            let listener = Listener { service: DNAT, tracking: Tracking::Dnat, ..listener };
            bench.apply(&[Op::PutListener(id, listener)]);
        }
        before.goes_on(&mut bench);
        bench.expect(&before.answer(flag::ACK), Verdict::Reply);
        assert_eq!(Connection::open(&mut bench, &flow.question()), flow);
        bench.expect(&flow.reply(), Verdict::Reply);
        let after = Connection::established(&mut bench, family, 2);
        assert_eq!(after.snat, after.client);
        before.finish(&mut bench);
        // Its ports are used again.
        let again = Connection::open(&mut bench, &before.request(flag::SYN));
        assert_eq!(again.snat, again.client);
    }
}

/// Without servers of `dnat` nobody's source is looked at.
#[test]
fn the_filter_is_as_it_was_when_the_last_server_is_gone() {
    let mut bench = scene::bench();
    let before = filter_words(&bench);
    for family in Family::ALL {
        bench.apply(&[changed(family, 0, |_| ()), changed(family, 1, |_| ()), changed(family, 0, |_| ())]);
    }
    let during = filter_words(&bench);
    assert!(during.iter().all(|word| word & filter::DNAT != 0));
    // An address of the balancer's own comes and goes meanwhile.
    let address = stranger(Family::V4, 0).ip();
    bench.apply(&[Op::PutAddress(address, Default::default()), Op::RemoveAddress(address)]);
    assert_eq!(filter_words(&bench), during);
    for family in Family::ALL {
        bench.apply(&ids(family, &[0, 1]).into_iter().map(Op::RemoveBackend).collect::<Vec<_>>());
    }
    assert_eq!(filter_words(&bench), before);
}

fn filter_words(bench: &Bench) -> Vec<u64> {
    let map = MapData::from_pin(bench.maps().join(name::ADDRESS_FILTER)).unwrap();
    Array::<_, u64>::try_from(Map::Array(map)).unwrap().iter().map(Result::unwrap).collect()
}

#[test]
fn when_no_place_is_left_new_connections_are_dropped_and_old_ones_go_on() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        bench.apply(&ops(2));
        let connections = [1, 2].map(|n| established(&mut bench, family, n));
        bench.expect(&syn(family, 3), Verdict::DropPortsExhausted);
        assert!(bench.datapath().events().unwrap()[Event::SnatExhausted as usize] > 0);
        for connection in connections {
            connection.goes_on(&mut bench);
            back(&mut bench, &connection.answer(flag::ACK), &connection, &[]);
        }
    }
}

/// Few clients, two listeners, two servers, more connections than places: nearly every packet meets another one at its entry.
#[test]
fn few_clients_on_several_cpus_lose_nothing() {
    const CLIENTS: u32 = 6;
    const STEPS: u32 = 6000;
    let mut bench = bench();
    bench.apply(&ops(40));
    let steady: Vec<_> = (Family::ALL.iter())
        .flat_map(|&family| (100..104).map(move |n| (family, n)))
        .map(|(family, n)| established(&mut bench, family, n))
        .collect();
    bench.apply(&[wheel(&[0, 1])]);
    for part in 0..3 {
        let programs = [bench.another(), bench.another()];
        thread::scope(|scope| {
            for (index, program) in programs.into_iter().enumerate() {
                scope.spawn(move || {
                    pin(index);
                    let mut random = Random::new(part * 7 + index as u64 + 1);
                    for _ in 0..STEPS {
                        let family = random.one_of(&Family::ALL);
                        let who = client(family, random.below(CLIENTS) as u16);
                        let to = vip(family, random.one_of(&[PORT, SECOND]));
                        let is_answer = random.below(5) < 2;
                        let (from, to) = if is_answer {
                            (server(family, random.below(2) as usize), who)
                        } else {
                            (who, to)
                        };
                        let flags = if is_answer {
                            random.one_of(&[flag::SYN_ACK, flag::ACK, flag::FIN_ACK, flag::RST])
                        } else {
                            random.one_of(&[
                                flag::SYN,
                                flag::SYN,
                                flag::ACK,
                                flag::ACK,
                                flag::FIN_ACK,
                                flag::RST,
                            ])
                        };
                        let frame = if random.below(4) == 0 {
                            Frame::udp(from, to)
                        } else {
                            Frame::tcp(from, to, flags)
                        };
                        test_run(&program, &frame.build());
                    }
                });
            }
            for _ in 0..20 {
                let ahead = Ticks::from_duration(Duration::from_secs(if part == 1 { 11 } else { 0 }));
                bench.datapath().sweep_at(Ticks(kernel::now().0.wrapping_add(ahead.0))).unwrap();
            }
        });
        steady.iter().for_each(|connection| {
            connection.goes_on(&mut bench);
            back(&mut bench, &connection.answer(flag::ACK), connection, &[]);
        });
        let found = recount::active(bench.datapath()).unwrap();
        let held: u64 = found.backends.values().map(|flows| flows.held).sum();
        let named: usize = Family::ALL.into_iter().map(|family| names(&bench, family)).sum();
        // Two for each; a word that leads to nothing is overwritten when its place is needed.
        assert!(named <= 2 * 2 * 40 + WAYS && named as u64 >= held, "{named} names of {held} connections");
    }
}
