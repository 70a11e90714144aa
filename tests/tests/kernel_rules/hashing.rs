//! Source IP and flow hash: removing one of N servers moves only its own share.

use std::collections::BTreeSet;

use nlb_agent::datapath::Family;
use nlb_tests::packet::flag;

use crate::{
    client::Client,
    program::Answer,
    random::Random,
    shop::{Server, Shop},
    world::World,
};

/// A service that remembers nothing of its flows, so that each packet goes where the ring says.
fn shop(family: Family, weights: &[u8], scheduler: &str) -> Shop {
    let shop = Shop::new(family, weights, &format!("scheduler: {scheduler}"));
    Shop { product: "dnlb", ..shop }
}

/// Clients of different addresses; by `flow_hash`, with different ports, too.
fn clients(family: Family, scheduler: &str, count: usize) -> Vec<Client> {
    let port = |n| if scheduler == "flow_hash" { 1024 + (n % 7) as u16 } else { 4242 };
    (0..count).map(|n| Client::new(family, n * 13, port(n))).collect()
}

fn served(world: &World, clients: &[Client]) -> Vec<usize> {
    let server = |client: &Client| match client.send(world, flag::ACK) {
        Answer::Server(server) => server,
        other => panic!("{other:?} for {client:?}"),
    };
    clients.iter().map(server).collect()
}

/// How many of those whose server stayed have another one, of a hundred.
fn moved(before: &[usize], after: &[usize], changed: usize) -> f64 {
    let of_others: Vec<_> = before
        .iter()
        .zip(after)
        .filter(|(before, after)| **before != changed && **after != changed)
        .collect();
    let moved = of_others.iter().filter(|(before, after)| before != after).count();
    100.0 * moved as f64 / of_others.len() as f64
}

#[test]
fn removing_or_adding_one_of_a_hundred_servers_moves_few_clients_of_the_others() {
    const CLIENTS: usize = 20_000;
    let mut random = Random::new(1);
    let various: Vec<u8> = (0..100).map(|_| 1 + random.below(100) as u8).collect();
    for (family, scheduler, weights) in [
        (Family::V4, "source_ip", vec![10; 100]),
        (Family::V6, "source_ip", vec![10; 100]),
        (Family::V4, "flow_hash", vec![10; 100]),
        (Family::V4, "source_ip", various),
    ] {
        let clients = clients(family, scheduler, CLIENTS);
        let all = shop(family, &weights, scheduler);
        let mut world = World::with(&all);
        let before = served(&world, &clients);
        let total: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
        for (server, &weight) in weights.iter().enumerate() {
            let count = before.iter().filter(|&&served| served == server).count() as f64;
            let share = CLIENTS as f64 * f64::from(weight) / total as f64;
            // Chance alone is worth three standard deviations, a few servers in a hundred four; the ring a little.
            assert!(
                (count - share).abs() <= 5.0 * share.sqrt() + 2.0,
                "{server}: {count} instead of {share}"
            );
        }
        let mut worst = 0.0f64;
        for _ in 0..4 {
            let gone = random.below(100);
            let mut without = all.clone();
            without.servers.remove(gone);
            world.apply(&without);
            let after = served(&world, &clients);
            assert!(after.iter().all(|&server| server != gone), "a removed server gets nothing");
            worst = worst.max(moved(&before, &after, gone));
            world.apply(&all);
            assert_eq!(served(&world, &clients), before, "put back, it has its clients again");
        }
        let mut more = all.clone();
        more.servers.push(Server { index: 100, weight: weights[0], admin_state: "enabled" });
        world.apply(&more);
        let added = moved(&before, &served(&world, &clients), 100);
        println!(
            "{family} {scheduler}: at most {worst:.2} % moved by a removal, {added:.2} % by an addition"
        );
        assert!(worst <= 1.5 && added <= 1.5, "{worst} % and {added} % moved");
    }
}

#[test]
fn all_ports_of_a_client_have_one_server_by_source_ip_and_many_by_flow_hash() {
    for family in Family::ALL {
        for (scheduler, servers) in [("source_ip", 1..=1), ("flow_hash", 20..=100)] {
            let world = World::with(&shop(family, &[1; 100], scheduler));
            for n in 0..20 {
                let of_ports: Vec<_> = (0..100).map(|port| Client::new(family, n, 1024 + port)).collect();
                let found: BTreeSet<_> = served(&world, &of_ports).into_iter().collect();
                assert!(servers.contains(&found.len()), "{family} {scheduler}: {} servers", found.len());
            }
        }
    }
}

/// Weight 0, a drained server and an unhealthy one stand on no ring.
#[test]
fn who_is_not_eligible_has_no_client() {
    let family = Family::V4;
    let mut all = shop(family, &[10, 0, 10, 10, 10], "source_ip");
    all.service += ", health_check: {protocol: tcp}";
    let clients = clients(family, "source_ip", 500);
    all.servers[2].admin_state = "draining";
    let mut world = World::with(&all);
    world.flip(3, nlb_agent::health::Health::Unhealthy(nlb_agent::health::Reason::ConnectFailed));
    let found: BTreeSet<_> = served(&world, &clients).into_iter().collect();
    assert_eq!(found, BTreeSet::from([0, 4]));
}
