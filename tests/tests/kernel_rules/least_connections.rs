//! Weighted least connections: the next connection goes to the server with the smallest active / weight.
//!
//! What "within one connection of the proportion" can mean: nobody moves a connection, so only a new one can make up for
//! those that ended. So two things are held against the program. *Every* decision is what an oracle decides that counts
//! by itself. And once at least as many connections have been opened as ended since the proportion last held, all
//! active counts are within one of their weights' shares again; until then within one more for each that is missing.

use nlb_agent::{
    datapath::{Family, Turns},
    health::{Health, Reason},
};
use nlb_tests::packet::flag;

use crate::{
    client::Client,
    program::Answer,
    random::Random,
    shop::{Server, Shop},
    world::World,
};

const FAILED: Health = Health::Unhealthy(Reason::ConnectFailed);

fn shop(family: Family, weights: &[u8], fields: &str) -> Shop {
    let shop = Shop::new(family, weights, &format!("scheduler: weighted_least_connections{fields}"));
    Shop { listener: ", idle_timeout: 86400s".to_owned(), ..shop }
}

/// Counts connections, and knows who gets the next one.
struct Oracle {
    weights: Vec<u64>,
    active: Vec<u64>,
}

impl Oracle {
    fn new(weights: &[u8]) -> Self {
        Self {
            weights: weights.iter().map(|&weight| weight.into()).collect(),
            active: vec![0; weights.len()],
        }
    }

    /// The smallest active / weight; of equal ones the largest weight, and of those the first.
    fn next(&self) -> Option<usize> {
        let Self { weights, active } = self;
        (0..weights.len()).filter(|&server| weights[server] > 0).reduce(|best, server| {
            let (this, that) = (active[server] * weights[best], active[best] * weights[server]);
            if this < that || (this == that && weights[server] > weights[best]) { server } else { best }
        })
    }

    /// How far the server that is furthest from its share is from it.
    fn deviation(&self) -> f64 {
        let total: u64 = self.active.iter().sum();
        let weights: u64 = self.weights.iter().sum();
        let share = |weight: u64| total as f64 * weight as f64 / weights as f64;
        let apart = |(&active, &weight): (&u64, &u64)| (active as f64 - share(weight)).abs();
        self.active.iter().zip(&self.weights).map(apart).fold(0.0, f64::max)
    }
}

/// Clients that come and go, and the oracle.
struct Crowd {
    family: Family,
    oracle: Oracle,
    open: Vec<(Client, usize)>,
    random: Random,
    next: usize,
}

impl Crowd {
    fn new(family: Family, weights: &[u8]) -> Self {
        Self { family, oracle: Oracle::new(weights), open: Vec::new(), random: Random::new(7), next: 0 }
    }

    /// A new connection goes where the oracle says.
    fn come(&mut self, world: &World) {
        let client = Client::new(self.family, self.next / 40_000, 1024 + (self.next % 40_000) as u16);
        self.next += 1;
        let server = client.connect(world);
        assert_eq!(Some(server), self.oracle.next(), "connection {}, {:?}", self.next, self.oracle.active);
        self.oracle.active[server] += 1;
        self.open.push((client, server));
    }

    /// Any connection ends, by a RST or a FIN.
    fn go(&mut self, world: &World) {
        let any = self.random.below(self.open.len());
        let (client, server) = self.open.swap_remove(any);
        let end = if self.random.percent(50) { flag::RST } else { flag::FIN_ACK };
        assert_eq!(client.send(world, end), Answer::Server(server));
        self.oracle.active[server] -= 1;
    }
}

#[test]
fn active_counts_stay_within_one_connection_of_the_proportion() {
    for family in Family::ALL {
        let weights = [1, 2, 5];
        let world = World::with(&shop(family, &weights, ""));
        let mut crowd = Crowd::new(family, &weights);
        // Connections that ended since the proportion last held, less those that were opened since.
        let (mut missing, mut settled, mut worst) = (0usize, 0, 0.0f64);
        while crowd.next < 6000 {
            let grows = crowd.open.len() < 400;
            // Now more come than go, now bursts of both.
            let (ends, opens) = match crowd.random.below(3) {
                _ if grows => (crowd.random.below(2).min(crowd.open.len()), 1),
                0 => (1, 1),
                1 => (crowd.random.below(20), 0),
                _ => (0, crowd.random.below(30)),
            };
            for _ in 0..ends {
                crowd.go(&world);
                missing += 1;
            }
            for _ in 0..opens {
                crowd.come(&world);
                missing = missing.saturating_sub(1);
            }
            let deviation = crowd.oracle.deviation();
            assert!(deviation <= 1.0 + missing as f64, "{deviation}: {:?}", crowd.oracle.active);
            if missing == 0 {
                settled += 1;
                worst = worst.max(deviation);
            }
        }
        assert!(settled > 500, "the proportion was looked at {settled} times");
        println!("{family}: {} connections, {settled} times settled, at most {worst:.3} off", crowd.next);
        assert_eq!(world.active(3), crowd.oracle.active);
    }
}

/// From one server to a thousand, weights 0 and ties among them.
#[test]
fn every_decision_is_the_oracles_for_any_number_of_servers() {
    for (servers, connections) in [(1, 300), (3, 1500), (100, 3000), (1000, 4000)] {
        let mut random = Random::new(servers as u64);
        let mut weights: Vec<u8> = (0..servers).map(|_| random.below(101) as u8).collect();
        weights[0] = weights[0].max(1);
        if servers > 1 {
            weights[servers / 2] = 0;
        }
        let world = World::with(&shop(Family::V4, &weights, ""));
        let mut crowd = Crowd::new(Family::V4, &weights);
        while crowd.next < connections {
            // Pressed half-open flows go by the hash; these are established at once.
            if crowd.open.is_empty() || random.percent(60) {
                crowd.come(&world);
            } else {
                crowd.go(&world);
            }
        }
        assert_eq!(world.active(servers), crowd.oracle.active, "{servers} servers");
    }
}

#[test]
fn equal_servers_take_turns() {
    let weights = [10; 7];
    let world = World::with(&shop(Family::V4, &weights, ""));
    let mut crowd = Crowd::new(Family::V4, &weights);
    (0..70).for_each(|_| crowd.come(&world));
    assert_eq!(world.active(7), [10; 7]);
}

/// The service's view of who may get a connection, in steps; who gets it then.
#[test]
fn without_an_eligible_server_nobody_gets_a_connection_unless_the_service_fails_open() {
    let check = ", health_check: {protocol: tcp}";
    for family in Family::ALL {
        let mut world = World::with(&shop(family, &[], ""));
        let answer = |world: &World, n| Client::new(family, n, 2000).send(world, flag::SYN);
        assert_eq!(answer(&world, 0), Answer::Dropped, "no server");
        world.apply(&shop(family, &[0, 0], ""));
        assert_eq!(answer(&world, 1), Answer::Dropped, "weights 0");
        world.apply(&shop(family, &[0, 3], ""));
        assert_eq!(answer(&world, 2), Answer::Server(1), "one server");

        world.apply(&shop(family, &[1, 1], &format!("{check}, on_all_unhealthy: fail_closed")));
        world.flip(1, FAILED);
        assert_eq!(answer(&world, 3), Answer::Server(0), "the healthy one");
        world.flip(0, FAILED);
        assert_eq!(answer(&world, 4), Answer::Dropped, "none is healthy");
        world.apply(&shop(family, &[1, 1], &format!("{check}, on_all_unhealthy: fail_open")));
        // Server 0 has connection 3, server 1 connection 2: they take turns again.
        let open = [answer(&world, 5), answer(&world, 6)];
        assert_eq!(open, [Answer::Server(0), Answer::Server(1)], "failing open");
        world.flip(1, Health::Healthy);
        for n in 7..10 {
            assert_eq!(answer(&world, n), Answer::Server(1), "one is healthy again");
        }
    }
}

/// A new server would get all connections until it has as many as the others; with slow start it does not.
#[test]
fn slow_start_spares_a_new_server() {
    let family = Family::V4;
    let slow = ", slow_start: 3600s";
    let mut world = World::with(&shop(family, &[10, 10], slow));
    world.pass(std::time::Duration::from_secs(3601));
    let mut crowd = Crowd::new(family, &[10, 10]);
    (0..200).for_each(|_| crowd.come(&world));
    let mut more = shop(family, &[10, 10, 10], slow);
    more.servers[2] = Server { index: 2, weight: 10, admin_state: "enabled" };
    world.apply(&more);
    crowd.oracle.active.push(0);
    for quarter in 0..=4 {
        // Weights in force, in 64ths.
        let Turns::Fewest(members) = &world.service().1.picks[family.index()].turns else {
            panic!("the service compares")
        };
        crowd.oracle.weights = members.iter().map(|&(_, weight)| weight.into()).collect();
        let share = [1, 160, 320, 480, 640][quarter];
        assert!(crowd.oracle.weights[2].abs_diff(share) <= 1, "{:?}", crowd.oracle.weights);
        (0..100).for_each(|_| crowd.come(&world));
        world.pass(std::time::Duration::from_secs(900));
    }
    let active = world.active(3);
    assert_eq!(active, crowd.oracle.active);
    assert!(active[2].abs_diff(active[0]) <= 1, "in the end it has its share: {active:?}");
}
