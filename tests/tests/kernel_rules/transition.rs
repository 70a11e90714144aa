//! `connection_tracking: transition`: state only while a slot of the ring changes hands, and no established connection
//! ever moves while its server may serve it. The protocol is at `nlb_common::abi::ring`.

use std::{collections::BTreeMap, time::Duration};

use nlb_agent::{
    datapath::{Datapath as _, Family},
    health::{Health, Reason},
};
use nlb_common::abi::ring::Slot;
use nlb_tests::packet::flag;

use crate::{
    agent::End,
    client::Client,
    program::Answer,
    random::Random,
    shop::{Server, Shop},
    world::{Setup, World},
};

/// The listeners' idle timeout.
const IDLE: u64 = 20;
/// The draining time of most.
const DRAIN: u64 = 60;

fn shop(family: Family, scheduler: &str, weights: &[u8]) -> Shop {
    let fields = format!(
        "scheduler: {scheduler}, connection_tracking: transition, connection_draining: {DRAIN}s, health_check: {{protocol: tcp}}"
    );
    let mut shop = Shop::new(family, weights, &fields);
    shop.listener = format!(", idle_timeout: {IDLE}s");
    shop
}

/// The same with other servers.
fn with(shop: &Shop, servers: &[usize]) -> Shop {
    let servers = servers.iter().map(|&index| Server { index, weight: 10, admin_state: "enabled" }).collect();
    Shop { servers, ..shop.clone() }
}

fn slots(world: &World, family: Family) -> Vec<Slot> {
    world.service().1.picks[family.index()].ring.slots.clone()
}

fn is_clean(world: &World, family: Family) -> bool {
    slots(world, family).iter().all(|slot| slot.is_clean())
}

fn clients(family: Family, count: usize) -> Vec<Client> {
    (0..count).map(|n| Client::new(family, n, 2000)).collect()
}

/// Sends a segment of each connection; all of them reach their servers.
#[track_caller]
fn all_go_on(world: &World, connections: &[(Client, usize)]) {
    for (client, server) in connections {
        assert_eq!(client.send(world, flag::ACK), Answer::Server(*server), "{client:?}");
    }
}

fn connect(world: &World, clients: &[Client]) -> Vec<(Client, usize)> {
    clients.iter().map(|client| (*client, client.connect(world))).collect()
}

/// What the test knows of a server.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// When its draining time is over, if it was removed.
    deadline: Option<Duration>,
}

/// Connections and servers, and what the contract says about them.
struct Story {
    world: World,
    shop: Shop,
    random: Random,
    servers: BTreeMap<usize, Known>,
    /// Server and last packet.
    connections: BTreeMap<Client, (usize, Duration)>,
    next: u16,
    /// Packets that reached a server that gets no new connections.
    kept: usize,
    /// Clients that came too late.
    late: usize,
}

impl Story {
    fn new(family: Family, scheduler: &str, seed: u64) -> Self {
        let shop = shop(family, scheduler, &[10; 6]);
        let servers = (0..6).map(|index| (index, Known::default())).collect();
        let mut world = World::new(Setup { hash_seed: Some(seed), ..Setup::default() });
        world.apply(&shop);
        Self {
            world,
            shop,
            random: Random::new(seed),
            servers,
            connections: BTreeMap::new(),
            next: 1024,
            kept: 0,
            late: 0,
        }
    }

    /// Other servers, other weights; now and then nobody is to get new connections.
    fn change(&mut self) {
        let nobody = self.random.percent(10);
        let mut servers = Vec::new();
        for index in 0..12 {
            if self.random.percent(60) {
                let weight = if nobody { 0 } else { [0, 10, 10, 30][self.random.below(4)] };
                servers.push(Server { index, weight, admin_state: "enabled" });
            }
        }
        let shop = Shop { servers, ..self.shop.clone() };
        self.take(shop);
    }

    fn take(&mut self, shop: Shop) {
        self.world.apply(&shop);
        let now = self.world.now();
        for (index, known) in &mut self.servers {
            let is_removed = shop.servers.iter().all(|server| server.index != *index);
            known.deadline = is_removed.then(|| known.deadline.unwrap_or(now + Duration::from_secs(DRAIN)));
        }
        for server in &shop.servers {
            self.servers.entry(server.index).or_default();
        }
        self.shop = shop;
    }

    fn gets_new(&self, server: usize) -> bool {
        self.shop.servers.iter().any(|known| known.index == server && known.weight > 0)
    }

    /// A client's SYN, sent again now and then, whatever happens in between.
    fn open(&mut self) {
        self.next += 1;
        let n = self.random.below(50);
        let client = Client::new(self.shop.family, n, self.next);
        let mut answer = self.syn(client);
        if self.random.percent(20) {
            self.change();
            // The server that got the last SYN has the connection.
            answer = self.syn(client);
        }
        if self.random.percent(10) {
            self.change();
        }
        let Answer::Server(server) = answer else { return };
        assert_eq!(client.send(&self.world, flag::ACK), answer, "the handshake of {client:?}");
        self.connections.insert(client, (server, self.world.now()));
    }

    /// Nobody gets it only if nobody may.
    fn syn(&self, client: Client) -> Answer {
        let answer = client.send(&self.world, flag::SYN);
        let is_nobody = self.shop.servers.iter().all(|server| server.weight == 0);
        assert!(matches!(answer, Answer::Server(_)) || is_nobody, "{answer:?} to {client:?}");
        answer
    }

    fn segment(&mut self, client: Client) {
        let (server, last) = self.connections[&client];
        let before = self.world.now();
        let answer = client.send(&self.world, flag::ACK);
        let now = self.world.now();
        let tick = Duration::from_millis(100);
        // On a machine that stalls a client may come too late.
        let is_idle = now + tick > last + Duration::from_secs(IDLE);
        let deadline = self.servers[&server].deadline;
        if deadline.is_some_and(|deadline| deadline + tick < before) {
            assert_ne!(answer, Answer::Server(server), "{server} is over at {before:?}");
        }
        if is_idle || deadline.is_some_and(|deadline| deadline < now + tick) {
            self.late += usize::from(is_idle);
            client.abort(&self.world);
            self.connections.remove(&client);
            return;
        }
        assert_eq!(answer, Answer::Server(server), "{client:?} at {now:?}, last seen at {last:?}");
        self.kept += usize::from(!self.gets_new(server));
        self.connections.insert(client, (server, now));
    }

    /// A second, in which whoever has been silent for nearly the idle timeout sends something.
    fn second(&mut self) {
        self.world.seconds(1);
        let now = self.world.now();
        let due: Vec<Client> = (self.connections.iter())
            .filter(|(client, (_, last))| {
                (now - *last).as_secs() >= IDLE - 5 - u64::from(client.0.port() % 8)
            })
            .map(|(client, _)| *client)
            .collect();
        for client in due {
            self.segment(client);
        }
    }

    fn go_on(&mut self) {
        match self.random.below(100) {
            0..30 => self.open(),
            30..50 => {
                let any = self.random.below(self.connections.len().max(1));
                if let Some(client) = self.connections.keys().nth(any).copied() {
                    self.segment(client);
                }
            }
            50..55 => {
                let any = self.random.below(self.connections.len().max(1));
                if let Some(client) = self.connections.keys().nth(any).copied() {
                    client.send(&self.world, flag::FIN_ACK);
                    self.connections.remove(&client);
                }
            }
            55..62 => self.change(),
            // There and back again.
            62..66 => {
                let before = self.shop.clone();
                self.change();
                self.take(before);
            }
            66..67 => {
                let end = if self.random.percent(50) { End::Stopped } else { End::Killed };
                self.world.restart(end);
            }
            _ => (0..1 + self.random.below(2)).for_each(|_| self.second()),
        }
    }
}

#[test]
fn no_established_connection_moves_while_its_server_may_serve_it() {
    for (family, scheduler, seed) in [
        (Family::V4, "flow_hash", 1),
        (Family::V4, "source_ip", 2),
        (Family::V6, "flow_hash", 3),
        (Family::V4, "flow_hash", 14),
    ] {
        let mut story = Story::new(family, scheduler, seed);
        for _ in 0..600 {
            story.go_on();
        }
        assert!(
            story.connections.len() > 20 && story.kept > 100,
            "{} connections, {} kept",
            story.connections.len(),
            story.kept
        );
        // Nothing happens any more: every slot becomes clean.
        let servers = with(&story.shop, &[0, 1, 2]);
        story.take(servers);
        for client in story.connections.keys() {
            client.abort(&story.world);
        }
        let mut seconds = 0;
        while !is_clean(&story.world, family) {
            story.world.seconds(1);
            seconds += 1;
            assert!(seconds < 3 * IDLE + DRAIN, "{family} {scheduler}: slots are still dirty");
        }
        let Story { world, kept, late, .. } = story;
        println!(
            "{family} {scheduler}: {:?}, {kept} packets kept, {late} late, clean after {seconds} s",
            world.now()
        );
    }
}

#[test]
fn a_slot_is_clean_dirty_for_the_window_and_clean_again() {
    for family in Family::ALL {
        let all = shop(family, "flow_hash", &[10; 6]);
        let mut world = World::with(&all);
        assert!(is_clean(&world, family), "a new ring");
        let connections = connect(&world, &clients(family, 200));
        world.apply(&with(&all, &[0, 1, 2, 3, 4]));
        let dirty = slots(&world, family).iter().filter(|slot| slot.is_window()).count();
        let share = slots(&world, family).len() / 6;
        assert!(
            (share..share * 5 / 4).contains(&dirty),
            "{dirty} slots of the server that left, or a few more"
        );
        for _ in 0..2 {
            all_go_on(&world, &connections);
            world.seconds(IDLE / 2);
        }
        // Connections that sent nothing in the window are none; those that did are recorded.
        let records = world.datapath().lock().sweep().unwrap().recorded;
        assert!(!records.is_empty());
        world.seconds(3);
        assert!(slots(&world, family).iter().all(|slot| !slot.is_window()), "the window is over");
        assert!(!is_clean(&world, family), "but records lead elsewhere");
        all_go_on(&world, &connections);
        for (client, _) in &connections {
            client.abort(&world);
        }
        world.seconds(IDLE);
        assert!(is_clean(&world, family), "when the last of them is gone");
    }
}

/// An agent that begins in the middle of a window knows of the connections without a record by the slots alone.
#[test]
fn a_restart_in_a_window_keeps_connections_that_were_silent_since_the_change() {
    for family in Family::ALL {
        for how in [End::Stopped, End::Killed] {
            let all = shop(family, "flow_hash", &[10; 3]);
            let mut world = World::with(&all);
            let connections = connect(&world, &clients(family, 60));
            world.apply(&with(&all, &[0, 1]));
            world.seconds(4);
            world.restart(how);
            world.seconds(4);
            all_go_on(&world, &connections);
        }
    }
}

#[test]
fn with_draining_0_connections_end_at_once_and_the_others_do_not_notice() {
    for family in Family::ALL {
        let mut all = shop(family, "flow_hash", &[10; 3]);
        all.service =
            all.service.replace(&format!("connection_draining: {DRAIN}s"), "connection_draining: 0s");
        let mut world = World::with(&all);
        let connections = connect(&world, &clients(family, 60));
        world.apply(&with(&all, &[0, 1]));
        for (client, server) in &connections {
            let expected = if *server == 2 { Answer::Reset } else { Answer::Server(*server) };
            assert_eq!(client.send(&world, flag::ACK), expected);
            assert_ne!(client.connect(&world), 2, "its ports are used again");
        }
    }
}

/// The last SYN before the first other packet decides.
#[test]
fn a_syn_that_is_sent_again_over_a_change_has_one_server_afterwards() {
    for family in Family::ALL {
        let all = shop(family, "flow_hash", &[10; 3]);
        let mut world = World::with(&all);
        let clients = clients(family, 60);
        let first: Vec<_> = clients.iter().map(|client| client.send(&world, flag::SYN)).collect();
        world.apply(&with(&all, &[0, 1]));
        let (mut moved, mut others) = (0, 0);
        for (client, first) in clients.iter().zip(first) {
            let again = client.send(&world, flag::SYN);
            moved += usize::from(again != first);
            others += usize::from(again != first && first != Answer::Server(2));
            assert_eq!(client.send(&world, flag::SYN), again, "in the window a SYN is remembered");
            assert_eq!(client.send(&world, flag::ACK), again);
        }
        assert!(moved > 5 && others <= 5, "{moved} SYNs moved, {others} of servers that stayed");
        world.apply(&all);
        for client in &clients {
            let answer = client.send(&world, flag::ACK);
            assert_ne!(answer, Answer::Server(2), "there and back again, it stays");
        }
    }
}

/// A datagram of a flow without a record may be the first or not: as long as the server from before may have new flows
/// it goes there, else to the new one; and from then on it is recorded.
#[test]
fn datagrams_stay_with_the_server_from_before_as_long_as_that_may_have_new_flows() {
    for family in Family::ALL {
        let all = shop(family, "flow_hash", &[10; 3]);
        let mut world = World::with(&with(&all, &[0, 1]));
        let clients = clients(family, 90);
        let served = |world: &World| -> Vec<Answer> {
            clients.iter().map(|client| world.send(&client.datagram())).collect()
        };
        let before = served(&world);
        world.apply(&all);
        assert_eq!(served(&world), before, "a new server takes no flow away");
        world.seconds(1);
        world.apply(&with(&all, &[0, 2]));
        let after = served(&world);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(before, _)| **before == Answer::Server(1)), "{moved:?}");
        let stay = after.iter().filter(|after| **after == Answer::Server(1)).count();
        assert!(
            moved.len() > 5 && stay > 5,
            "{} moved, {stay} were recorded in the first window",
            moved.len()
        );
        assert_eq!(served(&world), after, "and from then on they stay");
        world.seconds(IDLE + 2);
        let idle = served(&world);
        assert!(!idle.contains(&Answer::Server(1)), "idle flows are new ones");
        world.flip(0, Health::Unhealthy(Reason::ConnectFailed));
        let flipped = served(&world);
        assert!(
            idle.iter().zip(&flipped).all(|(idle, flipped)| idle == flipped || *idle == Answer::Server(0))
        );
    }
}

/// Weight 0 for all: nobody new, but what is established goes on.
#[test]
fn established_connections_go_on_when_no_server_may_have_new_ones() {
    for family in Family::ALL {
        let all = shop(family, "flow_hash", &[10; 3]);
        let mut world = World::with(&all);
        let connections = connect(&world, &clients(family, 60));
        let mut none = all.clone();
        for server in &mut none.servers {
            server.weight = 0;
        }
        world.apply(&none);
        for _ in 0..4 {
            all_go_on(&world, &connections);
            let late = Client::new(family, 7, 9999);
            assert_eq!(late.send(&world, flag::SYN), Answer::Dropped);
            world.pass(Duration::from_secs(IDLE - 2));
        }
        world.apply(&all);
        all_go_on(&world, &connections);
    }
}
