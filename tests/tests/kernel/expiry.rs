//! A backend whose draining time is over.

use nlb_agent::{
    datapath::{Backend, BackendState, Datapath as _, Family, Op},
    model::OnDrainExpiry,
};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Frame, flag};

use crate::{bench::Bench, connection::Connection, resets::check_reset, scene};

/// Expires the first backend, having taken it off the wheel.
fn expire(bench: &mut Bench, family: Family, how: OnDrainExpiry) {
    let expired = |backend: &mut Backend| backend.state = BackendState::Expired(how);
    bench.apply(&[scene::wheel(&[1]), scene::changed(family, 0, expired)]);
}

/// A bench with a TCP connection and a UDP flow to the first backend.
fn bench(family: Family) -> (Bench, Connection, Connection) {
    let mut bench = scene::bench();
    bench.apply(&[scene::wheel(&[0])]);
    let connection = Connection::established(&mut bench, family, 1);
    let flow = Connection::datagram(&mut bench, family, 1);
    (bench, connection, flow)
}

#[test]
fn reset_answers_both_sides_and_drops_what_cannot_be_answered() {
    for family in Family::ALL {
        let (mut bench, connection, flow) = bench(family);
        let other = Connection::syn(&mut bench, family, 2);
        expire(&mut bench, family, OnDrainExpiry::Reset);
        for _ in 0..2 {
            let request = connection.request(flag::ACK).payload(b"more");
            check_reset(&bench.expect(&request, Verdict::ResetExpired), &request, 2000, 0, flag::RST);
            let answer = connection.answer(flag::ACK).payload(b"more");
            check_reset(&bench.expect(&answer, Verdict::ResetExpired), &answer, 1001, 0, flag::RST);
            bench.expect(&connection.request(flag::RST), Verdict::DropExpired);
            bench.expect(&connection.answer(flag::RST), Verdict::DropExpired);
            bench.expect(&flow.reply(), Verdict::DropExpired);
        }
        // The server's side first, this time.
        let answer = other.answer(flag::SYN_ACK);
        check_reset(&bench.expect(&answer, Verdict::ResetExpired), &answer, 1001, 0, flag::RST);
    }
}

#[test]
fn silent_drops_everything() {
    for family in Family::ALL {
        let (mut bench, connection, flow) = bench(family);
        expire(&mut bench, family, OnDrainExpiry::Silent);
        let frames = [
            connection.request(flag::ACK),
            connection.answer(flag::ACK),
            connection.request(flag::FIN_ACK),
            flow.reply(),
        ];
        for frame in frames {
            bench.expect(&frame, Verdict::DropExpired);
        }
    }
}

#[test]
fn a_client_that_was_cut_off_may_connect_again_and_gets_another_server() {
    for how in [OnDrainExpiry::Reset, OnDrainExpiry::Silent] {
        for family in Family::ALL {
            let (mut bench, connection, _) = bench(family);
            expire(&mut bench, family, how);
            bench.send(&connection.request(flag::ACK));
            let again = Connection::open(&mut bench, &connection.request(flag::SYN));
            assert_eq!(again.server, scene::server(family, 1));
            assert_ne!(again.snat, connection.snat);
        }
    }
}

/// Nobody can tell a UDP client that its flow is over, so it must not have to know.
#[test]
fn a_datagram_flow_goes_on_with_another_server() {
    for how in [OnDrainExpiry::Reset, OnDrainExpiry::Silent] {
        for family in Family::ALL {
            let (mut bench, _, flow) = bench(family);
            expire(&mut bench, family, how);
            let again = Connection::open(&mut bench, &flow.question());
            assert_eq!(again.server, scene::server(family, 1));
            assert_ne!(again.snat, flow.snat);
            assert_eq!(Connection::open(&mut bench, &flow.question()), again);
            bench.expect(&flow.reply(), Verdict::DropExpired);
        }
    }
}

/// The sweeper closes them, so that the number of the backend is free soon: also without any packet.
#[test]
fn flows_of_an_expired_backend_are_not_active() {
    for family in Family::ALL {
        let (mut bench, ..) = bench(family);
        expire(&mut bench, family, OnDrainExpiry::Reset);
        let [id, ..] = scene::backends(family);
        let flows = bench.datapath().sweep().unwrap().backends[&id];
        assert_eq!((flows.active, flows.held), (0, 2));
    }
}

/// A server put back during its drain is simply active again; one whose time was over too, for new connections.
#[test]
fn a_backend_that_serves_again_keeps_the_flows_that_nobody_closed() {
    for family in Family::ALL {
        let (mut bench, connection, _) = bench(family);
        expire(&mut bench, family, OnDrainExpiry::Silent);
        bench.apply(&[scene::changed(family, 0, |_| ()), scene::wheel(&[0])]);
        connection.goes_on(&mut bench);
    }
}

/// A wheel that still names a backend that does not serve, for an instant: nobody new gets there.
#[test]
fn nobody_new_reaches_a_backend_that_does_not_serve() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        let syn = |n| Frame::tcp(scene::client(family, n), scene::vip(family, scene::TCP_PORT), flag::SYN);
        bench.apply(&[scene::wheel(&[0])]);
        let [id, ..] = scene::backends(family);
        let expired = |backend: &mut Backend| backend.state = BackendState::Expired(OnDrainExpiry::Reset);
        bench.apply(&[scene::changed(family, 0, expired)]);
        bench.expect(&syn(1), Verdict::DropNoBackend);
        bench.apply(&[Op::RemoveBackend(id)]);
        bench.expect(&syn(2), Verdict::DropNoBackend);
    }
}
