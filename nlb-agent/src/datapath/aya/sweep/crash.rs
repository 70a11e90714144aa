//! The agent is killed in front of every single write of a sweep, the one after it in front of every write of its
//! recovery, and packets go on meanwhile: whatever happens, an end is counted once.

use nlb_common::{
    abi::{
        active::Active,
        backend::state as backend_state,
        conn::{self, Conn, ConnV4, Status},
        conn_set::ConnSet,
        flow::{FlowEntry, FlowSet, Key, Links, Value, state},
        listener::{Listener, endpoint, tracking},
        persistence::{PersistenceSet, Use, link},
        sweep::{Sweep, table},
    },
    addr::V4,
    packet::protocol,
    tcp::State,
    ticks::Ticks,
};

use super::{
    super::{mapped::Mapped, words::kill},
    Ends, FlowTable, Judge, Reserved, Tables,
};
use crate::datapath::{BackendId, Family, FlowCounts, SnatSlot};

const IDLE: u32 = 100;
/// Long after the first flow's last packet, and the moment of the second one's.
const NOW: u32 = 100_000;
/// A backend that serves, and one whose time is over.
const SERVING: u32 = 1;
const EXPIRED: u32 = 2;
/// The port of the connection that is over, and that of one that goes on.
const OVER: u16 = 10;
const LIVE: u16 = 11;

/// Every table with two flows of one client to one backend: the first is over, the second goes on (unless the backend is
/// expired).
struct Memory {
    flows: Mapped<FlowSet>,
    links: Mapped<Links>,
    half_open: Mapped<FlowSet>,
    conns: Mapped<ConnV4>,
    conn_links: Mapped<u32>,
    conn_sets: Mapped<ConnSet>,
    active: Mapped<u64>,
    persistence: Mapped<PersistenceSet>,
    sweep: Mapped<Sweep>,
}

/// A scene: which table, and what the flows in it are.
#[derive(Clone, Copy, Debug)]
struct Scene {
    table: u32,
    backend: u32,
    /// State of the flows; of the connection table's its own.
    state: u64,
    linked: bool,
}

impl Scene {
    const ALL: [Self; 9] = [
        Self { table: table::FLOWS, backend: SERVING, state: state::ESTABLISHED, linked: true },
        Self { table: table::FLOWS, backend: SERVING, state: state::ESTABLISHED, linked: false },
        Self { table: table::FLOWS, backend: SERVING, state: state::CLOSED, linked: true },
        Self { table: table::FLOWS, backend: EXPIRED, state: state::ESTABLISHED, linked: true },
        Self { table: table::HALF_OPEN, backend: SERVING, state: state::HALF_OPEN, linked: false },
        Self { table: table::CONNS_V4, backend: SERVING, state: State::ESTABLISHED.0 as u64, linked: true },
        Self { table: table::CONNS_V4, backend: SERVING, state: State::HALF_OPEN.0 as u64, linked: false },
        Self { table: table::CONNS_V4, backend: SERVING, state: State::CLOSED.0 as u64, linked: true },
        Self { table: table::CONNS_V4, backend: EXPIRED, state: State::ESTABLISHED.0 as u64, linked: true },
    ];

    fn is_active(self) -> bool {
        match self.table {
            table::CONNS_V4 => State(self.state as u8).is_active(),
            _ => Value(self.state).is_active(),
        }
    }
}

fn write<T: aya::Pod>(map: &Mapped<T>, index: u32, change: impl FnOnce(&mut T)) {
    // SAFETY: within the array, as `at` says, and nobody else is there.
    change(unsafe { &mut *map.at(index).unwrap() });
}

impl Memory {
    fn new(scene: Scene) -> Self {
        let memory = Self {
            flows: Mapped::fake(1),
            links: Mapped::fake(1),
            half_open: Mapped::fake(1),
            conns: Mapped::fake(conn::PORTS),
            conn_links: Mapped::fake(conn::PORTS),
            conn_sets: Mapped::fake(2),
            active: Mapped::fake(4),
            persistence: Mapped::fake(1),
            sweep: Mapped::fake(1),
        };
        let link = if scene.linked { link(0, 3) } else { 0 };
        // A closed flow of the serving backend goes on for a while, too.
        for (way, seen) in [(0, 1), (1, NOW)] {
            let value = Value::new(scene.state, 1, scene.backend, Ticks(seen)).linked(scene.linked);
            let entry = FlowEntry { key: Key::v4(1, way, 1).0, value: value.0 };
            let way = usize::from(way);
            match scene.table {
                table::FLOWS => write(&memory.flows, 0, |set| set.entries[way] = entry),
                table::HALF_OPEN => write(&memory.half_open, 0, |set| set.entries[way] = entry),
                _ => memory.connect(if seen == NOW { LIVE } else { OVER }, scene, seen, link),
            }
            write(&memory.links, 0, |links| links[way] = link);
        }
        let active = if scene.is_active() { 2 } else { 0 };
        write(&memory.active, scene.backend, |word| *word = active);
        let held = if scene.linked { active } else { 0 };
        write(&memory.persistence, 0, |set| set.entries[3].use_ = Use::new(Ticks(1)).0 + held);
        memory
    }

    fn connect(&self, port: u16, scene: Scene, seen: u32, link: u32) {
        write(&self.conns, port.into(), |conn: &mut Conn<V4>| {
            let status = Status(0x700).with_state(State(scene.state as u8));
            conn.status = if link == 0 { status.0 } else { status.linked().0 };
            conn.last_seen = seen;
            conn.backend = scene.backend;
            conn.listener = 1;
            conn.protocol = protocol::TCP;
        });
        write(&self.conn_links, port.into(), |word| *word = link);
    }

    fn ends(&self) -> Ends<'_> {
        let Self { sweep, active, persistence, .. } = self;
        Ends { sweep, active, persistence, now: Ticks(NOW) }
    }

    fn tables(&self) -> ([FlowTable<'_>; 2], Tables<'_, V4>) {
        let Self { flows, links, half_open, conns, conn_links, conn_sets, .. } = self;
        let flows = FlowTable { number: table::FLOWS, sets: flows, links: Some(links) };
        let half_open = FlowTable { number: table::HALF_OPEN, sets: half_open, links: None };
        let conns = Tables { family: Family::V4, conns, links: conn_links, sets: conn_sets, hash_seed: 7 };
        ([flows, half_open], conns)
    }

    /// What an agent does once a second.
    fn sweep(&self, scene: Scene) -> FlowCounts {
        let listener = Listener {
            idle_timeout: IDLE,
            tracking: tracking::FULL,
            endpoint: endpoint(nlb_common::be::Be16::new(80), protocol::TCP, 4),
            ..Listener::default()
        };
        let judge = Judge {
            acls: None,
            now: Ticks(NOW),
            listeners: vec![Listener::default(), listener],
            backends: vec![backend_state::FREE, backend_state::SERVING, backend_state::EXPIRED_RESET],
            persistence: Vec::new(),
        };
        let (flows, conns) = self.tables();
        let mut counts = FlowCounts::default();
        let slots: &[_] = if scene.table == table::CONNS_V4 { &[SnatSlot(0)] } else { &[] };
        conns.sweep(slots, &judge, &self.ends(), &mut Reserved::new(), &mut counts).unwrap();
        for table in flows {
            table.sweep(&judge, &self.ends(), &mut counts).unwrap();
        }
        counts
    }

    /// What an agent does first.
    fn recover(&self) {
        let (flows, conns) = self.tables();
        conns.recover(&self.ends()).unwrap();
        flows.iter().for_each(|table| table.recover(&self.ends()).unwrap());
    }

    /// Packets while no agent runs: a late one stores its time where the flow was, another client's connection to the
    /// same backend opens, and one more of the client's own.
    fn traffic(&self, scene: Scene) {
        let late = |set: &mut FlowSet| {
            let value = &mut set.entries[0].value;
            *value = Value(*value).seen(Ticks(NOW + 1)).0;
        };
        match scene.table {
            table::FLOWS => write(&self.flows, 0, late),
            table::HALF_OPEN => write(&self.half_open, 0, late),
            _ => {}
        }
        write(&self.active, scene.backend, |word| *word += 2);
        write(&self.persistence, 0, |set| set.entries[3].use_ += 1);
    }

    fn active(&self, backend: u32) -> u32 {
        Active(self.active.read(backend).unwrap()).count()
    }

    fn held(&self) -> u32 {
        Use(self.persistence.read(0).unwrap().entries[3].use_).connections()
    }
}

/// Sweeps, and asserts that what is counted is what the sweep found, beside `others` that are in no table.
#[track_caller]
fn check(memory: &Memory, scene: Scene, others: (u32, u32), what: &str) {
    let found = memory.sweep(scene);
    let active = found.backends.get(&BackendId(scene.backend)).map_or(0, |flows| flows.active as u32);
    assert_eq!(memory.active(scene.backend), active + others.0, "{scene:?}: connections, {what}");
    let held = if scene.linked { active } else { 0 };
    assert_eq!(memory.held(), held + others.1, "{scene:?}: the persistence entry's, {what}");
    assert_eq!(memory.sweep.read(0).unwrap().table, table::NONE, "{scene:?}: {what}");
    for entry in
        memory.flows.read(0).unwrap().entries.into_iter().chain(memory.half_open.read(0).unwrap().entries)
    {
        let value = Value(entry.value);
        assert!(
            value.is_live() || (value.is_free() && entry.key == 0),
            "{scene:?}: {entry:x?} stays behind, {what}"
        );
    }
    for port in [OVER, LIVE] {
        let status = Status(memory.conns.read(port.into()).unwrap().status);
        let is_settled = status.is_conn() || status.state() == conn::FREE;
        assert!(is_settled, "{scene:?}: {status:?} stays behind, {what}");
    }
}

#[test]
fn a_sweep_that_nobody_disturbs_ends_what_is_over() {
    for scene in Scene::ALL {
        let memory = Memory::new(scene);
        check(&memory, scene, (0, 0), "undisturbed");
        let left = u32::from(scene.backend == SERVING && scene.is_active());
        assert_eq!(memory.active(scene.backend), left, "{scene:?}");
    }
}

#[test]
fn an_end_is_counted_once_wherever_the_agent_and_the_next_one_are_killed() {
    for scene in Scene::ALL {
        for first in 0.. {
            let mut was_killed = true;
            for second in 0.. {
                let memory = Memory::new(scene);
                was_killed = kill::before_write(first, || drop(memory.sweep(scene)));
                memory.traffic(scene);
                let again = kill::before_write(second, || memory.recover());
                memory.recover();
                check(&memory, scene, (2, 1), &format!("killed before writes {first} and {second}"));
                if !again {
                    break;
                }
            }
            if !was_killed {
                assert!(first > 5, "{scene:?}: a sweep of {first} writes ends nothing");
                break;
            }
        }
    }
}

/// A persistence entry has room for the low bits of an end's number only.
#[test]
fn an_end_whose_number_looks_like_the_last_one_is_counted_too() {
    let scene = Scene::ALL[0];
    for before in [0, 4095, 4096, 8191, u32::MAX] {
        for last in [before, before.wrapping_add(1), before.wrapping_add(2)] {
            let memory = Memory::new(scene);
            write(&memory.sweep, 0, |sweep| sweep.end = before);
            write(&memory.persistence, 0, |set| set.entries[3].use_ |= u64::from(last & 0xfff) << 20);
            check(&memory, scene, (0, 0), &format!("after end {before}, with {last} at the entry"));
        }
    }
}
