//! Weighted round robin over real connections.

use std::time::Duration;

use nlb_tests::{
    agent::Agent,
    client::{burst, shares, split_by_weight},
    manifest::{Shop, VIP_PORT},
    servers::Servers,
    world::{VIP, World},
};

#[test]
fn each_server_gets_the_share_of_its_weight_in_both_families() {
    let world = World::new("split", 3).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &Shop::new(&[1, 2, 3]).yaml()).unwrap();
    agent.ctl().await_healthy(Duration::from_secs(20)).unwrap();

    for target in VIP.sockets(VIP_PORT) {
        split_by_weight(&world.client, target).unwrap();
    }

    for (name, expected) in [("a", 100), ("b", 200), ("c", 300)] {
        for backend in agent.ctl().backends().unwrap().iter().filter(|backend| backend.server == name) {
            assert!(backend.new_connections_total.abs_diff(expected) <= expected / 100, "{backend:?}");
        }
    }
}

#[test]
fn a_server_of_weight_0_gets_no_connection() {
    let world = World::new("weight0", 2).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &Shop::new(&[0, 1]).yaml()).unwrap();
    agent.ctl().await_healthy(Duration::from_secs(20)).unwrap();
    for target in VIP.sockets(VIP_PORT) {
        let exchanges = burst(&world.client, target, 60, 4).unwrap();
        assert_eq!(shares(&exchanges).into_iter().collect::<Vec<_>>(), [("b", 60)], "{target}");
    }
}
