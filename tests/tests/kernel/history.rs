//! Random histories on all CPUs: opens, data, closes, port reuse, timeouts, evictions, drains. Whenever all is quiet,
//! what is counted is what the tables hold.

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use nlb_agent::{
    datapath::{BackendState, Datapath as _, Eligibility, Family, FlowCounts, aya},
    model::OnDrainExpiry,
};
use nlb_common::{event::Event, ticks::Ticks, verdict::Verdict};
use nlb_tests::packet::flag;

use crate::{
    bench::Bench,
    crowd::{self, Driver, Paths, Random, Steady, changed, pin, services},
    recount,
};

/// How long a history is, and among whom.
struct History {
    name: &'static str,
    seed: u64,
    /// Packets of the crowd.
    steps: u32,
    /// How often all stop, and everything is counted.
    stops: u32,
    /// Threads that send; they take turns on the CPUs.
    threads: usize,
    /// Clients of each kind.
    clients: u32,
    /// The flow table's size.
    flows: u32,
    /// SNAT ports of each family.
    ports: u16,
}

/// Packets of the longest history, unless somebody says otherwise.
const STEPS: u32 = 1_000_000;

/// `NLB_TEST_STEPS`: how many packets the longest history has; for emulated machines.
fn steps() -> u32 {
    match env::var("NLB_TEST_STEPS") {
        Ok(text) => text.parse().expect("NLB_TEST_STEPS is a number"),
        Err(_) => STEPS,
    }
}

impl History {
    fn run(&self) {
        let mut bench = crowd::bench(self.flows, self.ports);
        let steady = Steady::all(&mut bench);
        bench.apply(&services(&[0, 1, 2]));
        let paths = Paths::new(self.clients);
        let mut random = Random::new(self.seed);
        for stop in 0..self.stops {
            self.part(&mut bench, &paths, &mut random, u64::from(stop) + 1);
            let found = check(&mut bench, self.name);
            steady.iter().for_each(|flow| flow.goes_on(&mut bench));
            eprintln!("{}, stop {stop}: {} flows held", self.name, held(&found));
        }
        if steps() < STEPS {
            // A short history need not have met everything.
            return;
        }
        let events = bench.datapath().events().unwrap();
        for event in [Event::FlowEvicted, Event::FlowUnrecorded] {
            assert!(events[event as usize] > 0, "{}: nothing of {event:?}: {events:?}", self.name);
        }
    }

    /// The crowd's packets up to the next stop, while this thread sweeps and servers come and go.
    fn part(&self, bench: &mut Bench, paths: &Paths, random: &mut Random, part: u64) {
        let running = AtomicUsize::new(self.threads);
        let steps = self.steps / self.stops / self.threads as u32;
        let programs: Vec<_> = (0..self.threads).map(|_| bench.another()).collect();
        thread::scope(|scope| {
            for (index, program) in programs.into_iter().enumerate() {
                let seed = self.seed + part * 64 + index as u64 + 1;
                let random = Random::new(seed);
                let mut driver = Driver { program, paths, random, clients: self.clients };
                let running = &running;
                scope.spawn(move || {
                    let _ended = Ended(running);
                    pin(index);
                    (0..steps).for_each(|_| driver.step());
                });
            }
            while running.load(Ordering::Acquire) > 0 {
                disturb(bench, random);
            }
        });
    }
}

/// Counts a thread out, even one that fails.
struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Something the agent does: a sweep at a moment that may be far ahead, or a server that leaves or comes back.
fn disturb(bench: &mut Bench, random: &mut Random) {
    let ahead = random.one_of(&[0, 0, 0, 0, 0, 0, 0, 11, 61, 125]);
    bench.datapath().sweep_at(later(Duration::from_secs(ahead))).unwrap();
    let (family, index) = (random.one_of(&Family::ALL), random.one_of(&[1, 2]));
    let (state, eligibility) = random.one_of(&[
        (BackendState::Serving, Eligibility::Eligible),
        (BackendState::Serving, Eligibility::Eligible),
        (BackendState::Serving, Eligibility::Draining),
        (
            BackendState::Draining(OnDrainExpiry::Reset, later(Duration::from_millis(10))),
            Eligibility::Draining,
        ),
        (BackendState::Expired(OnDrainExpiry::Reset), Eligibility::Draining),
        (BackendState::Expired(OnDrainExpiry::Silent), Eligibility::Draining),
    ]);
    bench.apply(&changed(family, index, |backend| {
        backend.state = state;
        backend.eligibility = eligibility;
    }));
    bench.apply(&services(random.one_of(&[&[0, 1, 2], &[0, 1], &[2, 0], &[1, 2]])));
}

fn later(span: Duration) -> Ticks {
    Ticks(aya::now().0.wrapping_add(Ticks::from_duration(span).0))
}

/// Compares everything that is counted with what there is, without ending anything but what is over.
#[track_caller]
fn check(bench: &mut Bench, name: &str) -> FlowCounts {
    let found = match recount::active(bench.datapath()) {
        Ok(found) => found,
        Err(wrong) => panic!("{name}: {wrong}"),
    };
    recount::links(bench);
    recount::tags(bench);
    found
}

fn held(found: &FlowCounts) -> u64 {
    found.backends.values().map(|flows| flows.held).sum()
}

/// A flow that begins and ends with two packets is never active, and holds nothing that it would have to give back.
#[test]
fn however_short_a_flow_is_its_persistence_entry_is_given_back() {
    let mut bench = crowd::bench(1024, 100);
    let ends: [&[u8]; 4] = [
        &[flag::SYN, flag::FIN_ACK],
        &[flag::SYN, flag::FIN_ACK, flag::RST],
        &[flag::SYN, flag::ACK, flag::FIN_ACK],
        &[flag::SYN, flag::ACK, flag::RST],
    ];
    for family in Family::ALL {
        for (n, segments) in (0..).zip(ends) {
            for &flags in segments {
                bench.expect(&crowd::through_tunnel(family, n, flags), Verdict::Forward);
            }
            recount::links(&bench);
            let entries = bench.datapath().persistence().unwrap();
            assert!(entries.iter().all(|entry| entry.connections == 0), "{segments:x?}: {entries:?}");
        }
    }
}

/// Few clients, fewer sets: nearly every packet meets another one at its entry.
#[test]
fn several_cpus_on_a_few_sets_lose_nothing_and_count_nothing_twice() {
    let steps = steps() / 4;
    History { name: "stress", seed: 1, steps, stops: 5, threads: 4, clients: 24, flows: 32, ports: 60 }.run();
}

#[test]
fn a_recount_of_the_tables_equals_every_counter_after_a_million_packets() {
    let steps = steps();
    History { name: "history", seed: 2, steps, stops: 10, threads: 2, clients: 2000, flows: 64, ports: 3000 }
        .run();
}
