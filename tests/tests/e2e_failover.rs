//! A server fails and comes back under load.

use std::{
    thread,
    time::{Duration, Instant},
};

use nlb_tests::{
    agent::Agent,
    client::{Load, shares},
    manifest::{Shop, VIP_PORT},
    servers::Servers,
    wait,
    world::{VIP, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
const CLIENTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn connections_fail_only_between_the_failure_of_a_server_and_its_detection() {
    let third = wait::long() / 3;
    let world = World::new("failover", 3).unwrap();
    let mut servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &Shop::new(&[1, 1, 1]).yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    let load = Load::start(&world.client, &VIP.sockets(VIP_PORT), CLIENTS, PAUSE).unwrap();
    // The thirds are what the test is about, not a condition to wait for.
    thread::sleep(third);
    let killed = Instant::now();
    servers.kill(1).unwrap();
    agent.ctl().await_health("b", "unhealthy", PATIENCE).unwrap();
    let detected = Instant::now();
    thread::sleep(third.saturating_sub(killed.elapsed()));
    servers.restart(1).unwrap();
    agent.ctl().await_health("b", "healthy", PATIENCE).unwrap();
    let recovered = Instant::now();
    thread::sleep(third);
    let exchanges = load.stop();

    let failed: Vec<_> = exchanges.iter().filter(|exchange| exchange.answer.is_err()).collect();
    println!(
        "{} connections, {} failed; detected after {:?}",
        exchanges.len(),
        failed.len(),
        detected - killed
    );
    for exchange in failed {
        let ended = exchange.began + exchange.took;
        assert!(ended >= killed, "failed before the server did: {exchange:?}");
        assert!(
            exchange.began < detected,
            "{:?} after the detection: {exchange:?}",
            exchange.began - detected
        );
    }
    let shares = shares(exchanges.iter().filter(|exchange| exchange.began >= recovered));
    assert_eq!(shares.len(), 3, "the recovered server gets no connection: {shares:?}");
}
