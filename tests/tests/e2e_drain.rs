//! Draining: established connections go on for a while, new ones go elsewhere.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use nlb_tests::{
    agent::Agent,
    client::{Connection, burst, shares},
    manifest::{Shop, VIP_PORT},
    servers::Servers,
    wait,
    world::{VIP, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
const DRAINING: u32 = 5;

#[test]
fn a_drained_server_keeps_its_connections_for_the_draining_time() {
    let world = World::new("drain", 2).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let shop = Shop { draining: DRAINING, ..Shop::new(&[1, 1]) };
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    for (target, group) in VIP.sockets(VIP_PORT).into_iter().zip(["shop-v4", "shop-v6"]) {
        let drained = format!("{group}/a");
        let mut staying = connection_to("b", &world, target);
        let mut leaving = connection_to("a", &world, target);

        agent.ctl().done(&["server", "drain", &drained], "").unwrap();
        let began = Instant::now();
        assert_eq!(leaving.get("/").unwrap(), "a", "an established connection goes on");
        assert_eq!(servers_of_new_connections(&world, target), ["b"], "new connections go elsewhere");
        agent
            .ctl()
            .await_backends("the server to be draining", PATIENCE, |backends| {
                backends.iter().any(|backend| {
                    backend.group == group
                        && backend.server == "a"
                        && backend.draining
                        && backend.drain_remaining_seconds.is_some_and(|left| left <= DRAINING.into())
                })
            })
            .unwrap();

        let error =
            wait::until("the end of the drained connection", PATIENCE, || leaving.get("/").err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        let lasted = began.elapsed();
        let expected = Duration::from_secs(DRAINING.into());
        assert!(lasted >= expected - Duration::from_secs(1), "reset after {lasted:?} already");
        assert!(lasted <= expected + Duration::from_secs(3), "reset after {lasted:?} only");
        assert_eq!(staying.get("/").unwrap(), "b", "other servers' connections are not touched");

        agent.ctl().done(&["server", "enable", &drained], "").unwrap();
        assert_eq!(
            servers_of_new_connections(&world, target),
            ["a", "b"],
            "an enabled server is active again"
        );
    }
}

#[test]
fn a_server_enabled_during_its_drain_keeps_its_connections() {
    let world = World::new("undrain", 2).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let shop = Shop { draining: 2, ..Shop::new(&[1, 1]) };
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    let [target, _] = VIP.sockets(VIP_PORT);
    let mut connection = connection_to("a", &world, target);
    agent.ctl().done(&["server", "drain", "shop-v4/a"], "").unwrap();
    agent.ctl().done(&["server", "enable", "shop-v4/a"], "").unwrap();
    let enabled = Instant::now();
    while enabled.elapsed() < Duration::from_secs(4) {
        assert_eq!(connection.get("/").unwrap(), "a", "{:?} after enabling", enabled.elapsed());
    }
}

#[test]
fn a_disabled_server_loses_its_connections_at_once() {
    let world = World::new("disable", 2).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &Shop::new(&[1, 1]).yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    let [target, _] = VIP.sockets(VIP_PORT);
    let mut connection = connection_to("a", &world, target);
    agent.ctl().done(&["server", "disable", "shop-v4/a"], "").unwrap();
    let error =
        wait::until("the end of the connection", Duration::from_secs(3), || connection.get("/").err())
            .unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert_eq!(servers_of_new_connections(&world, target), ["b"]);
}

fn connection_to(server: &str, world: &World, target: SocketAddr) -> Connection {
    wait::until(&format!("a connection to server {server}"), PATIENCE, || {
        let mut connection = world.client.run(|| Connection::open(target)).unwrap().unwrap();
        (connection.get("/").unwrap() == server).then_some(connection)
    })
    .unwrap()
}

fn servers_of_new_connections(world: &World, target: SocketAddr) -> Vec<String> {
    let exchanges = burst(&world.client, target, 20, 2).unwrap();
    assert!(exchanges.iter().all(|exchange| exchange.answer.is_ok()), "{exchanges:?}");
    shares(&exchanges).into_keys().map(str::to_owned).collect()
}
