//! A draining backend's deadline where addresses are translated: the program itself resets both sides when it is over.

use nix::time::{ClockId, clock_gettime};
use nlb_agent::{
    datapath::{Backend, BackendState, Family},
    model::OnDrainExpiry,
};
use nlb_common::{ticks::Ticks, verdict::Verdict};
use nlb_tests::packet::{Tag, VLAN, flag};

use crate::{bench::Bench, connection::Connection, resets::check_reset, scene};

/// A moment so many ticks from now.
fn moment(ticks: i32) -> Ticks {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    let nanos = now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64;
    Ticks(Ticks::from_nanos(nanos).0.wrapping_add_signed(ticks))
}

/// Has the first backend drain until then, off the wheel.
fn drain(bench: &mut Bench, family: Family, how: OnDrainExpiry, deadline: Ticks) {
    let draining = |backend: &mut Backend| backend.state = BackendState::Draining(how, deadline);
    bench.apply(&[scene::wheel(&[1]), scene::changed(family, 0, draining)]);
}

/// A bench with a TCP connection to the first backend, half-open or established.
fn bench(family: Family, is_established: bool) -> (Bench, Connection) {
    let mut bench = scene::bench();
    bench.apply(&[scene::wheel(&[0])]);
    let connect = if is_established { Connection::established } else { Connection::syn };
    let connection = connect(&mut bench, family, 1);
    (bench, connection)
}

/// Sequence numbers are those the receiver of the RST waits for, checksums are right, tags come back: see `check_reset`.
#[test]
fn both_sides_are_reset_after_the_deadline_and_neither_before() {
    for family in Family::ALL {
        for is_client_first in [true, false] {
            let (mut bench, connection) = bench(family, true);
            drain(&mut bench, family, OnDrainExpiry::Reset, moment(1 << 20));
            connection.goes_on(&mut bench);
            bench.expect(&connection.answer(flag::ACK).payload(b"data"), Verdict::Reply);

            drain(&mut bench, family, OnDrainExpiry::Reset, moment(-1));
            let tags: &[Tag] = &[(VLAN, 100)];
            let request = connection.request(flag::ACK | flag::PSH).payload(b"more").tags(tags);
            let answer = connection.answer(flag::ACK).payload(b"an answer");
            let mut sides = [(&request, 2000), (&answer, 1001)];
            if !is_client_first {
                sides.reverse();
            }
            // As often as they ask.
            for _ in 0..2 {
                for (frame, sequence) in sides {
                    let run = bench.expect(frame, Verdict::ResetExpired);
                    check_reset(&run, frame, sequence, 0, flag::RST);
                }
            }
        }
    }
}

#[test]
fn a_half_open_connection_ends_at_the_deadline_too_and_its_client_gets_another_server() {
    for family in Family::ALL {
        let (mut bench, connection) = bench(family, false);
        drain(&mut bench, family, OnDrainExpiry::Reset, moment(-1));
        let answer = connection.answer(flag::SYN_ACK);
        check_reset(&bench.expect(&answer, Verdict::ResetExpired), &answer, 1001, 0, flag::RST);
        let again = Connection::syn(&mut bench, family, 1);
        assert_eq!(again.server, scene::server(family, 1));
        bench.expect(&again.answer(flag::SYN_ACK), Verdict::Reply);
        again.goes_on(&mut bench);
    }
}

#[test]
fn a_silent_deadline_drops_both_sides() {
    for family in Family::ALL {
        let (mut bench, connection) = bench(family, true);
        drain(&mut bench, family, OnDrainExpiry::Silent, moment(-1));
        for _ in 0..2 {
            bench.expect(&connection.request(flag::ACK), Verdict::DropExpired);
            bench.expect(&connection.answer(flag::ACK), Verdict::DropExpired);
        }
    }
}

/// The client's port is used again after the end of a connection to a server that drains.
#[test]
fn a_source_port_that_is_used_again_does_not_lead_to_a_draining_server() {
    for family in Family::ALL {
        let (mut bench, connection) = bench(family, true);
        drain(&mut bench, family, OnDrainExpiry::Reset, moment(1 << 20));
        connection.finish(&mut bench);
        let again = Connection::syn(&mut bench, family, 1);
        assert_eq!(again.server, scene::server(family, 1));
        assert_ne!(again.snat, connection.snat);
    }
}

/// It is put back before its time is over: nothing has happened.
#[test]
fn a_backend_that_serves_again_before_its_deadline_keeps_everything() {
    for family in Family::ALL {
        let (mut bench, connection) = bench(family, true);
        drain(&mut bench, family, OnDrainExpiry::Reset, moment(1 << 20));
        bench.apply(&[scene::changed(family, 0, |_| ()), scene::wheel(&[0])]);
        connection.goes_on(&mut bench);
        bench.expect(&connection.answer(flag::ACK), Verdict::Reply);
        assert_eq!(Connection::syn(&mut bench, family, 2).server, scene::server(family, 0));
    }
}
