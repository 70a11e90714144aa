//! How the rules of the contract become what the maps hold: slow start, persistence, and who may get new connections.
//! The agent's clock is set forward; tokio's is paused, so nobody waits.

mod agent;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use nlb_agent::{
    datapath::{FlowCounts, fake::FakeDatapath},
    health::{Health, Reason},
    neigh::Resolution,
};

use self::agent::{Bench, SHOP, dir, resolution, restarted, view};

const FAILED: Health = Health::Unhealthy(Reason::ConnectFailed);

/// The shop, whose service has these fields, too.
fn shop(fields: &str) -> String {
    SHOP.replace("connection_draining: 2s", &format!("connection_draining: 2s, {fields}"))
}

/// Weights 1 and 3 are 64 and 192 units; in an hour a unit of the latter takes 19 s.
#[tokio::test(start_paused = true)]
async fn the_weight_of_a_server_that_becomes_eligible_grows_from_nothing_to_all_of_it() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let slow = "scheduler: weighted_least_connections, slow_start: 3600s";
    bench.apply(&shop(slow).replace("name: a, address: 10.1.0.11, weight: 1}, {", "")).await;
    let half_an_hour = Duration::from_secs(1801);
    let turns = "service 1 v4";
    bench.expect(turns, &["service 1 v4 fewest [1*1]"]).await;
    bench.later(half_an_hour);
    bench.expect(turns, &["service 1 v4 fewest [1*96]"]).await;
    bench.later(half_an_hour);
    bench.expect(turns, &["service 1 v4 fewest [1*192]"]).await;

    bench.apply(&shop(slow)).await;
    assert_eq!(bench.lines(turns), ["service 1 v4 fewest [3*1 1*192]"], "the new one begins at once");
    bench.later(half_an_hour);
    bench.expect(turns, &["service 1 v4 fewest [3*32 1*192]"]).await;

    bench.flip("four/b", FAILED).await;
    assert_eq!(bench.lines(turns), ["service 1 v4 fewest [3*32]"]);
    bench.later(Duration::from_secs(900));
    bench.expect(turns, &["service 1 v4 fewest [3*48]"]).await;
    bench.flip("four/b", Health::Healthy).await;
    assert_eq!(bench.lines(turns), ["service 1 v4 fewest [3*48 1*1]"], "the one that is healthy again, too");
    bench.later(half_an_hour);
    bench.expect(turns, &["service 1 v4 fewest [3*64 1*96]"]).await;

    drop(bench);
    let bench = restarted(&dir, &fake).await;
    bench.expect(turns, &["service 1 v4 fewest [3*64 1*192]"]).await;
    bench.apply(&shop("scheduler: weighted_least_connections")).await;
    assert_eq!(bench.lines(turns), ["service 1 v4 fewest [3*64 1*192]"]);
}

#[tokio::test(start_paused = true)]
async fn without_slow_start_a_server_has_its_weight_at_once() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(&shop("scheduler: weighted_least_connections")).await;
    bench.flip("four/b", FAILED).await;
    bench.flip("four/b", Health::Healthy).await;
    assert_eq!(bench.lines("service 1 v4"), ["service 1 v4 fewest [1*64 2*192]"]);
}

#[tokio::test(start_paused = true)]
async fn persistence_is_a_number_in_the_service_that_edits_change() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    for (fields, expected) in [
        ("session_persistence: {enabled: true}", Some("service 1 persistence=1440s")),
        ("session_persistence: {enabled: true, timeout: 60s}", Some("service 1 persistence=60s")),
        ("session_persistence: {enabled: false, timeout: 60s}", None),
        (
            "scheduler: source_ip, session_persistence: {enabled: true, timeout: 1s}",
            Some("service 1 persistence=1s"),
        ),
        ("scheduler: flow_hash", None),
    ] {
        bench.apply(&shop(fields)).await;
        assert_eq!(bench.lines("service 1 persistence"), Vec::from_iter(expected), "{fields}");
    }
}

/// Why a backend gets no new connections is what an override of a persistence entry is counted by.
#[tokio::test(start_paused = true)]
async fn a_backend_says_why_it_gets_no_new_connections() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let tunnelled =
        shop("forwarding: ipip").replace("port: 80,", "port: 8080,").replace("port: 9090", "port: 8080");
    let a = "address: 10.1.0.11, weight: 1";
    let with = |change: &str| tunnelled.replace(a, &format!("address: 10.1.0.11, {change}"));
    for (change, expected) in [
        ("weight: 1", "serving eligible"),
        ("weight: 0", "serving weight-0"),
        ("weight: 1, admin_state: draining", "draining-reset draining"),
        ("weight: 1, admin_state: disabled", "expired-reset disabled"),
    ] {
        bench.apply(&with(change)).await;
        let found = bench.lines("backend 1 10.1.0.11:8080");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("backend 1 10.1.0.11:8080 {expected}")), "{found:?}");
    }
    bench.apply(&with("weight: 1, admin_state: enabled")).await;
    bench.flip("four/a", FAILED).await;
    assert!(bench.lines("backend 1 ")[0].contains(" serving unhealthy "), "{:?}", bench.lines("backend 1 "));
}

/// The MAC address that is known then is the router's, who would take the packets for its own.
#[tokio::test(start_paused = true)]
async fn behind_a_router_a_server_of_dsr_gets_nothing() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let (server, known) = resolution("10.1.0.11", 1);
    let with = |routed| {
        let mut view = view();
        view.resolutions.insert(server, Resolution { routed, ..known });
        Arc::new(view)
    };
    bench.view.send_replace(with(true));
    let dsr = shop("forwarding: dsr, scheduler: weighted_least_connections");
    bench.apply(&dsr.replace("port: 80,", "port: 8080,").replace("port: 9090", "port: 8080")).await;
    let found = bench.lines("backend 1 10.1.0.11:8080");
    assert_eq!(found, ["backend 1 10.1.0.11:8080 serving eligible dsr unresolved"]);
    assert_eq!(bench.lines("service 1 v4"), ["service 1 v4 fewest [2*192] ring by flow {2:8192}"]);
    bench.view.send_replace(with(false));
    bench
        .expect(
            "service 1 v4 fewest [1*64 2*192]",
            &["service 1 v4 fewest [1*64 2*192] ring by flow {1:2048 2:6144}"],
        )
        .await;
}

/// A server put back in time gets its clients back: as long as entries name its number, nobody else gets that.
#[tokio::test(start_paused = true)]
async fn a_removed_server_keeps_its_number_as_long_as_clients_may_come_back_to_it() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let persistent = shop("session_persistence: {enabled: true}");
    bench.apply(&persistent).await;
    let a = bench.id("10.1.0.11");
    fake.set_flows(FlowCounts { persisted: BTreeSet::from([a]), ..FlowCounts::default() });
    let without = persistent.replace("{name: a, address: 10.1.0.11, weight: 1}, ", "");
    bench.apply(&without).await;
    bench.later(Duration::from_secs(600));
    bench.until("the draining time", |image| image.to_string().contains("expired-reset gone")).await;
    assert!(
        bench.status().await.backends.iter().all(|backend| !backend.removed),
        "nothing of it is left to see"
    );
    bench.apply(&persistent).await;
    assert_eq!(bench.id("10.1.0.11"), a);
    assert!(bench.lines("backend 1 ")[0].contains(" serving eligible "), "{}", bench.dump());

    bench.apply(&without).await;
    fake.set_flows(FlowCounts::default());
    bench.later(Duration::from_secs(600));
    bench.until("the number to be free", |image| !image.backends.contains_key(&a)).await;
}

/// An agent that was held up for longer than the grace of a removed backend may find its deadline and a sweep due at once.
#[tokio::test(start_paused = true)]
async fn a_removed_server_is_not_forgotten_before_a_sweep_has_looked_for_connections() {
    for _ in 0..20 {
        let (dir, fake) = (dir(), FakeDatapath::default());
        let bench = Bench::start(&dir, &fake);
        bench.apply(&SHOP.replace("2s", "300s")).await;
        let a = bench.id("10.1.0.11");
        bench.connections(&[a]);
        bench
            .apply(&SHOP.replace("{name: a, address: 10.1.0.11, weight: 1}, ", "").replace("2s", "300s"))
            .await;
        let held_up = Duration::from_secs(10);
        bench.later(held_up);
        tokio::time::advance(held_up).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(bench.fake.snapshot().backends.contains_key(&a), "{}", bench.dump());
    }
}
