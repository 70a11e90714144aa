//! The protocol's promises, for every interleaving of a few parties.

use super::model::{
    End, Flow, Op,
    Op::{Drain, Fin, First, Open, Packet, Promote, Record, Reuse, Rst, Sweep},
    Scene,
    Table::{Flows, HalfOpen},
    flow,
};
use std::{vec, vec::Vec};

use crate::abi::flow::{Value, WAYS, state};

/// An established flow that is idle past its time at [`NOW`].
const fn idle(key: u64) -> Flow {
    flow(key, state::ESTABLISHED, 10)
}

/// An established flow that is not.
const fn established(key: u64) -> Flow {
    flow(key, state::ESTABLISHED, 950)
}

const fn half_open(key: u64, seen: u32) -> Flow {
    flow(key, state::HALF_OPEN, seen)
}

const fn closed(key: u64) -> Flow {
    flow(key, state::CLOSED, 960)
}

const fn new(key: u64) -> Flow {
    flow(key, state::ESTABLISHED, NOW)
}

const fn syn(key: u64, seen: u32) -> Flow {
    half_open(key, seen)
}

const fn linked(flow: Flow, link: u32) -> Flow {
    Flow { link, ..flow }
}

const fn of(flow: Flow, backend: u32) -> Flow {
    Flow { backend, ..flow }
}

const NOW: u32 = 1000;

fn rule(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}

fn is_established(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.state() == state::ESTABLISHED)
}

/// Flows 11, 12, ... that fill a table but for `free` entries.
fn others(free: usize) -> Vec<Flow> {
    (11..15).map(established).take(WAYS - free).collect()
}

fn others_live(end: &End<'_>, others: &[Flow]) -> Result<(), &'static str> {
    let all = others.iter().all(|other| is_established(end.flow(Flows, other.key)));
    rule(all, "no live established flow loses its entry")
}

#[test]
fn two_that_record_one_flow_leave_one_entry() {
    for free in [4, 2, 1] {
        Scene::new(&others(free), &[]).holds(&[&[Record(new(1))], &[Record(new(1))]], |end| {
            others_live(end, &others(free))?;
            rule(is_established(end.flow(Flows, 1)), "the flow is recorded")
        });
    }
}

#[test]
fn three_that_record_one_flow_leave_one_entry() {
    Scene::new(&others(2), &[]).holds(&[&[Record(new(1))], &[Record(new(1))], &[Record(new(1))]], |end| {
        rule(is_established(end.flow(Flows, 1)), "the flow is recorded")
    });
}

#[test]
fn a_full_set_has_room_for_as_many_newcomers_as_flows_are_over() {
    for victims in [0, 1, 2] {
        let mut flows = others(victims);
        flows.extend([idle(21), closed(22)].iter().take(victims));
        Scene::new(&flows, &[]).holds(&[&[Record(new(1))], &[Record(new(2))]], |end| {
            others_live(end, &others(victims))?;
            let recorded = [1, 2].iter().filter(|&&key| is_established(end.flow(Flows, key))).count();
            rule(recorded == victims, "each victim makes room for one")
        });
    }
}

#[test]
fn a_flow_promoted_twice_at_once_is_recorded_once_and_holds_its_link_once() {
    for free in [3, 1] {
        Scene::new(&others(free), &[half_open(1, 990)]).holds(
            &[&[Promote(1, 1, NOW)], &[Promote(1, 1, NOW)]],
            |end| {
                others_live(end, &others(free))?;
                rule(is_established(end.flow(Flows, 1)), "the flow is recorded")?;
                rule(end.flow(HalfOpen, 1).is_none(), "it is half-open no more")
            },
        );
    }
}

/// A SYN sent again while another CPU has the segment that completes the handshake: were the tags looked at first, the flow
/// could be promoted between that and the look at the half-open ones, and begin once more with another server.
#[test]
fn a_first_packet_sent_again_does_not_begin_a_flow_that_is_being_promoted() {
    for free in [4, 1] {
        Scene::new(&others(free), &[half_open(1, 990)]).holds(
            &[&[Promote(1, 0, NOW)], &[First(of(syn(1, NOW), 2))]],
            |end| {
                others_live(end, &others(free))?;
                rule(!end.had_room(1), "the flow is known")?;
                let backend = end.flow(Flows, 1).map(Value::backend);
                rule(backend == Some(1), "the flow keeps its server")?;
                rule(end.flow(HalfOpen, 1).is_none(), "it is half-open no more")
            },
        );
    }
}

#[test]
fn of_first_packets_that_meet_each_of_a_flow_leaves_one_entry_and_none_takes_anothers() {
    let full = [half_open(31, 901), half_open(32, 902), half_open(33, 903)];
    let rivals: [&[Op]; 4] =
        [&[First(syn(1, NOW))], &[First(syn(2, NOW))], &[Open(syn(2, NOW))], &[Sweep(HalfOpen, NOW)]];
    for rival in rivals {
        Scene::new(&[], &full).holds(&[&[First(syn(1, NOW))], rival], |end| {
            let is_evicted = matches!(rival, [Open(_)]);
            let stay = [31, 32, 33].iter().filter(|&&key| end.flow(HalfOpen, key).is_some()).count();
            rule(stay == 3 || is_evicted, "who is half-open stays")?;
            rule(!end.had_room(0) || end.flow(HalfOpen, 1).is_some() || is_evicted, "who was taken is there")
        });
    }
}

#[test]
fn a_promoted_flow_is_recorded_whatever_becomes_of_its_half_open_entry() {
    let full = [half_open(1, 800), half_open(31, 901), half_open(32, 902), half_open(33, 903)];
    let rivals: [&[Op]; 4] = [
        &[Sweep(HalfOpen, NOW)],
        &[Open(syn(2, NOW))],
        &[Open(syn(1, NOW))],
        &[Open(syn(2, NOW)), Open(syn(3, NOW))],
    ];
    for rival in rivals {
        Scene::new(&[], &full).holds(&[&[Promote(1, 1, NOW)], rival], |end| {
            rule(end.had_room(0) == is_established(end.flow(Flows, 1)), "a flow that was found is recorded")?;
            let newcomer = match rival.last() {
                Some(Open(newcomer)) if newcomer.key != 1 => newcomer,
                _ => return Ok(()),
            };
            let is_there = end.flow(HalfOpen, newcomer.key).is_some();
            rule(is_there == end.had_room(1), "a newcomer that found room has its entry")
        });
    }
}

#[test]
fn a_newcomer_is_not_ended_by_whoever_ends_the_flow_before_it() {
    for end in [Reuse(21), Rst(21), Fin(21)] {
        let mut flows = others(1);
        flows.push(closed(21));
        Scene::new(&flows, &[]).holds(&[&[end], &[Record(new(1))]], |end| {
            others_live(end, &others(1))?;
            let is_there = is_established(end.flow(Flows, 1));
            rule(is_there == end.had_room(1), "a newcomer that found room has its entry")
        });
    }
}

#[test]
fn every_end_is_counted_once_whoever_is_quicker() {
    let ends: [&[Op]; 6] =
        [&[Fin(1)], &[Rst(1)], &[Fin(1), Rst(1)], &[Reuse(1)], &[Sweep(Flows, NOW)], &[Drain(1)]];
    for one in ends {
        for two in ends {
            Scene::new(&[linked(idle(1), 1)], &[]).holds(&[one, two], |_| Ok(()));
        }
    }
}

#[test]
fn three_ends_are_counted_once_too() {
    let ends: [&[Op]; 5] = [&[Fin(1)], &[Rst(1)], &[Reuse(1)], &[Sweep(Flows, NOW)], &[Record(new(2))]];
    for skipped in 0..ends.len() {
        let three: Vec<&[Op]> = (1..4).map(|offset| ends[(skipped + offset) % ends.len()]).collect();
        let mut flows = others(1);
        flows.push(linked(idle(1), 1));
        Scene::new(&flows, &[]).holds(&three, |end| others_live(end, &others(1)));
    }
}

/// A packet stores its time into an entry that is taken away at this moment: no entry is lost for it, and a flow whose
/// time was seen to be over is gone, or, if the packet was quicker, lives.
#[test]
fn a_late_packet_neither_loses_an_entry_nor_a_count() {
    let rivals: [&[Op]; 6] = [
        &[Record(new(2))],
        &[Sweep(Flows, NOW)],
        &[Drain(1)],
        &[Rst(1), Reuse(1)],
        &[Reuse(1), Record(new(2))],
        &[Sweep(Flows, NOW), Record(new(2))],
    ];
    for rival in rivals {
        let mut flows = vec![linked(idle(1), 1)];
        flows.extend(others(1));
        Scene::new(&flows, &[]).holds(&[&[Packet(1, NOW)], rival], |end| {
            let seen = end.answer(0);
            rule(seen.is_none_or(|seen| seen.listener() == 1), "a packet gets its own flow's value")?;
            let is_there = end.flow(Flows, 2).is_some();
            rule(is_there == end.had_room(1), "a newcomer that found room has its entry")?;
            let used = [1, 11, 12, 13, 2].iter().filter(|&&key| end.flow(Flows, key).is_some()).count();
            rule(used + end.free(Flows) == WAYS, "what holds no flow can be taken")
        });
    }
}

#[test]
fn a_packet_between_two_newcomers_gets_its_own_flows_value() {
    let mut flows = vec![closed(1)];
    flows.extend(others(1));
    for rivals in [[Record(of(new(2), 2)), Rst(2)], [Record(of(new(2), 2)), Reuse(2)]] {
        let rivals: &[Op] = &rivals;
        Scene::new(&flows, &[]).holds(&[&[Packet(1, NOW)], rivals, &[Record(of(new(3), 2))]], |end| {
            rule(end.answer(0).is_none_or(|seen| seen.listener() == 1), "a packet gets its own flow's value")
        });
    }
}

#[test]
fn first_packets_at_once_leave_one_half_open_flow_each() {
    let full: Vec<Flow> = (31..35).map(|key| half_open(key, key as u32)).collect();
    for half_open in [&full[..0], &full[..3], &full] {
        for second in [syn(1, NOW), of(syn(1, NOW + 1), 2), of(syn(2, NOW + 1), 2)] {
            Scene::new(&[], half_open).holds(&[&[Open(syn(1, NOW))], &[Open(second)]], |end| {
                let one = [syn(1, NOW), second].iter().any(|flow| end.flow(HalfOpen, flow.key).is_some());
                rule(one, "at least one of them has an entry")
            });
        }
    }
}

#[test]
fn a_draining_backends_flows_close_once_and_newcomers_to_another_do_not() {
    let rivals: [&[Op]; 5] =
        [&[Fin(1)], &[Rst(1)], &[Packet(1, NOW)], &[Record(of(new(2), 2)), Fin(2)], &[Promote(3, 2, NOW)]];
    for rival in rivals {
        let flows = [linked(established(1), 1), of(established(11), 2)];
        Scene::new(&flows, &[of(half_open(3, 990), 2)]).holds(&[&[Drain(1)], rival], |end| {
            // A packet at this moment puts it off until the next walk.
            let is_over = |value: Value| !value.is_active() || value.last_seen().0 == NOW;
            rule(end.flow(Flows, 1).is_some_and(is_over), "it is active no more")?;
            rule(is_established(end.flow(Flows, 11)), "the other backend's flow goes on")
        });
    }
}

#[test]
fn a_flow_recorded_twice_beside_a_newcomer_that_needs_room() {
    let mut flows = others(2);
    flows.push(closed(21));
    Scene::new(&flows, &[]).holds(&[&[Record(new(1))], &[Record(new(1))], &[Record(new(2))]], |end| {
        others_live(end, &others(2))?;
        rule([1, 2].iter().any(|&key| is_established(end.flow(Flows, key))), "one of them is recorded")
    });
}
