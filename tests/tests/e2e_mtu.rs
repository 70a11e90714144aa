//! Path MTU discovery: clients learn from the balancer how long packets to a server may be, whatever the mode.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::{process::Command, time::Duration};

use nlb_tests::{
    agent::Agent,
    client::Connection,
    manifest::{Forwarding, Shop},
    servers::Servers,
    tunnel::TunnelEnds,
    world::{BACK, World},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A request that takes more than one packet, over a link of `mtu` behind the balancer: it arrives, and the client knows the
/// longest packet for each family, which `longest` are.
#[track_caller]
fn requests_arrive(name: &str, forwarding: Forwarding, mtu: u16, longest: [Option<u16>; 2]) {
    let (world, shop) = (World::new(name, 1).unwrap(), Shop { forwarding, ..Shop::new(&[1]) });
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    if !matches!(forwarding, Forwarding::Nat | Forwarding::Dnat) {
        world.announce_whole_segments().unwrap();
    }
    world.balancer.configure(&format!("link set {BACK} mtu {mtu}")).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let long = format!("/?{}", "x".repeat(6000));
    for (target, longest) in shop.targets().into_iter().zip(longest) {
        let Some(longest) = longest else { continue };
        let before = agent.ctl().stats().unwrap();
        let mut connection = world.client.run(|| Connection::open(target)).unwrap().unwrap();
        assert_eq!(connection.get("/").unwrap(), connection.get(&long).unwrap(), "{target}");
        let counted = agent.ctl().stats().unwrap().since(&before);
        let told = counted.verdict("ANSWER_TOO_BIG");
        let address = target.ip().to_string();
        let route = world.client.output(Command::new("ip").args(["route", "get", &address])).unwrap();
        println!("{name} {target}: told {told} times; {}", route.trim());
        assert!(told > 0, "{target}: nothing was too long");
        assert!(route.contains(&format!("mtu {longest}")), "{target}: {route}");
    }
}

#[test]
fn through_ipip_over_a_link_like_all_others() {
    requests_arrive("mtu-ipip", Forwarding::Ipip, 1500, [Some(1480), Some(1460)]);
}

#[test]
fn through_ipip_over_the_narrowest_link() {
    // What would be left for IPv6 is less than its least MTU.
    requests_arrive("mtu-ipip-1280", Forwarding::Ipip, 1280, [Some(1260), None]);
}

#[test]
fn through_gue_over_a_narrow_link() {
    requests_arrive("mtu-gue", Forwarding::Gue, 1400, [Some(1368), Some(1348)]);
}

#[test]
fn by_dsr_over_the_narrowest_link() {
    requests_arrive("mtu-dsr", Forwarding::Dsr, 1280, [Some(1280), Some(1280)]);
}

#[test]
fn by_nat_over_a_narrow_link() {
    requests_arrive("mtu-nat", Forwarding::Nat, 1400, [Some(1400), Some(1400)]);
}
