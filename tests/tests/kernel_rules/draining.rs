//! A removed server's established connections go on until the draining time is over, and nobody new comes.

use std::time::Duration;

use nlb_agent::datapath::Family;
use nlb_common::verdict::Verdict;
use nlb_tests::packet::flag;

use crate::{client::Client, program::Answer, shop::Shop, world::World};

const DRAIN: u64 = 60;

fn shop(family: Family, fields: &str) -> Shop {
    Shop::new(family, &[10; 2], &format!("connection_draining: {DRAIN}s{fields}"))
}

fn without_1(shop: &Shop) -> Shop {
    Shop { servers: shop.servers[..1].to_vec(), ..shop.clone() }
}

fn connections(world: &World, family: Family) -> Vec<(Client, usize)> {
    let clients = (0..20).map(|n| Client::new(family, n, 1024));
    clients.map(|client| (client, client.connect(world))).collect()
}

/// What the connections of server 1 get; those of server 0 go on in any case.
#[track_caller]
fn check(world: &World, connections: &[(Client, usize)], of_server_1: Answer) {
    for (client, server) in connections {
        let expected = if *server == 1 { of_server_1 } else { Answer::Server(0) };
        assert_eq!(client.send(world, flag::ACK), expected, "{client:?}");
    }
}

#[test]
fn the_deadline_is_in_the_datapath_whether_or_not_there_is_an_agent() {
    for family in Family::ALL {
        for (fields, over, verdict) in [
            ("", Answer::Reset, Verdict::ResetExpired),
            (", on_drain_expiry: silent", Answer::Dropped, Verdict::DropExpired),
        ] {
            for has_agent in [true, false] {
                let all = shop(family, fields);
                let mut world = World::with(&all);
                let connections = connections(&world, family);
                world.apply(&without_1(&all));
                if !has_agent {
                    world.kill_agent();
                }
                for _ in 0..4 {
                    check(&world, &connections, Answer::Server(1));
                    assert_eq!(Client::new(family, 99, 1024).connect(&world), 0, "nobody new");
                    world.pass(Duration::from_secs(DRAIN / 4 - 1));
                }
                let before = world.verdict(verdict);
                world.pass(Duration::from_secs(5));
                check(&world, &connections, over);
                assert_eq!(world.verdict(verdict), before + 10, "agent: {has_agent}");
                assert_eq!(
                    Client::new(family, 0, 1024).connect(&world),
                    0,
                    "a cut off client may come again"
                );
            }
        }
    }
}

#[test]
fn draining_0_ends_connections_at_once() {
    for family in Family::ALL {
        let mut all = shop(family, "");
        all.service = all.service.replace(&format!("{DRAIN}s"), "0s");
        let mut world = World::with(&all);
        let connections = connections(&world, family);
        world.apply(&without_1(&all));
        check(&world, &connections, Answer::Reset);
        assert_eq!(world.active(2), [10, 0]);
    }
}

#[test]
fn a_server_put_back_during_its_drain_is_simply_active_again() {
    for family in Family::ALL {
        let all = shop(family, "");
        let mut world = World::with(&all);
        let connections = connections(&world, family);
        world.apply(&without_1(&all));
        world.pass(Duration::from_secs(DRAIN - 5));
        world.apply(&all);
        for _ in 0..5 {
            world.pass(Duration::from_secs(DRAIN));
            check(&world, &connections, Answer::Server(1));
        }
        let new: Vec<_> = (20..30).map(|n| Client::new(family, n, 1024).connect(&world)).collect();
        assert_eq!(new.iter().filter(|&&server| server == 1).count(), 5, "it has its share of new ones");
        // A second drain has its whole time.
        world.apply(&without_1(&all));
        world.pass(Duration::from_secs(DRAIN - 5));
        check(&world, &connections, Answer::Server(1));
        world.pass(Duration::from_secs(6));
        check(&world, &connections, Answer::Reset);
    }
}

/// A client's port that is used again is a new connection: it must not reach a server that drains.
#[test]
fn a_source_port_that_is_used_again_does_not_lead_to_a_draining_server() {
    for family in Family::ALL {
        for end in [flag::FIN_ACK, flag::RST] {
            let all = shop(family, "");
            let mut world = World::with(&all);
            let connections = connections(&world, family);
            world.apply(&without_1(&all));
            for (client, server) in &connections {
                assert_eq!(
                    client.send(&world, end),
                    Answer::Server(*server),
                    "the end of it reaches the server"
                );
                assert_eq!(client.connect(&world), 0);
            }
            assert_eq!(world.active(2), [20, 0]);
        }
    }
}

/// An operator's drain of a server that stays configured, and its end.
#[test]
fn a_drained_server_keeps_its_connections_for_the_draining_time_and_can_be_enabled_again() {
    for family in Family::ALL {
        let all = shop(family, "");
        let mut drained = all.clone();
        drained.servers[1].admin_state = "draining";
        let mut world = World::with(&all);
        let connections = connections(&world, family);
        world.apply(&drained);
        world.pass(Duration::from_secs(DRAIN - 5));
        check(&world, &connections, Answer::Server(1));
        assert_eq!(Client::new(family, 50, 1024).connect(&world), 0);
        world.pass(Duration::from_secs(6));
        check(&world, &connections, Answer::Reset);
        world.apply(&all);
        let new: Vec<_> = (60..70).map(|n| Client::new(family, n, 1024).connect(&world)).collect();
        assert_eq!(new.iter().filter(|&&server| server == 1).count(), 5);
    }
}
