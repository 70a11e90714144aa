//! Session persistence: a client comes back to its server, whatever happens to the agent; and to another one when that
//! server takes no new connections.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

use nlb_tests::{
    agent::Agent,
    client::{Connection, any_port_of},
    manifest::{Forwarding, Shop},
    servers::{self, Servers},
    tunnel::TunnelEnds,
    wait,
    world::{CLIENT, Dual, FRONT, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
const TIMEOUT: u32 = 1440;
/// Clients of each family.
const CLIENTS: u8 = 12;
const GROUPS: [&str; 2] = ["shop-v4", "shop-v6"];

/// Which server each client gets.
type Visits = BTreeMap<IpAddr, String>;

#[test]
fn with_nat_clients_stay_with_their_servers_over_restarts_and_new_programs() {
    check_restarts(Forwarding::Nat);
}

#[test]
fn in_tunnels_clients_stay_with_their_servers_over_restarts_and_new_programs() {
    check_restarts(Forwarding::Ipip);
}

fn check_restarts(forwarding: Forwarding) {
    let world = World::new("persistence", 4).unwrap();
    let mut shop = Shop { forwarding, persistence: Some(TIMEOUT), ..Shop::new(&[1, 1, 1]) };
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let clients = clients(&world);
    let mut agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    let visits = visit(&world, &shop, &clients);
    for index in 0..3 {
        let own = visits.values().filter(|server| **server == servers::name(index)).count();
        assert_eq!(own, clients.len() / 3, "{forwarding:?}: {visits:?}");
    }
    assert_eq!(visit(&world, &shop, &clients), visits, "{forwarding:?}");
    assert_eq!(listed(&agent), visits, "{forwarding:?}");

    // So that a time that began anew would be seen.
    let remaining = wait::until("time to go by", PATIENCE, || {
        let remaining = longest_remaining(&agent);
        (remaining < u64::from(TIMEOUT)).then_some(remaining)
    })
    .unwrap();
    let program = program_id(&world);
    agent.kill();
    agent.restart().unwrap();
    assert_ne!(program_id(&world), program, "the program was not replaced");
    assert!(longest_remaining(&agent) <= remaining, "{forwarding:?}: a restart renews entries");
    assert_eq!(listed(&agent), visits, "{forwarding:?}: after a kill");
    assert_eq!(visit(&world, &shop, &clients), visits, "{forwarding:?}: after a kill");

    agent.stop().unwrap();
    assert_eq!(visit(&world, &shop, &clients), visits, "{forwarding:?}: without an agent");
    agent.restart().unwrap();
    shop.weights = vec![Some(7), Some(1), Some(3), Some(40)];
    agent.ctl().apply(&shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    assert_eq!(visit(&world, &shop, &clients), visits, "{forwarding:?}: with new weights and another server");
}

#[test]
fn an_entry_lives_for_its_time_after_the_last_connection() {
    const TIMEOUT: u32 = 3;
    let world = World::new("sliding", 2).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let shop = Shop { persistence: Some(TIMEOUT), ..Shop::new(&[1, 1]) };
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let [target, _] = shop.targets();

    let mut held = world.client.run(|| Connection::open(target)).unwrap().unwrap();
    let server = held.get("/").unwrap();
    let began = Instant::now();
    let entries = wait::until("more than the time to go by", PATIENCE, || {
        let entries = agent.ctl().persistence().unwrap();
        assert_eq!(held.get("/").unwrap(), server);
        (began.elapsed() > Duration::from_secs(u64::from(TIMEOUT) + 2)).then_some(entries)
    })
    .unwrap();
    let [entry] = &entries[..] else { panic!("{entries:#?}") };
    let (client, vip) = (IpAddr::from(CLIENT.v4), target.ip());
    assert_eq!((entry.client, entry.vip, entry.connections), (client, vip, 1), "{entry:?}");
    assert_eq!((entry.backend_service.as_str(), &entry.server), ("shop-web", &server), "{entry:?}");

    held.get_last("/").unwrap();
    let ended = Instant::now();
    wait::until("the entry to go", PATIENCE, || agent.ctl().persistence().unwrap().is_empty().then_some(()))
        .unwrap();
    // What ended the connection was sent before it was noted here, and clocks have ticks.
    let lived = ended.elapsed() + Duration::from_millis(200);
    assert!(lived >= Duration::from_secs(TIMEOUT.into()), "gone after {lived:?}");
}

/// Why a server takes no new connections; in words of the counters.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Disabled,
    Draining,
    Unhealthy,
    Weight,
    Gone,
}

impl Reason {
    const ALL: [Self; 5] = [Self::Disabled, Self::Draining, Self::Unhealthy, Self::Weight, Self::Gone];

    fn event(self) -> String {
        format!("PERSISTENCE_OVERRIDDEN_{}", format!("{self:?}").to_uppercase())
    }
}

#[test]
fn with_nat_a_server_without_new_connections_is_overridden_and_counted_by_reason() {
    check_overrides(Forwarding::Nat);
}

#[test]
fn in_tunnels_a_server_without_new_connections_is_overridden_and_counted_by_reason() {
    check_overrides(Forwarding::Ipip);
}

fn check_overrides(forwarding: Forwarding) {
    let world = World::new("override", 3).unwrap();
    let shop = Shop { forwarding, persistence: Some(TIMEOUT), ..Shop::new(&[1, 1, 1]) };
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    let mut servers = Servers::start(&world).unwrap();
    let clients = clients(&world);
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let ctl = agent.ctl();
    let every_member = |verb: &str, server: &str| {
        for group in GROUPS {
            ctl.done(&["server", verb, &format!("{group}/{server}")], "").unwrap();
        }
    };

    let mut visits = visit(&world, &shop, &clients);
    for reason in Reason::ALL {
        let victim = (0..3).max_by_key(|index| clients_of(&visits, *index)).unwrap();
        let (own, name) = (clients_of(&visits, victim), servers::name(victim));
        let before = ctl.stats().unwrap();
        let mut changed = shop.clone();
        match reason {
            Reason::Disabled => every_member("disable", name),
            Reason::Draining => every_member("drain", name),
            Reason::Unhealthy => {
                servers.kill(victim).unwrap();
                ctl.await_health(name, "unhealthy", PATIENCE).unwrap();
            }
            Reason::Weight => {
                changed.weights[victim] = Some(0);
                ctl.apply(&changed.yaml()).unwrap();
            }
            Reason::Gone => {
                changed.weights[victim] = None;
                ctl.apply(&changed.yaml()).unwrap();
            }
        }
        assert_eq!(listed(&agent), visits, "{reason:?}: entries are as they were until their clients come");

        let after = visit(&world, &shop, &clients);
        for (client, server) in &after {
            let previous = &visits[client];
            assert_ne!(server, name, "{reason:?}: {client} got a server that takes no new connections");
            assert!(
                previous == name || previous == server,
                "{reason:?}: {client} moved from {previous} to {server}"
            );
        }
        assert_eq!(visit(&world, &shop, &clients), after, "{reason:?}: the new server is remembered");
        let counted = ctl.stats().unwrap().since(&before);
        println!("{reason:?}: {own} of {} clients stayed with {name}", clients.len());
        for other in Reason::ALL {
            let expected = if other.event() == reason.event() { own as u64 } else { 0 };
            assert_eq!(counted.event(&other.event()), expected, "{reason:?}: {}", other.event());
        }

        match reason {
            Reason::Disabled | Reason::Draining => every_member("enable", name),
            Reason::Unhealthy => {
                servers.restart(victim).unwrap();
                ctl.await_health(name, "healthy", PATIENCE).unwrap();
            }
            Reason::Weight | Reason::Gone => {
                ctl.apply(&shop.yaml()).unwrap();
                ctl.await_healthy(PATIENCE).unwrap();
            }
        }
        assert_eq!(visit(&world, &shop, &clients), after, "{reason:?}: nobody goes back");
        visits = after;
    }
}

/// Gives the client's namespace more addresses; all that clients have.
fn clients(world: &World) -> Vec<IpAddr> {
    let Dual { v4, v6 } = CLIENT;
    let addresses: Vec<Dual> = (0..CLIENTS)
        .map(|number| {
            let ([a, b, c, _], mut words) = (v4.octets(), v6.segments());
            words[7] = 0x100 + u16::from(number);
            Dual { v4: [a, b, c, 100 + number].into(), v6: words.into() }
        })
        .collect();
    for Dual { v4, v6 } in &addresses {
        world
            .client
            .configure(&format!("address add {v4}/24 dev eth0\naddress add {v6}/64 dev eth0 nodad"))
            .unwrap();
    }
    addresses.into_iter().flat_map(Dual::both).collect()
}

/// A new connection of each client.
fn visit(world: &World, shop: &Shop, clients: &[IpAddr]) -> Visits {
    let visits = world.client.run(|| {
        let visit = |client: &IpAddr| {
            let [v4, v6] = shop.targets();
            let target = if client.is_ipv4() { v4 } else { v6 };
            let connection = Connection::open_from(any_port_of(*client), target).unwrap();
            (*client, connection.get_last("/").unwrap())
        };
        clients.iter().map(visit).collect()
    });
    visits.unwrap()
}

/// Which server each client has by `nlbctl persistence`, once no connection is open.
fn listed(agent: &Agent<'_>) -> Visits {
    let entries = wait::until("connections to end", PATIENCE, || {
        let entries = agent.ctl().persistence().unwrap();
        entries.iter().all(|entry| entry.connections == 0).then_some(entries)
    });
    entries.unwrap().into_iter().map(|entry| (entry.client, entry.server)).collect()
}

fn longest_remaining(agent: &Agent<'_>) -> u64 {
    let entries = agent.ctl().persistence().unwrap();
    entries.iter().map(|entry| entry.remaining_seconds).max().unwrap()
}

fn clients_of(visits: &Visits, server: usize) -> usize {
    visits.values().filter(|name| *name == servers::name(server)).count()
}

/// The kernel's number of the program on an interface.
fn program_id(world: &World) -> u64 {
    let links = world.balancer.output(Command::new("ip").args(["-json", "link", "show", FRONT])).unwrap();
    let links: serde_json::Value = serde_json::from_str(&links).unwrap();
    links[0]["xdp"]["prog"]["id"].as_u64().unwrap_or_else(|| panic!("no program in {links}"))
}
