//! Draining beats persistence: from the moment a server may have no new connections, no entry leads there any more.

use std::time::Duration;

use nlb_agent::{
    datapath::{Datapath as _, Family, aya::Sizes},
    health::{Health, Reason},
};
use nlb_common::event::Event;
use nlb_tests::packet::flag;

use crate::{
    agent::End,
    client::Client,
    program::Answer,
    shop::Shop,
    world::{Setup, World},
};

/// The events that say why.
pub(crate) const REASONS: [Event; 5] = [
    Event::PersistenceOverriddenGone,
    Event::PersistenceOverriddenDraining,
    Event::PersistenceOverriddenDisabled,
    Event::PersistenceOverriddenUnhealthy,
    Event::PersistenceOverriddenWeight,
];

fn shop(family: Family) -> Shop {
    Shop::new(
        family,
        &[10; 3],
        "session_persistence: {enabled: true, timeout: 600s}, health_check: {protocol: tcp}, connection_draining: 60s",
    )
}

fn counts(world: &World) -> [u64; 5] {
    REASONS.map(|event| world.event(event))
}

/// What takes a server out of service, in the shop or by its health.
type Change = fn(&mut World, &mut Shop, usize);

#[test]
fn a_clients_next_connection_goes_elsewhere_and_the_reason_is_counted_once() {
    // In the order of `REASONS`.
    let reasons: [(Event, Change); 5] = [
        (Event::PersistenceOverriddenGone, |_, shop, server| {
            shop.servers.retain(|known| known.index != server);
        }),
        (Event::PersistenceOverriddenDraining, |_, shop, server| {
            shop.servers[server].admin_state = "draining";
        }),
        (Event::PersistenceOverriddenDisabled, |_, shop, server| {
            shop.servers[server].admin_state = "disabled";
        }),
        (Event::PersistenceOverriddenUnhealthy, |world, _, server| {
            world.flip(server, Health::Unhealthy(Reason::ConnectFailed));
        }),
        (Event::PersistenceOverriddenWeight, |_, shop, server| shop.servers[server].weight = 0),
    ];
    for (all, minutes) in [
        (shop(Family::V4), 0),
        (shop(Family::V4), 5),
        (shop(Family::V6), 5),
        (shop(Family::V4).by_nat(), 5),
        (shop(Family::V6).by_nat(), 0),
    ] {
        let family = all.family;
        let mut world = World::with(&all);
        for (row, (reason, change)) in reasons.into_iter().enumerate() {
            let clients = |port| (40 * row..40 * row + 30).map(move |n| Client::new(family, n, port));
            let before: Vec<_> = clients(1024).map(|client| client.connect(&world)).collect();
            // Half of them have ended their connection: the entry alone is left.
            clients(1024).step_by(2).for_each(|client| client.abort(&world));
            let mut changed = all.clone();
            change(&mut world, &mut changed, 1);
            world.apply(&changed);
            world.pass(Duration::from_secs(60 * minutes));
            world.seconds(3);
            let counted = counts(&world);
            let after: Vec<_> = clients(2000).map(|client| client.connect(&world)).collect();
            let mut expected = counted;
            for (before, after) in before.iter().zip(&after) {
                assert_ne!(*after, 1, "{reason:?}");
                assert!(before == after || *before == 1, "{reason:?}: the others are where they were");
                expected[row] += u64::from(*before == 1);
            }
            assert!(expected[row] > 5, "{reason:?}: server 1 had clients");
            assert_eq!(counts(&world), expected, "{family}, {reason:?} after {minutes} minutes");
            let again: Vec<_> = clients(3000).map(|client| client.connect(&world)).collect();
            assert_eq!(again, after, "the new pick replaces the entry");
            assert_eq!(counts(&world), expected, "which is counted once");
            world.apply(&all);
            world.flip(1, Health::Healthy);
        }
    }
}

/// A server that is put back before its clients' entries are over has its clients again: they did not come meanwhile.
#[test]
fn a_server_put_back_in_time_has_its_clients_again() {
    for family in Family::ALL {
        let all = if family == Family::V4 { shop(family) } else { shop(family).by_nat() };
        let mut world = World::with(&all);
        let clients: Vec<_> = (0..30).map(|n| Client::new(family, n, 1024)).collect();
        let before: Vec<_> = clients.iter().map(|client| client.connect(&world)).collect();
        clients.iter().for_each(|client| client.abort(&world));
        let mut without = all.clone();
        without.servers.remove(2);
        world.apply(&without);
        world.seconds(5);
        world.pass(Duration::from_secs(200));
        world.restart(End::Stopped);
        world.pass(Duration::from_secs(200));
        world.apply(&all);
        let after: Vec<_> = (0..30).map(|n| Client::new(family, n, 2000).connect(&world)).collect();
        assert_eq!(after, before);
        assert_eq!(counts(&world), [0; 5]);
        world.apply(&without);
        (0..30).for_each(|n| Client::new(family, n, 2000).abort(&world));
        world.pass(Duration::from_secs(599));
        assert_eq!(world.datapath().persistence().unwrap().len(), 30, "none before its time");
        world.pass(Duration::from_secs(3));
        world.seconds(3);
        assert_eq!(world.datapath().persistence().unwrap(), [], "but then");
        assert_eq!(world.backend(2), None, "and its number is free");
    }
}

/// The timeout slides with every connection, and an open one keeps the entry however long it lasts.
#[test]
fn an_entry_lives_its_time_after_the_last_connection_that_used_it() {
    let family = Family::V4;
    let mut shop = shop(family);
    shop.listener = ", idle_timeout: 86400s".to_owned();
    let mut world = World::with(&shop);
    let first = Client::new(family, 1, 1000);
    let server = first.connect(&world);
    for _ in 0..5 {
        world.pass(Duration::from_secs(3000));
        assert_eq!(world.datapath().persistence().unwrap().len(), 1, "the connection is open");
    }
    first.abort(&world);
    for n in 0..5 {
        world.pass(Duration::from_secs(599));
        let client = Client::new(family, 1, 2000 + n);
        assert_eq!(client.connect(&world), server, "it slides");
        client.abort(&world);
    }
    world.pass(Duration::from_secs(601));
    world.seconds(2);
    assert_eq!(world.datapath().persistence().unwrap(), []);
}

/// As many clients as the table is made for find room.
#[test]
fn a_table_has_room_for_its_clients() {
    const CLIENTS: usize = 1 << 13;
    for family in Family::ALL {
        let sizes = Sizes { flows: 1 << 14, persistence: CLIENTS as u32, ..Sizes::default() };
        let mut world = World::new(Setup { sizes, hash_seed: None });
        world.apply(&shop(family));
        for n in 0..CLIENTS {
            let client = Client::new(family, n, 1024);
            client.connect(&world);
            client.abort(&world);
        }
        assert_eq!(world.event(Event::PersistenceFull), 0);
        assert_eq!(world.datapath().persistence().unwrap().len(), CLIENTS);
    }
}

/// When the table is full new clients are balanced without an entry, which is counted; no entry makes room.
#[test]
fn a_full_table_is_counted_and_breaks_no_entry() {
    let family = Family::V4;
    let sizes = Sizes { flows: 1 << 14, persistence: 1 << 8, ..Sizes::default() };
    let mut world = World::new(Setup { sizes, hash_seed: None });
    world.apply(&shop(family));
    let capacity = 1 << 9;
    let mut servers = Vec::new();
    for n in 0..4 * capacity {
        let client = Client::new(family, n, 1024);
        servers.push(client.connect(&world));
        client.abort(&world);
    }
    let entries = world.datapath().persistence().unwrap();
    assert!(entries.len() > capacity * 95 / 100 && entries.len() <= capacity, "{} entries", entries.len());
    assert_eq!(world.event(Event::PersistenceFull) as usize, 4 * capacity - entries.len(), "each once");
    for entry in &entries {
        let n = (0..4 * capacity).find(|&n| crate::shop::client(family, n) == entry.client).unwrap();
        let client = Client::new(family, n, 2000);
        assert_eq!(client.send(&world, flag::SYN), Answer::Server(servers[n]), "client {n} has an entry");
    }
}

/// More connections than the numbers of the agent's ends that an entry has room for.
#[test]
fn every_connection_that_the_agent_ends_is_taken_from_its_clients_entry() {
    const CLIENTS: usize = 5000;
    let family = Family::V4;
    let mut shop = shop(family);
    shop.listener = ", idle_timeout: 30s".to_owned();
    let sizes = Sizes { flows: 1 << 14, persistence: 1 << 13, ..Sizes::default() };
    let mut world = World::new(Setup { sizes, hash_seed: None });
    world.apply(&shop);
    for n in 0..CLIENTS {
        Client::new(family, n, 1024).connect(&world);
    }
    let open = |world: &World| {
        let entries = world.datapath().persistence().unwrap();
        (entries.len(), entries.iter().map(|entry| entry.connections).sum::<u32>())
    };
    assert_eq!(open(&world), (CLIENTS, CLIENTS as u32));
    world.pass(Duration::from_secs(60));
    world.seconds(1);
    assert_eq!(world.active(3), [0; 3], "all were idle");
    assert_eq!(open(&world), (CLIENTS, 0));
}
