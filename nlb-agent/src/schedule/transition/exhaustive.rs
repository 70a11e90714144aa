//! Every state that one slot and one client can get into.
//!
//! Clients do not meet but in what the sweeper says (a record of another client's keeps a slot from being clean) and
//! slots not at all, so that what holds here holds for any number of both.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    iter,
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
    /// As a packet that is still on its way through the datapath may have read the slot.
    stale: Option<Slot>,
    /// What a sweep since the slot was last written said: whether the client's record leads elsewhere.
    swept: Option<bool>,
    /// A packet of the connection has reached another server.
    is_broken: bool,
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
    /// All packets are through that read the slot as it was.
    Grace,
    Syn(Read),
    Other(Read),
    /// The client forgets the connection; its record goes at once or stays for a while.
    Close {
        forget: bool,
    },
    Sweep,
    Change {
        to: u16,
        /// Which slot a packet may have read: the one of now or one before.
        read: Read,
    },
    Tick {
        /// By another client's record.
        held: bool,
    },
    Restart,
    Gone(u16),
    /// The number of a backend that is gone is given to a new one.
    Anew(u16),
}

/// A packet reads the slot, and then is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Now,
    Before,
}

fn events() -> impl Iterator<Item = Event> {
    let plain = [
        Event::Second,
        Event::Grace,
        Event::Syn(Read::Now),
        Event::Syn(Read::Before),
        Event::Other(Read::Now),
        Event::Other(Read::Before),
        Event::Close { forget: true },
        Event::Close { forget: false },
        Event::Sweep,
        Event::Tick { held: true },
        Event::Tick { held: false },
        Event::Restart,
    ];
    let backends = (1..=BACKENDS).flat_map(|backend| [Event::Gone(backend), Event::Anew(backend)]);
    let changes =
        (0..=BACKENDS).flat_map(|to| [Read::Now, Read::Before].map(|read| Event::Change { to, read }));
    plain.into_iter().chain(backends).chain(changes)
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

    fn is_elsewhere(&self) -> bool {
        self.record
            .is_some_and(|Record { backend, .. }| backend != self.slot.current() && !self.is_gone(backend))
    }

    fn publish(&mut self, Transition { slots, ends }: &Transition, now: Instant) {
        self.stale = Some(self.slot);
        self.swept = None;
        self.slot = slots[0];
        self.left = ends.get(&0).map(|&end| match end.checked_duration_since(now) {
            Some(left) => left.as_secs() as i8,
            None => -1,
        });
    }

    /// What the datapath does with the client's packet; who gets it.
    fn packet(&mut self, is_syn: bool, slot: Slot) -> u16 {
        let record = self.record.filter(|record| !slot.is_clean() && !self.is_gone(record.backend));
        let backend = record.map_or(slot.unrecorded(is_syn), |record| record.backend);
        let is_recorded = record.is_some() || slot.is_window();
        if is_recorded && backend != 0 && !self.is_gone(backend) {
            self.record = Some(Record { backend, age: 0 });
        }
        backend
    }

    /// The slot that a packet has read. A client sends a packet when the one before is through, which so has read
    /// nothing newer.
    fn read(&mut self, read: Read) -> Option<Slot> {
        match read {
            Read::Now => {
                self.stale = None;
                Some(self.slot)
            }
            Read::Before => self.stale,
        }
    }

    /// The world after an event; `None` if it cannot happen.
    fn after(mut self, event: Event, now: Instant) -> Option<Self> {
        let idle = Duration::from_secs(u64::from(IDLE));
        match event {
            Event::Grace => self.stale = None,
            Event::Second => {
                self.stale = None;
                self.left = self.left.map(|left| (left - 1).max(-1));
                self.record =
                    self.record.map(|record| Record { age: (record.age + 1).min(IDLE + 1), ..record });
                // Idle for too long: nothing is promised any more.
                self.connection = self
                    .connection
                    .map(|connection| Connection { age: connection.age + 1, ..connection })
                    .filter(|connection| connection.age <= IDLE);
            }
            Event::Syn(read) => {
                if self.connection.is_some_and(|connection| connection.is_established) {
                    return None;
                }
                let slot = self.read(read)?;
                let server = self.packet(true, slot);
                let is_accepted = server != 0 && !self.is_gone(server);
                self.connection = is_accepted.then_some(Connection { server, age: 0, is_established: false });
            }
            Event::Other(read) => {
                let slot = self.read(read)?;
                let backend = self.packet(false, slot);
                if let Some(connection) = &mut self.connection {
                    self.is_broken = backend != connection.server;
                    *connection = Connection { age: 0, is_established: true, ..*connection };
                }
            }
            Event::Close { forget } => {
                self.connection = None;
                self.record = self.record.filter(|_| !forget);
            }
            Event::Sweep => {
                self.record = self.record.filter(|record| record.age <= IDLE);
                self.swept = self.stale.is_none().then(|| self.is_elsewhere());
            }
            Event::Change { to, read } => {
                if self.is_gone(to) {
                    return None;
                }
                let stale = self.read(read)?;
                let agent = self.agent(now).change(&[to], now, idle);
                self.publish(&agent, now);
                self.stale = Some(stale);
            }
            Event::Tick { held } => {
                let elsewhere = self.swept?;
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
                let is_named = self.agent(now).names(backend) || self.stale.is_some();
                if !self.is_gone(backend) || is_recorded || is_named {
                    return None;
                }
                self.gone &= !(1 << backend);
            }
        }
        Some(self)
    }

    /// Whether the slot becomes clean when the client is silent.
    fn settles(mut self, now: Instant) -> bool {
        if self.slot.current() == 0 {
            // Else it may stay as it is.
            self.gone = u8::MAX;
        }
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
    let start = World {
        slot: Slot::clean(1),
        left: None,
        record: None,
        connection: None,
        gone: 0,
        stale: None,
        swept: None,
        is_broken: false,
    };
    // How each was reached.
    let mut seen: HashMap<World, Option<(World, Event)>> = HashMap::from([(start, None)]);
    let mut todo = VecDeque::from([start]);
    let mut by_state: BTreeMap<&str, usize> = BTreeMap::new();
    while let Some(world) = todo.pop_front() {
        let is_consistent = world.left.is_some() == world.slot.is_window();
        if world.is_broken || !is_consistent || !world.settles(now) {
            let path = iter::successors(seen[&world], |(before, _)| seen[before]);
            panic!(
                "{world:#?}\nafter, the last first: {:#?}",
                path.map(|(_, event)| event).collect::<Vec<_>>()
            );
        }
        let slot = world.slot;
        let state = if slot.is_clean() {
            "clean"
        } else if slot.is_window() {
            "window"
        } else {
            "settling"
        };
        *by_state.entry(state).or_default() += 1;
        for event in events() {
            let Some(next) = world.after(event, now) else { continue };
            if let Entry::Vacant(entry) = seen.entry(next) {
                entry.insert(Some((world, event)));
                todo.push_back(next);
            }
        }
    }
    assert!(by_state.len() == 3 && by_state.values().all(|&worlds| worlds > 1000), "{by_state:?}");
}
