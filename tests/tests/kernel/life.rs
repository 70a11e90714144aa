//! The life of a connection, as the sweeper and the counters see it.

use std::time::{Duration, Instant};

use nlb_agent::datapath::{BackendFlows, BackendId, Datapath as _, Family, Traffic};
use nlb_common::verdict::Verdict;
use nlb_tests::{
    packet::{Frame, flag},
    wait,
};

use crate::{bench::Bench, connection::Connection, scene};

/// The flows of the first backend, the only one on the wheel.
fn flows(bench: &mut Bench, family: Family) -> BackendFlows {
    let counts = bench.datapath().sweep().unwrap();
    counts.backends.get(&scene::backends(family)[0]).copied().unwrap_or_default()
}

fn bench() -> Bench {
    let mut bench = scene::bench();
    bench.apply(&[scene::wheel(&[0])]);
    bench
}

fn counts(active: u64, held: u64) -> BackendFlows {
    BackendFlows { active, held }
}

#[test]
fn active_is_half_open_and_established_and_a_closed_one_is_still_held() {
    for family in Family::ALL {
        let mut bench = bench();
        assert_eq!(flows(&mut bench, family), counts(0, 0));
        let connection = Connection::syn(&mut bench, family, 1);
        assert_eq!(flows(&mut bench, family), counts(1, 1), "half-open");
        bench.expect(&connection.answer(flag::SYN_ACK), Verdict::Reply);
        connection.goes_on(&mut bench);
        assert_eq!(flows(&mut bench, family), counts(1, 1), "established");
        bench.expect(&connection.request(flag::FIN_ACK), Verdict::Forward);
        assert_eq!(flows(&mut bench, family), counts(1, 1), "half-closed");
        bench.expect(&connection.answer(flag::FIN_ACK), Verdict::Reply);
        assert_eq!(flows(&mut bench, family), counts(0, 1), "closed");
        // The last acknowledgement, and whatever is retransmitted, still pass.
        connection.goes_on(&mut bench);
        bench.expect(&connection.answer(flag::FIN_ACK), Verdict::Reply);
        assert_eq!(flows(&mut bench, family), counts(0, 1));
    }
}

#[test]
fn every_way_to_end_a_connection_closes_it() {
    type End = fn(&Connection, &mut Bench);
    let ends: [(&str, End); 4] = [
        ("the client's RST", |connection, bench| {
            drop(bench.expect(&connection.request(flag::RST), Verdict::Forward));
        }),
        ("the server's RST", |connection, bench| {
            drop(bench.expect(&connection.answer(flag::RST | flag::ACK), Verdict::Reply));
        }),
        ("the client's FIN first", |connection, bench| connection.finish(bench)),
        ("the server's FIN first", |connection, bench| {
            bench.expect(&connection.answer(flag::FIN_ACK), Verdict::Reply);
            bench.expect(&connection.request(flag::FIN_ACK), Verdict::Forward);
        }),
    ];
    for family in Family::ALL {
        for (name, end) in ends {
            let mut bench = bench();
            let connection = Connection::established(&mut bench, family, 1);
            end(&connection, &mut bench);
            assert_eq!(flows(&mut bench, family), counts(0, 1), "{family}: {name}");
        }
    }
}

#[test]
fn a_repeated_syn_is_the_same_connection() {
    for family in Family::ALL {
        let mut bench = bench();
        let connection = Connection::syn(&mut bench, family, 1);
        for _ in 0..3 {
            assert_eq!(Connection::syn(&mut bench, family, 1), connection);
        }
        assert_eq!(flows(&mut bench, family), counts(1, 1));
        let id = scene::backends(family)[0];
        assert_eq!(bench.datapath().traffic(&[id]).unwrap()[&id].connections, 1);
    }
}

#[test]
fn a_syn_on_a_closed_connection_opens_another_one() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        let connection = Connection::established(&mut bench, family, 1);
        connection.finish(&mut bench);
        let again = Connection::open(&mut bench, &connection.request(flag::SYN));
        assert_ne!(again.snat, connection.snat, "another SNAT port");
        assert_ne!(again.server, connection.server, "the wheel has turned");
        again.goes_on(&mut bench);
        // A late segment of the old server still reaches the client, and does not disturb the new connection.
        bench.expect(&connection.answer(flag::ACK), Verdict::Reply);
        again.goes_on(&mut bench);
        let sums = bench.datapath().sweep().unwrap();
        let sum = |count: fn(&BackendFlows) -> u64| sums.backends.values().map(count).sum::<u64>();
        assert_eq!((sum(|flows| flows.active), sum(|flows| flows.held)), (1, 2));
    }
}

#[test]
fn traffic_is_what_was_sent_both_ways() {
    for family in Family::ALL {
        let mut bench = bench();
        let mut expected = Traffic::default();
        let mut count = |bench: &mut Bench, frame: &Frame, verdict| {
            bench.expect(frame, verdict);
            expected.packets += 1;
            expected.bytes += frame.build().len() as u64;
        };
        let vip = scene::vip(family, scene::TCP_PORT);
        for n in 0..5 {
            let syn = Frame::tcp(scene::client(family, n), vip, flag::SYN);
            count(&mut bench, &syn, Verdict::Forward);
            let connection = Connection::open(&mut bench, &syn);
            count(&mut bench, &syn, Verdict::Forward);
            count(&mut bench, &connection.answer(flag::SYN_ACK), Verdict::Reply);
            count(&mut bench, &connection.request(flag::ACK).payload(&[7; 999]), Verdict::Forward);
        }
        // `open` sent a SYN, too.
        expected.packets += 5;
        expected.bytes += 5 * Frame::tcp(scene::client(family, 0), vip, flag::SYN).build().len() as u64;
        expected.connections = 5;
        expected.active = 5;
        // What is dropped or answered passes no backend.
        bench.expect(&Frame::tcp(scene::client(family, 99), vip, flag::ACK), Verdict::ResetUnknownFlow);
        let ids: Vec<BackendId> = scene::backends(family).to_vec();
        let traffic = bench.datapath().traffic(&ids).unwrap();
        assert_eq!(traffic[&ids[0]], expected, "{family}");
        assert_eq!((traffic[&ids[1]], traffic[&ids[2]]), Default::default());
    }
}

#[test]
fn flow_counts_are_by_backend_listener_and_snat_address() {
    use nlb_agent::{datapath::SnatSlot, model::Protocol};
    let mut bench = scene::bench();
    bench.apply(&[scene::wheel(&[0, 1, 1])]);
    for family in Family::ALL {
        (0..9).for_each(|n| _ = Connection::syn(&mut bench, family, n));
        (0..3).for_each(|n| _ = Connection::datagram(&mut bench, family, n));
    }
    let sums = bench.datapath().sweep().unwrap();
    assert_eq!(sums.ended, 0);
    for family in Family::ALL {
        let ids = scene::backends(family);
        assert_eq!(sums.backends[&ids[0]], counts(4, 4));
        assert_eq!(sums.backends[&ids[1]], counts(8, 8));
        assert!(!sums.backends.contains_key(&ids[2]));
        assert_eq!(sums.listeners[&scene::listener(family, Protocol::Tcp).0], 9);
        assert_eq!(sums.listeners[&scene::listener(family, Protocol::Udp).0], 3);
        assert_eq!(sums.snats[&(family, SnatSlot(0))], 12);
        let name = if family == Family::V4 { "CONNS_V4" } else { "CONNS_V6" };
        let tables = bench.datapath().tables().unwrap();
        let table = tables.iter().find(|table| table.name == name).unwrap();
        assert_eq!((table.used, table.capacity), (12, scene::PORTS.into()), "{name}");
        assert!(table.bytes > 1 << 24, "{table:?}");
    }
}

/// All clocks in one test, for it has to wait: an idle flow ends after its listener's timeout, a closed connection
/// after ten seconds, and neither before.
#[test]
fn flows_end_when_their_time_is_over() {
    use nlb_agent::{datapath::Op, model::Protocol};
    let mut bench = bench();
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (id, mut listener) = scene::listener(family, protocol);
            listener.idle_timeout = Duration::from_secs(1);
            bench.apply(&[Op::PutListener(id, listener)]);
        }
    }
    let began = Instant::now();
    let closed = Family::ALL.map(|family| {
        let connection = Connection::established(&mut bench, family, 1);
        connection.finish(&mut bench);
        connection
    });
    for family in Family::ALL {
        Connection::established(&mut bench, family, 2);
        Connection::datagram(&mut bench, family, 2);
        Connection::syn(&mut bench, family, 3);
        assert_eq!(flows(&mut bench, family), counts(3, 4));
    }
    let mut wait_for = |what: &str, expected: BackendFlows, least: Duration| {
        wait::until(what, Duration::from_secs(12), || {
            Family::ALL.iter().all(|&family| flows(&mut bench, family) == expected).then_some(())
        })
        .unwrap();
        assert!(began.elapsed() >= least, "{what} after {:?}", began.elapsed());
    };
    wait_for("the idle ones to end; the half-open one has a minute", counts(1, 2), Duration::from_secs(1));
    wait_for("the closed ones to end", counts(1, 1), Duration::from_secs(10));
    for connection in closed {
        bench.expect(&connection.request(flag::ACK), Verdict::ResetUnknownFlow);
        bench.expect(&connection.answer(flag::ACK), Verdict::PassNoFlow);
    }
}
