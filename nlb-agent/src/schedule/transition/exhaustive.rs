//! Every state that one slot and one client can get into.
//!
//! Clients do not meet but in what the sweeper says (a record of another client's keeps a slot from being clean) and
//! slots not at all, so that what holds here holds for any number of both.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use nlb_common::abi::ring::Slot;

use super::Transition;

/// In seconds, which are the ticks of this world.
const IDLE: u8 = 2;
const BACKENDS: u16 = 3;

/// Times are ages, so that the states are finitely many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    slot: Slot,
    /// Seconds to the window's end, or that it is over.
    left: Option<i8>,
    record: Option<Record>,
    connection: Option<Connection>,
    /// A bit for each backend.
    gone: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    backend: u16,
    age: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Connection {
    /// Who got the last SYN.
    server: u16,
    /// Since the last packet.
    age: u8,
    is_established: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Second,
    Syn,
    Other,
    /// The client forgets the connection; its record goes at once or stays for a while.
    Close {
        forget: bool,
    },
    Sweep,
    Change(u16),
    Tick {
        /// By another client's record.
        held: bool,
    },
    Restart,
    Gone(u16),
    /// The number of a backend that is gone is given to a new one.
    Anew(u16),
}

fn events() -> impl Iterator<Item = Event> {
    let plain = [
        Event::Second,
        Event::Syn,
        Event::Other,
        Event::Close { forget: true },
        Event::Close { forget: false },
        Event::Sweep,
        Event::Tick { held: true },
        Event::Tick { held: false },
        Event::Restart,
    ];
    let backends = (1..=BACKENDS).flat_map(|backend| [Event::Gone(backend), Event::Anew(backend)]);
    plain.into_iter().chain(backends).chain((0..=BACKENDS).map(Event::Change))
}

impl World {
    fn is_gone(&self, backend: u16) -> bool {
        self.gone & 1 << backend != 0
    }

    fn agent(&self, now: Instant) -> Transition {
        let end = self.left.map(|left| {
            if left < 0 { now - Duration::from_secs(1) } else { now + Duration::from_secs(left as u64) }
        });
        Transition { slots: vec![self.slot], ends: end.map(|end| (0, end)).into_iter().collect() }
    }

    fn publish(&mut self, Transition { slots, ends }: &Transition, now: Instant) {
        self.slot = slots[0];
        self.left = ends.get(&0).map(|&end| match end.checked_duration_since(now) {
            Some(left) => left.as_secs() as i8,
            None => -1,
        });
    }

    /// What the datapath does with the client's packet; who gets it.
    fn packet(&mut self, is_syn: bool) -> u16 {
        let record = self.record.filter(|record| !self.slot.is_clean() && !self.is_gone(record.backend));
        let backend = record.map_or(self.slot.unrecorded(is_syn), |record| record.backend);
        let is_recorded = record.is_some() || self.slot.is_window();
        if is_recorded && backend != 0 && !self.is_gone(backend) {
            self.record = Some(Record { backend, age: 0 });
        }
        backend
    }

    /// The world after an event; `None` if it cannot happen. Panics if a connection breaks.
    fn after(mut self, event: Event, now: Instant) -> Option<Self> {
        let idle = Duration::from_secs(u64::from(IDLE));
        match event {
            Event::Second => {
                self.left = self.left.map(|left| (left - 1).max(-1));
                self.record =
                    self.record.map(|record| Record { age: (record.age + 1).min(IDLE + 1), ..record });
                // Idle for too long: nothing is promised any more.
                self.connection = self
                    .connection
                    .map(|connection| Connection { age: connection.age + 1, ..connection })
                    .filter(|connection| connection.age <= IDLE);
            }
            Event::Syn => {
                if self.connection.is_some_and(|connection| connection.is_established) {
                    return None;
                }
                let server = self.packet(true);
                let is_accepted = server != 0 && !self.is_gone(server);
                self.connection = is_accepted.then_some(Connection { server, age: 0, is_established: false });
            }
            Event::Other => {
                let backend = self.packet(false);
                if let Some(connection) = &mut self.connection {
                    assert_eq!(backend, connection.server, "the connection breaks");
                    *connection = Connection { age: 0, is_established: true, ..*connection };
                }
            }
            Event::Close { forget } => {
                self.connection = None;
                self.record = self.record.filter(|_| !forget);
            }
            Event::Sweep => self.record = self.record.filter(|record| record.age <= IDLE),
            Event::Change(to) => {
                if self.is_gone(to) {
                    return None;
                }
                let agent = self.agent(now).change(&[to], now, idle);
                self.publish(&agent, now);
            }
            Event::Tick { held } => {
                let elsewhere = self.record.is_some_and(|Record { backend, .. }| {
                    backend != self.slot.current() && !self.is_gone(backend)
                });
                let mut agent = self.agent(now);
                agent.tick(now, |_| held || elsewhere, |backend| self.is_gone(backend));
                self.publish(&agent, now);
            }
            Event::Restart => {
                let agent = Transition::adopt(vec![self.slot], now, idle);
                self.publish(&agent, now);
            }
            Event::Gone(backend) => {
                if self.slot.current() == backend {
                    return None;
                }
                self.gone |= 1 << backend;
                self.connection = self.connection.filter(|connection| connection.server != backend);
            }
            Event::Anew(backend) => {
                let is_recorded = self.record.is_some_and(|record| record.backend == backend);
                if !self.is_gone(backend) || is_recorded || self.agent(now).names(backend) {
                    return None;
                }
                self.gone &= !(1 << backend);
            }
        }
        Some(self)
    }

    /// Whether the slot becomes clean when the client is silent.
    fn settles(mut self, now: Instant) -> bool {
        for _ in 0..2 * IDLE + 2 {
            for event in [Event::Second, Event::Sweep, Event::Tick { held: false }] {
                self = self.after(event, now).unwrap();
            }
        }
        self.slot.is_clean() && self.left.is_none()
    }
}

#[test]
fn no_connection_breaks_and_every_slot_becomes_clean_again() {
    // An age before it must exist, too.
    let now = Instant::now() + Duration::from_secs(60);
    let start = World { slot: Slot::clean(1), left: None, record: None, connection: None, gone: 0 };
    let mut seen = HashSet::from([start]);
    let mut todo = vec![start];
    let mut by_state: BTreeMap<&str, usize> = BTreeMap::new();
    while let Some(world) = todo.pop() {
        assert!(world.settles(now), "{world:?}");
        assert_eq!(world.left.is_some(), world.slot.is_window(), "{world:?}");
        let state = if world.slot.is_clean() {
            "clean"
        } else if world.slot.is_window() {
            "window"
        } else {
            "settling"
        };
        *by_state.entry(state).or_default() += 1;
        for event in events() {
            let Some(next) = world.after(event, now) else { continue };
            if seen.insert(next) {
                todo.push(next);
            }
        }
    }
    eprintln!("{by_state:?}");
    assert!(by_state.values().all(|&worlds| worlds > 100), "{by_state:?}");
}
