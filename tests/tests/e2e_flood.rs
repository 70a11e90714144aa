//! A SYN flood: established connections do not notice it.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

use std::time::{Duration, Instant};

use nlb_tests::{
    agent::Agent,
    client::{Crowd, Flood, burst},
    ctl::Stats,
    manifest::{Forwarding, Shop},
    servers::Servers,
    tunnel::TunnelEnds,
    wait,
    world::World,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long the flood lasts if nobody says.
const SHORT: Duration = Duration::from_secs(8);
/// Established connections, of both families.
const CONNECTIONS: usize = 10_000;
/// SYNs that are enough of a flood: more than there is room for in any table.
const ENOUGH: u64 = FLOWS * 3 / 2;
/// Room for flows: for the established ones, but not for the flood's.
const FLOWS: u64 = 262_144;
/// Connections that newcomers try meanwhile, in each family.
const NEWCOMERS: usize = 20;

#[test]
fn ten_thousand_connections_through_tunnels_survive_a_syn_flood() {
    let during = flooded(Forwarding::Ipip, |world, shop| {
        let newcomers = shop.targets().map(|target| burst(&world.client, target, NEWCOMERS, 4).unwrap());
        let served = newcomers.iter().flatten().filter(|exchange| exchange.answer.is_ok()).count();
        println!("of {} new connections {served} were served", 2 * NEWCOMERS);
        // Not all, because on a busy machine a SYN may be lost more often than a client has patience.
        assert!(served > NEWCOMERS, "{served} of {} new connections were served", 2 * NEWCOMERS);
    });
    for event in ["FLOW_EVICTED", "FLOW_UNRECORDED"] {
        assert_eq!(during.event(event), 0, "{event}: {during:#?}");
    }
    assert!(during.event("SYN_UNRECORDED") > ENOUGH / 2, "the flood never filled the table: {during:#?}");
    assert!(during.table("FLOWS") >= CONNECTIONS as u64, "{during:#?}");
}

#[test]
fn ten_thousand_connections_through_nat_survive_a_syn_flood() {
    // New connections share the ports with the flood.
    let during = flooded(Forwarding::Nat, |_, _| ());
    let shortage = during.event("CONN_EVICTED") + during.verdict("DROP_PORTS_EXHAUSTED");
    assert!(shortage > 0, "the flood never took all ports: {during:#?}");
}

/// Floods a balancer with established connections, which must all go on; at last `meanwhile` happens. What was counted.
fn flooded(forwarding: Forwarding, meanwhile: impl FnOnce(&World, &Shop)) -> Stats {
    let mut world = World::new("flood", 3).unwrap();
    world.add_attacker().unwrap();
    let shop = Shop { forwarding, ..Shop::new(&[1, 1, 1]) };
    let _ends = TunnelEnds::for_shop(&world, &shop).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let agent = Agent::start_with(&world, &shop.yaml(), &format!("flows: {FLOWS}\n")).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let mut crowd = Crowd::open(&world.client, &shop.targets(), CONNECTIONS).unwrap();
    println!("{} connections", crowd.len());

    let before = agent.ctl().stats().unwrap();
    let duration = wait::long_or(SHORT);
    let began = Instant::now();
    let attacker = world.attacker.as_ref().unwrap();
    let flood = Flood::start(attacker, &shop.targets(), duration + PATIENCE).unwrap();
    let mut rounds = 0;
    while rounds == 0 || began.elapsed() < duration || flood.sent() < ENOUGH {
        assert!(began.elapsed() < duration + PATIENCE, "only {} SYNs were sent", flood.sent());
        crowd.exchange().unwrap();
        rounds += 1;
    }
    meanwhile(&world, &shop);
    let took = began.elapsed();
    let sent = flood.stop().unwrap();
    let during = agent.ctl().stats().unwrap().since(&before);
    crowd.exchange().unwrap();

    let rate = sent / took.as_secs().max(1);
    println!("{sent} SYNs in {took:?}, {rate} a second; {rounds} exchanges on each connection meanwhile");
    println!("{:?}", counted(&during));
    for verdict in ["RESET_UNKNOWN_FLOW", "RESET_EXPIRED", "DROP_UNKNOWN_FLOW"] {
        assert_eq!(during.verdict(verdict), 0, "{verdict}: {during:#?}");
    }
    let backends = agent.ctl().backends().unwrap();
    let active: u64 = backends.iter().map(|backend| backend.active_connections).sum();
    assert!(active >= CONNECTIONS as u64, "{active} active connections");
    during
}

/// What is not 0.
fn counted(stats: &Stats) -> Vec<(&str, u64)> {
    let all = stats.verdicts.iter().chain(&stats.events).chain(&stats.tables);
    all.map(|(name, count)| (name.as_str(), *count)).filter(|(_, count)| *count > 0).collect()
}
