//! Security groups: a client that is denied gets no connection and loses those it has, another one notices nothing.

use std::{net::SocketAddr, time::Duration};

use nlb_tests::{
    agent::Agent,
    client::{Connection, Download, any_port_of},
    manifest::{Shop, VIP_PORT},
    servers::{BIG, Servers},
    wait,
    world::{CLIENT, VIP, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long a download takes.
const DURATION: Duration = Duration::from_secs(12);
/// A second address of the client, of each family.
const OTHER: [&str; 2] = ["10.0.0.3", "fd00::3"];

/// The shop, with a security group of these rules.
fn guarded(shop: &Shop, rules: &str) -> String {
    let yaml = shop.yaml().replacen("\n---\n", "\nsecurity_groups: [front]\n---\n", 1);
    format!("{{kind: SecurityGroup, name: front, rules: [{rules}]}}\n---\n{yaml}")
}

#[test]
fn a_denied_clients_download_ends_and_anothers_goes_on() {
    let world = World::new("security", 2).unwrap();
    world.client.configure("addr add 10.0.0.3/24 dev eth0\naddr add fd00::3/64 dev eth0 nodad\n").unwrap();
    let servers = Servers::start(&world).unwrap();
    let shop = Shop::new(&[1, 1]);
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    let path = format!("/slow?rate={}", BIG as u64 / DURATION.as_secs());
    let start = |name: &str, from, target: SocketAddr| {
        let name = format!("{name}-{}", if target.is_ipv4() { "v4" } else { "v6" });
        Download::start_from(&world, &name, from, target, &path).unwrap()
    };
    let targets = VIP.sockets(VIP_PORT);
    let mut denied: Vec<_> =
        targets.into_iter().zip(CLIENT.both()).map(|(target, from)| start("denied", from, target)).collect();
    let mut allowed: Vec<_> = targets
        .into_iter()
        .zip(OTHER)
        .map(|(target, from)| start("allowed", from.parse().unwrap(), target))
        .collect();
    wait::until("the first bytes of all", PATIENCE, || {
        denied.iter().chain(&allowed).all(|download| download.received() > 1 << 20).then_some(())
    })
    .unwrap();

    let [v4, v6] = CLIENT.both();
    let rules = format!("{{action: deny, cidrs: ['{v4}', '{v6}']}}, {{action: allow, ports: {VIP_PORT}}}");
    agent.ctl().apply(&guarded(&shop, &rules)).unwrap();
    agent
        .ctl()
        .await_backends("two connections to be left", PATIENCE, |backends| {
            backends.iter().map(|backend| backend.active_connections).sum::<u64>() == 2
        })
        .unwrap();
    for (target, from) in targets.into_iter().zip(CLIENT.both()) {
        let refused = world.client.run(|| Connection::open_from(any_port_of(from), target)).unwrap();
        assert!(refused.is_err(), "{from} is denied");
    }
    for (target, from) in targets.into_iter().zip(OTHER) {
        let from = any_port_of(from.parse().unwrap());
        world.client.run(|| Connection::open_from(from, target).unwrap().get("/")).unwrap().unwrap();
    }
    for download in &mut allowed {
        download.matches(&servers.content(), DURATION + PATIENCE).unwrap();
    }
    for download in &mut denied {
        assert!(download.received() < BIG as u64, "a denied client got everything");
        assert!(download.matches(&servers.content(), Duration::ZERO).is_err());
    }
    assert!(agent.ctl().verdicts().unwrap()["DROP_SECURITY_GROUP"] > 0);

    let refused = agent.ctl().run(&["delete", "security-group", "front"], "").unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("security group front is in use by load balancer shop"), "{said}");

    agent.ctl().apply(&shop.yaml()).unwrap();
    agent.ctl().done(&["delete", "security-group", "front"], "").unwrap();
    for (target, from) in targets.into_iter().zip(CLIENT.both()) {
        world
            .client
            .run(|| Connection::open_from(any_port_of(from), target).unwrap().get("/"))
            .unwrap()
            .unwrap();
    }
}
