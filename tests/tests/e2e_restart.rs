//! The agent comes and goes; the datapath stays.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nlb_tests::{
    agent::Agent,
    client::{Connection, burst},
    manifest::{Shop, VIP_PORT},
    servers::Servers,
    world::{VIP, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
const PACE: Duration = Duration::from_millis(1);

#[test]
fn no_packet_is_lost_while_the_agent_is_killed_stopped_and_started() {
    let world = World::new("restart", 3).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let mut agent = Agent::start(&world, &Shop::new(&[1, 2, 3]).yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let namespaces = || world.servers.iter().chain([&world.client]);
    let retransmissions =
        || namespaces().map(|namespace| namespace.tcp_retransmissions().unwrap()).sum::<u64>();
    let before = retransmissions();

    let stopping = AtomicBool::new(false);
    let rounds = thread::scope(|scope| {
        let (world, stopping) = (&world, &stopping);
        let players =
            VIP.sockets(VIP_PORT).map(|target| scope.spawn(move || ping_pong(world, target, stopping)));
        // Also when an assertion below fails: the scope ends with its threads.
        let _stop = StopOnDrop(stopping);

        agent.kill();
        assert_connections_succeed(world, "the agent was killed");
        agent.restart().unwrap();
        assert_connections_succeed(world, "the agent was restarted");
        agent.stop().unwrap();
        assert_connections_succeed(world, "the agent was stopped");
        agent.restart().unwrap();
        agent.ctl().await_healthy(PATIENCE).unwrap();
        assert_connections_succeed(world, "the agent was started");

        stopping.store(true, Ordering::Relaxed);
        players.map(|player| player.join().unwrap())
    });

    println!("ping-pong rounds over IPv4 and IPv6: {rounds:?}");
    assert_eq!(retransmissions() - before, 0, "segments were lost and sent again");
}

#[test]
fn desired_state_and_counters_survive_a_kill() {
    let world = World::new("state", 3).unwrap();
    let _servers = Servers::start(&world).unwrap();
    // Without manifests at start, which would be applied again.
    let mut agent = Agent::start(&world, "").unwrap();
    agent.ctl().apply(&Shop::new(&[1, 1, 1]).yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let [target, _] = VIP.sockets(VIP_PORT);
    burst(&world.client, target, 30, 2).unwrap();
    agent.ctl().done(&["server", "drain", "shop-v4/a"], "").unwrap();

    let seen = |agent: &Agent<'_>| {
        let backends = agent.ctl().backends().unwrap();
        let mut seen: Vec<_> = backends
            .into_iter()
            .map(|backend| {
                (backend.address, backend.weight, backend.admin_state, backend.new_connections_total)
            })
            .collect();
        seen.sort();
        seen
    };
    let before = seen(&agent);
    agent.kill();
    agent.restart().unwrap();
    assert_eq!(seen(&agent), before);
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks and answers on one connection until told to stop; returns how often.
fn ping_pong(world: &World, target: SocketAddr, stopping: &AtomicBool) -> u64 {
    let mut connection = world.client.run(|| Connection::open(target)).unwrap().unwrap();
    let server = connection.get("/").unwrap();
    let mut rounds = 0;
    while !stopping.load(Ordering::Relaxed) {
        assert_eq!(connection.get("/").unwrap(), server, "{target}, round {rounds}");
        rounds += 1;
        thread::park_timeout(PACE);
    }
    rounds
}

fn assert_connections_succeed(world: &World, since: &str) {
    for target in VIP.sockets(VIP_PORT) {
        let exchanges = burst(&world.client, target, 120, 4).unwrap();
        let failures: Vec<_> =
            exchanges.iter().filter_map(|exchange| exchange.answer.as_ref().err()).collect();
        assert!(failures.is_empty(), "since {since}, to {target}: {failures:?}");
    }
}
