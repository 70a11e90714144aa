//! The worlds themselves: without an agent the balancer is a plain router.

use std::{process::Command, time::Duration};

use nlb_tests::{
    client::{self, Connection, Download},
    servers::{self, PORT, Servers},
    world::{VIP, World, server_address},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_router_leads_the_client_to_every_server_in_both_families() {
    let world = World::new("router", 3).unwrap();
    let servers = Servers::start(&world).unwrap();
    for index in 0..3 {
        for target in server_address(index).sockets(PORT) {
            let answer = world.client.run(|| client::get(target, "/")).unwrap().unwrap();
            assert_eq!(answer, servers::name(index), "{target}");
            let mut download = Download::start(&world, "big", target, "/big").unwrap();
            download.matches(&servers.content(), PATIENCE).unwrap();
        }
    }
}

#[test]
fn nobody_answers_for_the_vips_without_an_agent() {
    let world = World::new("novip", 1).unwrap();
    let _servers = Servers::start(&world).unwrap();
    for target in VIP.sockets(80) {
        assert!(world.client.run(|| Connection::open(target)).unwrap().is_err(), "{target} answers");
    }
}

#[test]
fn a_killed_server_refuses_connections_until_it_is_back() {
    let world = World::new("kill", 1).unwrap();
    let mut servers = Servers::start(&world).unwrap();
    let [target, _] = server_address(0).sockets(PORT);
    let mut connection = world.client.run(|| Connection::open(target)).unwrap().unwrap();
    assert_eq!(connection.get("/").unwrap(), "a");
    servers.kill(0).unwrap();
    connection.get("/").unwrap_err();
    world.client.run(|| Connection::open(target)).unwrap().unwrap_err();
    servers.restart(0).unwrap();
    world.client.run(|| Connection::open(target)).unwrap().unwrap();
}

#[test]
fn a_dropped_world_leaves_nothing_behind() {
    let world = World::new("gone", 1).unwrap();
    let name = world.name().to_owned();
    let servers = Servers::start(&world).unwrap();
    drop(servers);
    drop(world);
    let namespaces = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let namespaces = String::from_utf8(namespaces.stdout).unwrap();
    assert!(!namespaces.contains(&name), "{namespaces}");
}
