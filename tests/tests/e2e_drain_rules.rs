//! What becomes of a server's connections when it leaves: its deadline, no time at all, its return, and ports that are used
//! again meanwhile.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nlb_tests::{
    agent::Agent,
    client::Connection,
    manifest::{Forwarding, Shop},
    puppet::{End, Puppet},
    servers::Servers,
    tunnel::TunnelEnds,
    wait,
    world::World,
};

const PATIENCE: Duration = Duration::from_secs(20);
const MODES: [Forwarding; 2] = [Forwarding::Nat, Forwarding::Ipip];
const GROUPS: [&str; 2] = ["shop-v4", "shop-v6"];

/// Rows: how packets reach the server; whether the balancer sees the server's.
#[test]
fn the_deadline_resets_the_client_and_with_nat_the_server() {
    const PORT: u16 = 9000;
    for (forwarding, resets_server) in [(Forwarding::Nat, true), (Forwarding::Ipip, false)] {
        let world = World::new("deadline", 1).unwrap();
        let shop = Shop { forwarding, port: PORT, draining: 2, ..Shop::new(&[1]) };
        let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
        // They answer the health checks.
        let _servers = Servers::start(&world).unwrap();
        let puppet = Puppet::listen(&world.servers[0], PORT).unwrap();
        let agent = Agent::start(&world, &shop.yaml()).unwrap();
        agent.ctl().await_healthy(PATIENCE).unwrap();
        let resets = || agent.ctl().stats().unwrap().verdict("RESET_EXPIRED");

        for (target, group) in shop.targets().into_iter().zip(GROUPS) {
            let stream = world.client.run(|| TcpStream::connect_timeout(&target, PATIENCE)).unwrap().unwrap();
            let (mut client, mut server) = (End::new(stream).unwrap(), puppet.accept(PATIENCE).unwrap());
            let before = resets();
            agent.ctl().done(&["server", "drain", &format!("{group}/a")], "").unwrap();
            let drained = Instant::now();
            // An answer to each word until the deadline.
            let (ended, lasted) = wait::until("the client's connection to end", PATIENCE, || {
                let said = client.say(b"ping");
                let answered = server.hear(b"ping", Duration::from_millis(100)).and_then(|()| {
                    server.say(b"pong")?;
                    client.hear(b"pong", PATIENCE)
                });
                match (said, answered) {
                    (Ok(()), Ok(())) => None,
                    (Err(error), _) => Some((error.kind(), drained.elapsed())),
                    _ => client.ended().map(|kind| (kind, drained.elapsed())),
                }
            })
            .unwrap();
            assert_eq!(ended, ErrorKind::ConnectionReset, "{target}, after {lasted:?}");
            assert!(lasted > Duration::from_secs(1), "{target}: reset after {lasted:?} already");
            let client_resets = resets();
            assert!(client_resets > before, "{target}: not the datapath's reset");

            if resets_server {
                assert_eq!(server.ended(), None, "{target}: nothing was sent to the server yet");
                server.say(b"still there?").unwrap();
                let ended =
                    wait::until("the server's connection to end", PATIENCE, || server.ended()).unwrap();
                assert_eq!(ended, ErrorKind::ConnectionReset, "{target}");
                assert!(resets() > client_resets, "{target}: not the datapath's reset");
            }
        }
    }
}

/// How a server leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Drained,
    Removed,
}

#[test]
fn without_draining_time_connections_end_at_once() {
    for forwarding in MODES {
        let world = World::new("draining0", 2).unwrap();
        let shop = Shop { forwarding, draining: 0, ..Shop::new(&[1, 1]) };
        let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
        let _servers = Servers::start(&world).unwrap();
        let agent = Agent::start(&world, &shop.yaml()).unwrap();
        agent.ctl().await_healthy(PATIENCE).unwrap();

        for leaving in [Leaving::Drained, Leaving::Removed] {
            let mut held: Vec<_> = shop
                .targets()
                .into_iter()
                .map(|target| ["a", "b"].map(|server| connection_to(server, &world, target)))
                .collect();
            match leaving {
                Leaving::Drained => change_admin_state(&agent, "drain"),
                Leaving::Removed => {
                    let without = Shop { weights: vec![None, Some(1)], ..shop.clone() };
                    agent.ctl().apply(&without.yaml()).unwrap();
                }
            }
            for ([leaving_one, staying], target) in held.iter_mut().zip(shop.targets()) {
                let error = leaving_one.get("/").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{forwarding:?}, {leaving:?}: {error}");
                assert_eq!(staying.get("/").unwrap(), "b", "{forwarding:?}, {leaving:?}");
                for _ in 0..4 {
                    assert_eq!(connection_from(None, &world, target).1, "b", "{forwarding:?}, {leaving:?}");
                }
            }
            match leaving {
                Leaving::Drained => change_admin_state(&agent, "enable"),
                Leaving::Removed => drop(agent.ctl().apply(&shop.yaml()).unwrap()),
            }
        }
    }
}

#[test]
fn a_server_put_back_during_its_drain_keeps_its_connections() {
    const DRAINING: u32 = 2;
    for forwarding in MODES {
        let world = World::new("putback", 2).unwrap();
        let shop = Shop { forwarding, draining: DRAINING, ..Shop::new(&[1, 1]) };
        let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
        let _servers = Servers::start(&world).unwrap();
        let agent = Agent::start(&world, &shop.yaml()).unwrap();
        agent.ctl().await_healthy(PATIENCE).unwrap();
        let mut held = shop.targets().map(|target| connection_to("a", &world, target));

        let without = Shop { weights: vec![None, Some(1)], ..shop.clone() };
        agent.ctl().apply(&without.yaml()).unwrap();
        for connection in &mut held {
            assert_eq!(connection.get("/").unwrap(), "a", "{forwarding:?}: a removed server drains");
        }
        agent.ctl().apply(&shop.yaml()).unwrap();
        let back = Instant::now();
        while back.elapsed() < Duration::from_secs((DRAINING + 2).into()) {
            for connection in &mut held {
                assert_eq!(
                    connection.get("/").unwrap(),
                    "a",
                    "{forwarding:?}: {:?} after its return",
                    back.elapsed()
                );
            }
        }
        for target in shop.targets() {
            connection_to("a", &world, target);
        }
    }
}

/// How the connection ended whose port is used again.
#[derive(Clone, Copy, Debug)]
enum Earlier {
    /// The server closed it, then the client.
    Closed,
    /// The client reset it.
    Reset,
    /// The client forgot it, and nobody else knows.
    Forgotten,
}

#[test]
fn a_port_used_again_during_a_drain_leads_to_another_server() {
    for forwarding in MODES {
        let world = World::new("port", 2).unwrap();
        let shop = Shop { forwarding, ..Shop::new(&[1, 1]) };
        let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
        let _servers = Servers::start(&world).unwrap();
        let agent = Agent::start(&world, &shop.yaml()).unwrap();
        agent.ctl().await_healthy(PATIENCE).unwrap();

        for earlier in [Earlier::Closed, Earlier::Reset, Earlier::Forgotten] {
            for target in shop.targets() {
                let connection = connection_to("a", &world, target);
                let source = connection.source().unwrap();
                match earlier {
                    Earlier::Closed => drop(connection.get_last("/").unwrap()),
                    Earlier::Reset => connection.reset().unwrap(),
                    Earlier::Forgotten => connection.vanish().unwrap(),
                }
                change_admin_state(&agent, "drain");
                let (mut again, server) = connection_from(Some(source), &world, target);
                assert_eq!(again.source().unwrap(), source);
                assert_eq!(server, "b", "{forwarding:?}, {earlier:?}: {source} to {target}");
                assert_eq!(again.get("/").unwrap(), "b", "{forwarding:?}, {earlier:?}");
                change_admin_state(&agent, "enable");
            }
        }
    }
}

/// Tells server a in both families to `drain`, or to `enable`.
fn change_admin_state(agent: &Agent<'_>, verb: &str) {
    for group in GROUPS {
        agent.ctl().done(&["server", verb, &format!("{group}/a")], "").unwrap();
    }
}

/// A new connection, and its server.
fn connection_from(source: Option<SocketAddr>, world: &World, target: SocketAddr) -> (Connection, String) {
    let open = || match source {
        Some(source) => Connection::open_from(source, target),
        None => Connection::open(target),
    };
    let mut connection = world.client.run(open).unwrap().unwrap();
    let server = connection.get("/").unwrap();
    (connection, server)
}

fn connection_to(server: &str, world: &World, target: SocketAddr) -> Connection {
    wait::until(&format!("a connection to server {server}"), PATIENCE, || {
        let (connection, got) = connection_from(None, world, target);
        (got == server).then_some(connection)
    })
    .unwrap()
}
