//! The guarantee of session persistence, at length: 100 000 clients come back at random within their time, while servers
//! come and go, drain, fail and recover, and agents stop, are killed and load the program anew. Whoever does not reach
//! the server it had has a reason, and the reason is counted.

use std::{collections::BTreeSet, time::Duration};

use nlb_agent::{
    datapath::{Datapath as _, Family, aya::Sizes},
    health::{Health, Reason},
};
use nlb_common::event::Event;
use nlb_tests::packet::flag;

use crate::{
    agent::End,
    client::Client,
    overrides::REASONS,
    program::Answer,
    random::Random,
    shop::{Server, Shop},
    world::{Setup, World},
};

const CLIENTS: usize = 100_000;
/// A step of the simulation, in seconds.
const STEP: usize = 10;
/// An hour.
const STEPS: usize = 3600 / STEP;
/// The persistence timeout, in steps.
const TIMEOUT: usize = 1800 / STEP;
/// The draining time, in seconds.
const DRAIN: usize = 120;
/// Servers are numbered below this.
const SERVERS: usize = 60;
/// As many stay eligible at least.
const LEAST: usize = 5;

/// A client between two visits.
#[derive(Clone, Copy, Default)]
struct Visitor {
    /// The server it had.
    server: Option<usize>,
    /// The source port of its last connection.
    port: u16,
    /// Whether that connection is still open.
    is_open: bool,
    /// When it was here.
    last: Duration,
}

struct Story {
    world: World,
    shop: Shop,
    /// Probes say so of configured servers.
    unhealthy: BTreeSet<usize>,
    visitors: Vec<Visitor>,
    /// Who comes in which step.
    visits: Vec<Vec<u32>>,
    random: Random,
    overridden: [u64; 5],
    returned: u64,
    late: u64,
    changes: usize,
}

impl Story {
    fn new() -> Self {
        let fields = format!(
            "session_persistence: {{enabled: true, timeout: {}s}}, connection_draining: {DRAIN}s, health_check: {{protocol: tcp}}",
            TIMEOUT * STEP
        );
        let mut shop = Shop::new(Family::V4, &[10; 20], &fields);
        shop.listener = ", idle_timeout: 86400s".to_owned();
        let mut world =
            World::new(Setup { sizes: Sizes { flows: 1 << 17, ..Sizes::default() }, hash_seed: None });
        world.apply(&shop);
        let mut random = Random::new(2024);
        let mut visits = vec![Vec::new(); STEPS + TIMEOUT + 1];
        for visitor in 0..CLIENTS {
            visits[random.below(20)].push(visitor as u32);
        }
        Self {
            world,
            shop,
            unhealthy: BTreeSet::new(),
            visitors: vec![Visitor::default(); CLIENTS],
            visits,
            random,
            overridden: [0; 5],
            returned: 0,
            late: 0,
            changes: 0,
        }
    }

    /// Why a server gets no new connections, as the index of the reason.
    fn why_not(&self, server: usize) -> Option<usize> {
        let Some(known) = self.shop.servers.iter().find(|known| known.index == server) else {
            return Some(0);
        };
        match known.admin_state {
            "draining" => Some(1),
            "disabled" => Some(2),
            _ if self.unhealthy.contains(&server) => Some(3),
            _ if known.weight == 0 => Some(4),
            _ => None,
        }
    }

    fn eligible(&self) -> usize {
        self.shop.servers.iter().filter(|known| self.why_not(known.index).is_none()).count()
    }

    /// Something happens to a server.
    fn change(&mut self) {
        self.changes += 1;
        let server = self.random.below(SERVERS);
        let may_lose = self.eligible() > LEAST;
        let Some(at) = self.shop.servers.iter().position(|known| known.index == server) else {
            self.shop.servers.push(Server { index: server, weight: 10, admin_state: "enabled" });
            return self.world.apply(&self.shop);
        };
        let known = &mut self.shop.servers[at];
        match self.random.below(6) {
            0 if may_lose => {
                self.shop.servers.remove(at);
                // Nobody remembers how a server was that is not configured.
                self.unhealthy.remove(&server);
            }
            1 if may_lose => known.admin_state = "draining",
            2 if may_lose => known.admin_state = "disabled",
            3 if may_lose => known.weight = 0,
            4 if may_lose => {
                self.unhealthy.insert(server);
                return self.world.flip(server, Health::Unhealthy(Reason::ConnectTimeout));
            }
            _ => {
                (known.admin_state, known.weight) = ("enabled", 1 + self.random.below(20) as u8);
                if self.unhealthy.remove(&server) {
                    self.world.flip(server, Health::Healthy);
                }
            }
        }
        self.world.apply(&self.shop);
    }

    /// A client comes: ends the connection it has left open, if there is one, and opens another.
    fn visit(&mut self, number: u32) {
        let Visitor { mut server, port, is_open, last } = self.visitors[number as usize];
        let n = number as usize;
        if is_open {
            Client::new(Family::V4, n, port).abort(&self.world);
        }
        let port = port.max(1024) + 1;
        let client = Client::new(Family::V4, n, port);
        let answer = client.send(&self.world, flag::SYN);
        let Answer::Server(found) = answer else { panic!("{answer:?} to client {n}") };
        // On a machine that stalls a client may come too late.
        if !is_open && self.world.now() >= last + Duration::from_secs((TIMEOUT * STEP) as u64 - 1) {
            self.late += 1;
            self.overridden = REASONS.map(|event| self.world.event(event));
            server = None;
        }
        if let Some(server) = server {
            match self.why_not(server) {
                None => assert_eq!(found, server, "client {n} lost its entry"),
                Some(reason) => {
                    assert_ne!(found, server, "client {n}: {:?}", REASONS[reason]);
                    self.overridden[reason] += 1;
                }
            }
            self.returned += 1;
        }
        assert_eq!(client.send(&self.world, flag::ACK), answer);
        let is_open = self.random.percent(20);
        if !is_open {
            client.abort(&self.world);
        }
        self.visitors[n] = Visitor { server: Some(found), port, is_open, last: self.world.now() };
    }

    fn step(&mut self, step: usize) {
        if self.random.percent(60) {
            self.change();
        }
        match step % 60 {
            17 => self.world.restart(End::Killed),
            47 => self.world.restart(End::Stopped),
            _ => {}
        }
        for number in std::mem::take(&mut self.visits[step]) {
            self.visit(number);
            // Within its time, but for what a machine may stall.
            let next = step + 1 + self.random.below(TIMEOUT - 3);
            self.visits[next].push(number);
        }
        assert_eq!(REASONS.map(|event| self.world.event(event)), self.overridden, "in step {step}");
        self.world.pass(Duration::from_secs(STEP as u64));
    }
}

#[test]
fn a_hundred_thousand_clients_lose_no_entry_before_its_time_in_an_hour_of_changes() {
    let mut story = Story::new();
    for step in 0..STEPS {
        story.step(step);
    }
    let Story { world, overridden, returned, late, changes, .. } = story;
    println!("{returned} visits in time, {late} late, {changes} changes, overridden {overridden:?}");
    assert!(returned > 3 * CLIENTS as u64 && overridden.iter().all(|&count| count > 100));
    assert_eq!(world.event(Event::PersistenceFull), 0, "there was room");
    let entries = world.datapath().persistence().unwrap();
    assert_eq!(entries.len(), CLIENTS, "each client has its entry");
}
