//! `dnat`: servers see clients as they are, and answer by way of the balancer, their default route.

use std::time::Duration;

use nlb_tests::{
    agent::Agent,
    client::{Connection, Download, split_by_weight},
    manifest::{Forwarding, Shop},
    servers::{BIG, Servers},
    wait,
    world::{CLIENT, World},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn servers_see_clients_and_answer_by_way_of_the_balancer() {
    let world = World::new("dnat", 3).unwrap();
    let shop = Shop { forwarding: Forwarding::Dnat, ..Shop::new(&[1, 2, 3]) };
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
        println!("{target}: {} packets there, {} back", counted.verdict("FORWARD"), counted.verdict("REPLY"));
        assert!(counted.verdict("FORWARD") > 0, "{target}: the request did not come through the balancer");
        // At most 64 KiB each, should the servers' devices leave cutting to others.
        assert!(counted.verdict("REPLY") >= (BIG / 65536) as u64, "{target}");

        for (path, times) in [("/client", 1), ("/big", 1)] {
            let seen = || -> Vec<String> {
                (0..3).flat_map(|index| servers.visitors(index, path).unwrap()).collect()
            };
            let of_client = |seen: &[String]| seen.iter().filter(|&seen| *seen == client.to_string()).count();
            // A server writes its log when an answer is out.
            wait::until("the access logs", PATIENCE, || (of_client(&seen()) == times).then_some(())).unwrap();
            let others: Vec<_> = seen()
                .into_iter()
                .filter(|seen| !CLIENT.both().iter().any(|own| own.to_string() == *seen))
                .collect();
            assert!(others.is_empty(), "{path}: {others:?}");
        }
    }
}
