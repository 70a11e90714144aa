use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nlb_common::abi::ring::{self, Slot};
use proptest::prelude::*;

use super::*;

const IDLE: u64 = 10;
const CLIENTS: usize = 8;
const BACKENDS: u16 = 5;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_new_ring_is_clean() {
    let ring = Transition::default().change(&[1, 2, 1, 2], Instant::now(), seconds(IDLE));
    assert_eq!(ring.slots(), [1, 2, 1, 2].map(Slot::clean));
    assert!(ring.is_clean());
}

#[test]
fn a_change_leads_from_slot_to_slot() {
    // Slot, who is to have it, slot then, whether its window starts now or goes on.
    let rows = [
        (Slot::clean(1), 1, Slot::clean(1), None),
        (Slot::clean(1), 2, Slot::new(2, 1), Some("new")),
        (Slot::clean(1), 0, Slot::new(0, 1), Some("new")),
        (Slot::clean(0), 1, Slot::clean(1), None),
        (Slot::new(2, 1), 2, Slot::new(2, 1), Some("old")),
        (Slot::new(2, 1), 3, Slot::new(3, 1), Some("old")),
        (Slot::new(2, 1), 1, Slot::new(1, 1), None),
        (Slot::new(2, 1), 0, Slot::new(0, 1), Some("old")),
        (Slot::new(0, 1), 2, Slot::new(2, 1), Some("old")),
        (Slot::new(0, 1), 1, Slot::new(1, 1), None),
        (Slot::new(1, 1), 1, Slot::new(1, 1), None),
        (Slot::new(1, 1), 2, Slot::new(2, 1), Some("new")),
        (Slot::new(1, 1), 0, Slot::new(0, 1), Some("new")),
    ];
    let start = Instant::now();
    for (slot, to, expected, window) in rows {
        let old = Transition::adopt(vec![slot], start, seconds(IDLE));
        let new = old.change(&[to], start + seconds(3), seconds(IDLE));
        assert_eq!(new.slots(), [expected], "{slot:?} to {to}");
        let end = window.map(|window| start + seconds(if window == "new" { IDLE + 3 } else { IDLE }));
        assert_eq!(new.ends.get(&0), end.as_ref(), "{slot:?} to {to}");
    }
}

#[test]
fn a_tick_leads_from_slot_to_slot() {
    // Slot, seconds since its window began, whether a record leads elsewhere, whether backend 1 is gone, slot after
    // one tick and after two.
    let rows = [
        (Slot::clean(2), IDLE + 1, true, true, [Slot::clean(2); 2]),
        (Slot::new(2, 1), IDLE, false, false, [Slot::new(2, 1); 2]),
        (Slot::new(2, 1), IDLE + 1, false, false, [Slot::new(2, 2), Slot::clean(2)]),
        (Slot::new(2, 1), IDLE + 1, true, false, [Slot::new(2, 2); 2]),
        (Slot::new(2, 1), 0, true, true, [Slot::new(2, 2); 2]),
        (Slot::new(2, 2), 0, true, false, [Slot::new(2, 2); 2]),
        (Slot::new(2, 2), 0, false, false, [Slot::clean(2); 2]),
        (Slot::new(0, 1), IDLE + 1, false, false, [Slot::new(0, 1); 2]),
        (Slot::new(0, 1), 0, true, true, [Slot::new(0, 1); 2]),
        (Slot::new(0, 1), 0, false, true, [Slot::clean(0); 2]),
    ];
    let start = Instant::now();
    for (slot, age, holds, is_gone, expected) in rows {
        let mut ring = Transition::adopt(vec![slot], start, seconds(IDLE));
        let mut before = slot;
        for expected in expected {
            let changed = ring.tick(start + seconds(age), |_| holds, |backend| is_gone && backend == 1);
            assert_eq!(ring.slots(), [expected], "{slot:?} after {age} s, {holds}, {is_gone}");
            assert_eq!(changed.len(), usize::from(expected != before));
            before = expected;
        }
    }
}

#[test]
fn a_ring_grows_but_does_not_shrink() {
    let now = Instant::now();
    let ring = Transition::default().change(&[1, 2], now, seconds(IDLE));
    let ring = ring.change(&[1, 3], now, seconds(IDLE));
    let grown = ring.change(&[1, 1, 2, 4], now + seconds(1), seconds(IDLE));
    let expected = [Slot::clean(1), Slot::clean(1), Slot::new(2, 2), Slot::new(4, 2)];
    assert_eq!(grown.slots(), expected);
    assert_eq!(grown.ends, BTreeMap::from([(3, now + seconds(IDLE))]));
    let same = grown.change(&[1, 2], now + seconds(1), seconds(IDLE));
    assert_eq!(same.slots(), [Slot::clean(1), Slot::clean(1), Slot::new(2, 2), Slot::new(2, 2)]);
    let nobody = same.change(&[], now + seconds(1), seconds(IDLE));
    assert_eq!(nobody.slots(), [Slot::new(0, 1), Slot::new(0, 1), Slot::new(0, 2), Slot::new(0, 2)]);
}

#[derive(Clone, Debug)]
enum Event {
    /// So many seconds, in each of which the agent ticks or not.
    Time {
        seconds: u64,
        ticks: bool,
    },
    Syn(usize),
    Other(usize),
    /// Some forget their records at once.
    Close(usize, bool),
    /// To a ring of 2^bits slots.
    Change {
        bits: u32,
        owners: Vec<u16>,
    },
    /// Out of the ring, at once or after a while.
    Leave(u16, bool),
    Gone(u16),
    Anew(u16),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let client = 0..CLIENTS;
    let backend = 1..=BACKENDS;
    prop_oneof![
        6 => (1..=IDLE, any::<bool>()).prop_map(|(seconds, ticks)| Event::Time { seconds, ticks }),
        8 => client.clone().prop_map(Event::Syn),
        8 => client.clone().prop_map(Event::Other),
        1 => (client, any::<bool>()).prop_map(|(client, forget)| Event::Close(client, forget)),
        4 => (0..=3u32, prop::collection::vec(0..=BACKENDS, 8))
            .prop_map(|(bits, owners)| Event::Change { bits, owners }),
        1 => (backend.clone(), any::<bool>()).prop_map(|(backend, at_once)| Event::Leave(backend, at_once)),
        1 => backend.clone().prop_map(Event::Gone),
        2 => backend.prop_map(Event::Anew),
        1 => Just(Event::Restart),
    ]
}

#[derive(Debug)]
struct Connection {
    server: u16,
    last: Instant,
    is_established: bool,
}

/// Clients, the datapath, and the agent.
struct World {
    now: Instant,
    positions: [u32; CLIENTS],
    connections: BTreeMap<usize, Connection>,
    /// Whose the flow is and when its last packet was, by client.
    records: BTreeMap<usize, (u16, Instant)>,
    agent: Transition,
    desired: Vec<u16>,
    gone: BTreeSet<u16>,
    /// How many established connections were kept by a record or a window.
    kept: usize,
}

impl World {
    fn new(positions: [u32; CLIENTS]) -> Self {
        let now = Instant::now();
        let desired = vec![1, 2];
        let agent = Transition::default().change(&desired, now, seconds(IDLE));
        Self {
            now,
            positions,
            connections: BTreeMap::new(),
            records: BTreeMap::new(),
            agent,
            desired,
            gone: BTreeSet::new(),
            kept: 0,
        }
    }

    fn index(&self, client: usize) -> usize {
        ring::index(self.positions[client], self.agent.slots().len().ilog2()) as usize
    }

    fn packet(&mut self, client: usize, is_syn: bool) -> u16 {
        let slot = self.agent.slots()[self.index(client)];
        let record = self.records.get(&client).map(|&(backend, _)| backend);
        let record = record.filter(|backend| !slot.is_clean() && !self.gone.contains(backend));
        let backend = record.unwrap_or(slot.unrecorded(is_syn));
        if (record.is_some() || slot.is_window()) && backend != 0 && !self.gone.contains(&backend) {
            self.records.insert(client, (backend, self.now));
        }
        backend
    }

    fn syn(&mut self, client: usize) {
        if self.connections.get(&client).is_some_and(|connection| connection.is_established) {
            return self.other(client);
        }
        let server = self.packet(client, true);
        self.connections.remove(&client);
        if server != 0 && !self.gone.contains(&server) {
            self.connections.insert(client, Connection { server, last: self.now, is_established: false });
        }
    }

    fn other(&mut self, client: usize) {
        let backend = self.packet(client, false);
        let current = self.agent.slots()[self.index(client)].current();
        if let Some(connection) = self.connections.get_mut(&client) {
            assert_eq!(connection.server, backend, "the connection of client {client} breaks");
            self.kept += usize::from(backend != current);
            connection.last = self.now;
            connection.is_established = true;
        }
    }

    /// A second, in which every client with an even number that has been silent for long sends what keeps its
    /// connection, as late as it may.
    fn second(&mut self) {
        self.now += seconds(1);
        for client in 0..CLIENTS {
            let Some(connection) = self.connections.get(&client) else { continue };
            let silent = self.now - connection.last;
            if silent > seconds(IDLE) {
                self.connections.remove(&client);
            } else if silent == seconds(IDLE) && client % 2 == 0 {
                self.other(client);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        self.records.retain(|_, &mut (_, last)| now - last <= seconds(IDLE));
        let bits = self.agent.slots().len().ilog2();
        let Self { agent, records, positions, gone, .. } = self;
        let slots = agent.slots().to_vec();
        let holds = |index: usize| {
            records.iter().any(|(&client, (backend, _))| {
                ring::index(positions[client], bits) as usize == index
                    && *backend != slots[index].current()
                    && !gone.contains(backend)
            })
        };
        agent.tick(now, holds, |backend| gone.contains(&backend));
    }

    fn change(&mut self, desired: Vec<u16>) {
        self.agent = self.agent.change(&desired, self.now, seconds(IDLE));
        self.desired = desired;
    }

    fn end(&mut self, backend: u16) {
        if !self.desired.contains(&backend) {
            self.gone.insert(backend);
            self.connections.retain(|_, connection| connection.server != backend);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Time { seconds, ticks } => {
                for _ in 0..seconds {
                    self.second();
                    if ticks {
                        self.tick();
                    }
                }
            }
            Event::Syn(client) => self.syn(client),
            Event::Other(client) => self.other(client),
            Event::Close(client, forget) => {
                self.other(client);
                self.connections.remove(&client);
                if forget {
                    self.records.remove(&client);
                }
            }
            Event::Change { bits, mut owners } => {
                owners.truncate(1 << bits);
                for owner in &mut owners {
                    *owner = if self.gone.contains(owner) { 0 } else { *owner };
                }
                self.change(owners);
            }
            Event::Leave(backend, at_once) => {
                let other = (1..=BACKENDS).find(|other| *other != backend && !self.gone.contains(other));
                let replace = |&owner| if owner == backend { other.unwrap_or(0) } else { owner };
                self.change(self.desired.iter().map(replace).collect());
                if at_once {
                    self.end(backend);
                }
            }
            Event::Gone(backend) => self.end(backend),
            Event::Anew(backend) => {
                let is_recorded = self.records.values().any(|&(recorded, _)| recorded == backend);
                if !is_recorded && !self.agent.names(backend) {
                    self.gone.remove(&backend);
                }
            }
            Event::Restart => {
                self.agent = Transition::adopt(self.agent.slots().to_vec(), self.now, seconds(IDLE));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_connection_breaks_and_every_ring_becomes_clean_again(
        positions: [u32; CLIENTS],
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut world = World::new(positions);
        for event in events {
            world.happen(event);
        }
        world.connections.clear();
        for backend in 1..=BACKENDS {
            world.end(backend);
        }
        for _ in 0..2 * IDLE + 3 {
            world.second();
            world.tick();
        }
        let len = world.agent.slots().len();
        for (index, &slot) in world.agent.slots().iter().enumerate() {
            prop_assert_eq!(slot.current(), world.desired[index * world.desired.len() / len]);
            // Nobody's slots become clean when their previous backends are gone.
            let stays = slot.current() == 0 && !world.gone.contains(&slot.previous());
            prop_assert!(slot.is_clean() || stays, "{slot:?}");
        }
    }
}

#[test]
fn the_model_keeps_connections_by_windows_and_records() {
    let mut world = World::new([0; CLIENTS]);
    world.syn(0);
    world.other(0);
    world.change(vec![3]);
    for _ in 0..5 * IDLE {
        world.second();
        world.tick();
    }
    assert_eq!(world.kept, 5);
    assert!(world.agent.slots()[0].is_settling());
}
