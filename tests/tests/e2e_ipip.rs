//! `ipip`: clients' packets reach the servers in a tunnel, answers return directly.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use nlb_tests::{
    agent::Agent,
    client::{Connection, Download, Load, shares, split_by_weight},
    ctl::Backend,
    manifest::{Forwarding, Shop},
    servers::{BIG, Servers},
    tunnel::TunnelEnds,
    wait,
    world::{CLIENT, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
const CLIENTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that must begin in each state of a server.
const CONNECTIONS: usize = 300;

fn shop(weights: &[u32]) -> Shop {
    Shop { forwarding: Forwarding::Ipip, ..Shop::new(weights) }
}

#[test]
fn requests_go_through_the_tunnel_and_downloads_come_directly() {
    let (world, shop) = (World::new("ipip", 2).unwrap(), shop(&[1, 1]));
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    let servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    // So long that it takes segments as large as they may be.
    let long = format!("/?{}", "x".repeat(6000));
    for (target, client) in shop.targets().into_iter().zip(CLIENT.both()) {
        let mut connection = world.client.run(|| Connection::open(target)).unwrap().unwrap();
        assert_eq!(
            connection.get("/client").unwrap(),
            client.to_string(),
            "{target}: the server sees the client"
        );
        let server = connection.get("/").unwrap();
        assert_eq!(connection.get(&long).unwrap(), server, "{target}");

        let before = agent.ctl().stats().unwrap();
        let mut download = Download::start(&world, "big", target, "/big").unwrap();
        download.matches(&servers.content(), PATIENCE).unwrap();
        let counted = agent.ctl().stats().unwrap().since(&before);
        let [forwarded, replies, passed] =
            ["FORWARD", "REPLY", "PASS_NOT_OURS"].map(|verdict| counted.verdict(verdict));
        println!("{target}: {forwarded} packets to the server, {replies} replies, {passed} others");
        assert!(forwarded > 0, "{target}: the request did not come through the balancer");
        assert_eq!(replies, 0, "{target}");
        // Health checks and neighbour solicitations; the download has some 45 000 packets.
        assert!(
            passed < (BIG / 1500 / 10) as u64,
            "{target}: {passed} packets came back through the balancer"
        );
    }
}

#[test]
fn connections_are_split_by_weight_and_counted_exactly() {
    const HELD: [(&str, u64); 3] = [("a", 5), ("b", 10), ("c", 15)];
    let (world, shop) = (World::new("ipip-split", 3).unwrap(), shop(&[1, 2, 3]));
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    for target in shop.targets() {
        split_by_weight(&world.client, target).unwrap();
    }
    let is_idle = |backends: &[Backend]| backends.iter().all(|backend| backend.active_connections == 0);
    agent.ctl().await_backends("closed connections not to count", PATIENCE, is_idle).unwrap();

    let held: Vec<_> = shop
        .targets()
        .iter()
        .flat_map(|target| (0..30).map(|_| established(&world, *target)).collect::<Vec<_>>())
        .collect();
    let are_held = |backends: &[Backend]| {
        backends.iter().all(|backend| {
            HELD.iter()
                .any(|(server, count)| backend.server == *server && backend.active_connections == *count)
        })
    };
    agent.ctl().await_backends("30 connections of each family to count", PATIENCE, are_held).unwrap();
    drop(held);
    agent.ctl().await_backends("closed connections not to count", PATIENCE, is_idle).unwrap();
}

#[test]
fn a_killed_server_is_replaced_and_comes_back() {
    const VICTIM: usize = 1;
    let (world, shop) = (World::new("ipip-kill", 3).unwrap(), shop(&[1, 1, 1]));
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    let mut servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let mut held: Vec<_> = (0..9).map(|index| established(&world, shop.targets()[index % 2])).collect();

    let load = Load::start(&world.client, &shop.targets(), CLIENTS, PAUSE).unwrap();
    let mut exchanges = Vec::new();
    let mut await_connections = |since: Instant| {
        wait::until("connections", PATIENCE, || {
            exchanges.extend(load.news());
            (exchanges.iter().filter(|exchange| exchange.began >= since).count() >= CONNECTIONS).then_some(())
        })
        .unwrap();
        exchanges.iter().filter(|exchange| exchange.began >= since).cloned().collect::<Vec<_>>()
    };
    servers.kill(VICTIM).unwrap();
    agent.ctl().await_health("b", "unhealthy", PATIENCE).unwrap();
    let while_gone = await_connections(Instant::now());
    servers.restart(VICTIM).unwrap();
    agent.ctl().await_health("b", "healthy", PATIENCE).unwrap();
    let when_back = await_connections(Instant::now());
    load.stop();

    for (exchanges, expected) in [(&while_gone, &["a", "c"][..]), (&when_back, &["a", "b", "c"])] {
        let failures: Vec<_> = exchanges.iter().filter(|exchange| exchange.answer.is_err()).collect();
        assert!(failures.is_empty(), "{failures:?}");
        let shares = shares(exchanges);
        println!("{shares:?}");
        assert_eq!(shares.keys().copied().collect::<Vec<_>>(), expected);
    }
    for (server, connection) in &mut held {
        match (server.as_str(), connection.get("/")) {
            ("b", answer) => assert!(answer.is_err(), "a connection outlived its server"),
            (server, answer) => {
                assert_eq!(answer.unwrap(), server, "other servers' connections are not touched");
            }
        }
    }
}

/// A connection, and its server.
fn established(world: &World, target: SocketAddr) -> (String, Connection) {
    let mut connection = world.client.run(|| Connection::open(target)).unwrap().unwrap();
    let server = connection.get("/").unwrap();
    (server, connection)
}
