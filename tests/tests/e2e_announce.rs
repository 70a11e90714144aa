//! VIPs on the client's own link: the balancer says that it has them, and answers pings to them.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::{net::IpAddr, process::Command, time::Duration};

use nlb_tests::{
    agent::Agent,
    client::{self, Connection, ping},
    manifest::{Shop, VIP_PORT},
    servers::Servers,
    wait,
    world::{BALANCER_FRONT, FRONT, Namespace, VIP, World},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// The MAC address of a balancer on the client's link.
fn mac(namespace: &Namespace) -> String {
    let line = namespace.output(Command::new("ip").args(["-o", "link", "show", "dev", FRONT])).unwrap();
    after(&line, "link/ether").unwrap()
}

/// The MAC address that the client believes an address to have.
fn believed(world: &World, address: IpAddr) -> Option<String> {
    let address = address.to_string();
    let show = ["neighbour", "show", "to", &address, "dev", "eth0"];
    after(&world.client.output(Command::new("ip").args(show)).unwrap(), "lladdr")
}

/// Whether a balancer's interface takes frames to the group that the VIP is solicited in.
fn takes_solicitations(namespace: &Namespace) -> bool {
    let groups = namespace.output(Command::new("ip").args(["maddress", "show", "dev", FRONT])).unwrap();
    groups.contains("33:33:ff:00:00:10")
}

/// The word that follows another.
fn after(text: &str, word: &str) -> Option<String> {
    text.split_whitespace().skip_while(|found| *found != word).nth(1).map(str::to_owned)
}

/// Waits until the client believes a balancer to have both VIPs, and sends nothing to them meanwhile.
#[track_caller]
fn await_belief(world: &World, mac: &str) {
    for vip in VIP.both() {
        let what = format!("the client to believe that {mac} has {vip}");
        let found = || (believed(world, vip).as_deref() == Some(mac)).then_some(());
        let error = || format!("it believes that {:?} has", believed(world, vip));
        wait::until(&what, PATIENCE, found).unwrap_or_else(|cause| panic!("{cause}; {}", error()));
    }
}

#[test]
fn a_vip_on_the_clients_link_is_found_reached_and_pinged() {
    let mut world = World::new("announce", 2).unwrap();
    world.share_link().unwrap();
    let _servers = Servers::start(&world).unwrap();
    let shop = Shop::new(&[1, 1]);
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    // Nobody says so, nobody knows.
    for target in VIP.sockets(VIP_PORT) {
        assert!(world.client.run(|| Connection::open(target)).unwrap().is_err(), "{target} answers");
        assert_eq!(believed(&world, target.ip()), None);
    }
    let before = agent.ctl().stats().unwrap();
    agent.ctl().apply(&Shop { announce: true, ..shop.clone() }.yaml()).unwrap();
    for target in VIP.sockets(VIP_PORT) {
        // What the client could not find a moment ago it takes for unreachable a little longer.
        let answer = wait::until("the VIP to answer", PATIENCE, || {
            world.client.run(|| client::get(target, "/")).unwrap().ok()
        });
        assert!(["a", "b"].contains(&answer.unwrap().as_str()), "{target}");
        assert_eq!(believed(&world, target.ip()), Some(mac(&world.balancer)), "{target}");
        ping(&world.client, target.ip(), 5, PATIENCE).unwrap();
    }
    let counted = || agent.ctl().stats().unwrap().since(&before);
    assert_eq!(counted().verdict("ANSWER_ECHO"), 10);

    // The client may know by an announcement; one that has forgotten has to ask.
    wait::until("the client to ask, and to be answered", PATIENCE, || {
        world.client.configure("neighbour flush dev eth0").unwrap();
        for target in VIP.sockets(VIP_PORT) {
            world.client.run(|| client::get(target, "/")).unwrap().unwrap();
        }
        let counted = counted();
        (counted.verdict("ANSWER_ARP") > 0 && counted.verdict("ANSWER_NEIGHBOUR") > 0).then_some(())
    })
    .unwrap();

    // The host's own addresses are the kernel's.
    for address in BALANCER_FRONT.both() {
        ping(&world.client, address, 2, PATIENCE).unwrap();
    }
    assert_eq!(counted().verdict("ANSWER_ECHO"), 10);
}

#[test]
fn a_balancer_that_takes_over_tells_the_clients_at_once() {
    let mut world = World::new("takeover", 2).unwrap();
    world.share_link().unwrap();
    let _servers = Servers::start(&world).unwrap();
    let announcing = Shop { announce: true, ..Shop::new(&[1, 1]) };
    let standby = &world.shared.as_ref().unwrap().standby;
    let macs = [mac(&world.balancer), mac(standby)];
    let check = |agent: &Agent<'_>| {
        agent.ctl().await_healthy(PATIENCE).unwrap();
        for target in VIP.sockets(VIP_PORT) {
            world.client.run(|| client::get(target, "/")).unwrap().unwrap();
        }
    };

    let mut first = Agent::start(&world, &announcing.yaml()).unwrap();
    check(&first);
    await_belief(&world, &macs[0]);
    // It dies, with all that it has; but for an agent, its interface would take what neighbours ask.
    first.kill();
    assert!(takes_solicitations(&world.balancer));
    world.balancer.configure(&format!("link set {FRONT} down")).unwrap();
    let second = Agent::start_standby(&world, &announcing.yaml()).unwrap();
    await_belief(&world, &macs[1]);
    check(&second);

    // The operator has the second one give the VIPs back: an agent that starts announces them again.
    second.ctl().apply(&Shop { announce: false, ..announcing.clone() }.yaml()).unwrap();
    assert!(!takes_solicitations(standby));
    world.balancer.configure(&format!("link set {FRONT} up")).unwrap();
    first.restart().unwrap();
    await_belief(&world, &macs[0]);
    check(&first);
    drop(second);
}
