//! Weighted round robin: over any window, each server's share of new connections is its share of the weights.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use nlb_agent::datapath::Family;
use nlb_tests::packet::flag;

use crate::{
    client::Client,
    program::{Answer, send},
    random::Random,
    shop::Shop,
    world::World,
};

fn shop(family: Family, weights: &[u8]) -> Shop {
    Shop::new(family, weights, "scheduler: weighted_round_robin")
}

/// The servers of the next connections. They are opened only, and closed at once.
fn servers(world: &World, family: Family, count: usize) -> Vec<usize> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    (0..count)
        .map(|_| {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let client = Client::new(family, n / 50_000, 1024 + (n % 50_000) as u16);
            let server = client.connect(world);
            client.abort(world);
            server
        })
        .collect()
}

/// Every window of one turn holds each server as often as its weight says, so does every window of several turns; a
/// window of any length is off by less than two.
#[track_caller]
fn check_windows(order: &[usize], weights: &[u8]) {
    let turn: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
    for (server, &weight) in weights.iter().enumerate() {
        let mut before = vec![0usize];
        before.extend(order.iter().scan(0, |count, &picked| {
            *count += usize::from(picked == server);
            Some(*count)
        }));
        for len in 1..=(3 * turn).min(order.len()) {
            for start in 0..=order.len() - len {
                let count = before[start + len] - before[start];
                let off = (count * turn).abs_diff(len * usize::from(weight));
                let bound = if len % turn == 0 { 0 } else { 2 * turn - 1 };
                assert!(off <= bound, "server {server}, {len} connections from {start} on: {count}");
            }
        }
    }
}

/// The weights of a hundred servers, some of them 0; what they have in common is 1.
fn hundred() -> Vec<u8> {
    let mut random = Random::new(100);
    let mut weights: Vec<u8> = (0..100).map(|_| random.below(6) as u8).collect();
    weights[0] = 1;
    weights[99] = 0;
    weights
}

#[test]
fn any_window_of_a_long_run_is_exact() {
    let rows: [(&[u8], usize); 5] =
        [(&[1, 2, 5], 2000), (&[7], 50), (&[1, 0, 1], 200), (&hundred(), 2000), (&[1; 3], 200)];
    for family in Family::ALL {
        let mut world = World::with(&shop(family, &[]));
        for (weights, count) in rows {
            world.apply(&shop(family, weights));
            check_windows(&servers(&world, family, count), weights);
        }
    }
}

/// The wheel is exchanged in the middle of a turn; what follows is exact from the first connection on.
#[test]
fn both_sides_of_a_change_are_exact() {
    let family = Family::V4;
    let mut world = World::with(&shop(family, &[1, 2, 5]));
    for weights in [&[1, 2, 5][..], &[5, 2, 1], &[1, 0, 3], &[1, 2, 5, 4, 1], &[2, 1]] {
        world.apply(&shop(family, weights));
        check_windows(&servers(&world, family, 333), weights);
    }
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

fn cpus() -> Vec<usize> {
    let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|&cpu| all.is_set(cpu).unwrap_or(false)).collect()
}

/// All CPUs turn one wheel: whichever of them a connection comes to, no window is off.
#[test]
fn connections_that_come_to_different_cpus_share_one_wheel() {
    let (family, weights) = (Family::V4, [1, 2, 5]);
    let world = World::with(&shop(family, &weights));
    let mut random = Random::new(3);
    std::thread::scope(|scope| {
        let order = scope.spawn(|| {
            let cpus = cpus();
            let mut order = Vec::new();
            for _ in 0..200 {
                pin(cpus[random.below(cpus.len())]);
                order.extend(servers(&world, family, 1 + random.below(9)));
            }
            order
        });
        check_windows(&order.join().unwrap(), &weights);
    });
}

/// At once, nobody knows the order; but of whole turns every server has its share exactly.
#[test]
fn cpus_that_turn_the_wheel_at_once_neither_lose_nor_repeat_a_slot() {
    let (family, weights) = (Family::V4, [1u8, 2, 5]);
    let world = World::with(&shop(family, &weights));
    let mut datapath = world.datapath().lock();
    let program = &*datapath.program().unwrap();
    let runs = |base: usize, cpu: usize| {
        move || {
            pin(cpu);
            let mut counts = [0usize; 3];
            for n in 0..2000 {
                let client = Client::new(family, base + n, 3000);
                let Answer::Server(server) = send(program, &client.segment(flag::SYN)) else {
                    panic!("dropped")
                };
                counts[server] += 1;
                // So that there is always room for half-open flows: without, the hash decides.
                send(program, &client.segment(flag::ACK));
                send(program, &client.segment(flag::RST));
            }
            counts
        }
    };
    let cpus = cpus();
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..2).map(|thread| scope.spawn(runs(10_000 * thread, cpus[thread % cpus.len()]))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold([0; 3], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1], sum[2] + counts[2]])
    });
    assert_eq!(counts, [500, 1000, 2500]);
}
