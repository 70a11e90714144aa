//! `dsr` and `gue`: clients' packets reach the servers as they are, or in a tunnel, and answers return directly.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::time::Duration;

use nlb_tests::{
    agent::Agent,
    client::{Connection, Download, split_by_weight},
    manifest::{Forwarding, Shop},
    servers::{BIG, Servers},
    tunnel::TunnelEnds,
    world::{CLIENT, World},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn with_dsr_servers_see_clients_as_they_are_and_answer_them_directly() {
    check("dsr", Forwarding::Dsr);
}

#[test]
fn with_gue_servers_see_clients_as_they_are_and_answer_them_directly() {
    check("gue", Forwarding::Gue);
}

fn check(name: &str, forwarding: Forwarding) {
    let world = World::new(name, 3).unwrap();
    let shop = Shop { forwarding, ..Shop::new(&[1, 2, 3]) };
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    let servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    for (target, client) in shop.targets().into_iter().zip(CLIENT.both()) {
        let mut connection = world.client.run(|| Connection::open(target)).unwrap().unwrap();
        assert_eq!(connection.get("/client").unwrap(), client.to_string(), "{target}");

        split_by_weight(&world.client, target).unwrap();

        let before = agent.ctl().stats().unwrap();
        let mut download = Download::start(&world, "big", target, "/big").unwrap();
        download.matches(&servers.content(), PATIENCE).unwrap();
        let counted = agent.ctl().stats().unwrap().since(&before);
        assert!(counted.verdict("FORWARD") > 0, "{target}: the request did not come through the balancer");
        assert_eq!(counted.verdict("REPLY"), 0, "{target}");
        let passed = counted.verdict("PASS_NOT_OURS");
        // The download has some 45 000 packets.
        assert!(
            passed < (BIG / 1500 / 10) as u64,
            "{target}: {passed} packets came back through the balancer"
        );
    }
}
