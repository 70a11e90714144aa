//! The agent over the fake and the faulty datapath: what the maps hold after each change, as golden dumps with a
//! line for each entry (`tests/snapshots/`).

mod agent;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use nlb_agent::{
    announce::Announcement,
    datapath::{
        BackendId, BackendState, Datapath as _, Family, FlowCounts, Image, MacText, Op, PersistenceEntry,
        Service, Slots, SnatSlot, TableUse,
        fake::FakeDatapath,
        faulty::{Fault, FaultyDatapath},
    },
    health::{Flip, Health, Reason},
    model::Name,
    neigh::{Interface, Resolution, View},
    reconcile::{Status, plan},
    status::SnatStatus,
};

use self::agent::{Bench, PATIENCE, SHOP, dir, resolution, restarted, view};

/// A group `four` without server a.
const WITHOUT_A: &str =
    "{kind: ServerGroup, name: four, servers: [{name: b, address: 10.1.0.12, weight: 3}]}";

#[tokio::test]
async fn a_shop_of_both_families_and_its_edits() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    insta::assert_snapshot!("shop", bench.dump());

    bench.apply(&SHOP.replace("weight: 3", "weight: 2").replace("weight: 1", "weight: 0")).await;
    insta::assert_snapshot!("shop_weights_edited", bench.dump());

    bench
        .apply(&SHOP.replace("port: 80, backend", "port: 80, enabled: false, idle_timeout: 60s, backend"))
        .await;
    insta::assert_snapshot!("shop_listener_disabled", bench.dump());

    let second =
        "{kind: Listener, name: alt, load_balancer: shop, protocol: tcp, port: 81, backend_service: web}";
    bench.apply(&format!("{SHOP}---\n{second}")).await;
    insta::assert_snapshot!("shop_two_listeners_share_a_service", bench.dump());
    assert_eq!(bench.status().await.backends.len(), 6, "three servers, each once for each listener");
}

#[tokio::test]
async fn a_removed_server_drains_expires_and_is_gone() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    let a = bench.id("10.1.0.11");
    bench.connections(&[a]);

    bench.apply(WITHOUT_A).await;
    insta::assert_snapshot!("removed_server_drains", bench.dump());
    let expired =
        bench.until("the deadline", |image| image.backends[&a].state != BackendState::Serving).await;
    insta::assert_snapshot!("removed_server_expired", expired);
    bench.connections(&[]);
    let gone = bench.until("the server to be gone", |image| !image.backends.contains_key(&a)).await;
    insta::assert_snapshot!("removed_server_gone", gone);

    bench.apply(SHOP).await;
    assert_ne!(bench.id("10.1.0.11"), a, "a number rests before it is given away again");
}

#[tokio::test]
async fn a_server_put_back_during_its_drain_is_simply_active_again() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    let before = bench.dump();
    bench.connections(&[bench.id("10.1.0.11")]);
    bench.apply(WITHOUT_A).await;
    assert_ne!(bench.dump(), before);
    bench.apply(SHOP).await;
    assert_eq!(bench.dump(), before);
}

#[tokio::test]
async fn admin_states_become_wheels_and_backend_states() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    let before = bench.dump();
    bench.connections(&[bench.id("10.1.0.11")]);
    let with = |state: &str| SHOP.replace("weight: 1}", &format!("weight: 1, admin_state: {state}}}"));

    bench.apply(&with("draining")).await;
    insta::assert_snapshot!("server_draining", bench.dump());
    let status = bench.status().await;
    let drained: Vec<_> =
        status.backends.iter().filter(|backend| backend.drain_remaining.is_some()).collect();
    assert_eq!(drained.len(), 1);
    assert_eq!(
        (drained[0].key.to_string(), drained[0].counters.active_connections),
        ("web:four/a@10.1.0.11:8080".to_owned(), 1)
    );

    bench
        .apply(
            &with("disabled").replace("connection_draining", "on_drain_expiry: silent, connection_draining"),
        )
        .await;
    insta::assert_snapshot!("server_disabled_silently", bench.dump());
    bench
        .apply(&with("enabled").replace("connection_draining", "on_drain_expiry: reset, connection_draining"))
        .await;
    assert_eq!(bench.dump(), before);
}

#[tokio::test]
async fn health_decides_who_gets_new_connections() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    let before = bench.dump();
    let failed = Health::Unhealthy(Reason::ConnectFailed);

    bench.flip("four/b", failed).await;
    insta::assert_snapshot!("one_unhealthy", bench.dump());
    bench.flip("four/b", Health::Healthy).await;
    assert_eq!(bench.dump(), before);

    bench.apply(&SHOP.replace("connection_draining", "on_unhealthy: reset, connection_draining")).await;
    bench.flip("four/b", failed).await;
    insta::assert_snapshot!("one_unhealthy_and_reset", bench.dump());

    bench
        .apply(&SHOP.replace("connection_draining", "on_all_unhealthy: fail_closed, connection_draining"))
        .await;
    bench.flip("four/a", failed).await;
    bench.flip("six/a", failed).await;
    insta::assert_snapshot!("all_unhealthy_fail_closed", bench.dump());
    bench.apply(SHOP).await;
    assert_eq!(bench.dump(), before, "failing open, all get traffic");
}

#[tokio::test]
async fn routes_neighbours_and_host_addresses_are_followed() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.view.send_modify(|view| {
        let mut changed = View::clone(view);
        changed.resolutions.insert(resolution("10.1.0.12", 2).0, Resolution::default());
        *view = Arc::new(changed);
    });
    bench.apply(SHOP).await;
    insta::assert_snapshot!("a_server_without_a_route", bench.dump());

    bench.view.send_replace(Arc::new(View {
        resolutions: [resolution("10.1.0.11", 9), resolution("10.1.0.12", 2), resolution("fd00:1::11", 3)]
            .into(),
        host_addresses: ["10.0.0.10".parse().expect("an address")].into(),
        ..View::default()
    }));
    let now = bench.until("the neighbour", |image| image.addresses.values().any(|local| local.host)).await;
    insta::assert_snapshot!("a_moved_neighbour_and_a_vip_of_the_host", now);
}

#[tokio::test]
async fn snat_addresses_of_the_operator_are_used() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let sources = ["10.1.0.2", "10.1.0.3"].map(|address| address.parse().expect("an address")).to_vec();
    let bench = Bench::over(&dir, &fake, fake.clone(), sources);
    bench.apply(SHOP).await;
    insta::assert_snapshot!("snat_addresses", bench.dump());
}

/// Its last connections may not be counted yet when the last backend leaves it.
/// Ports may differ, no SNAT address is needed, and a part of the connection table is for all of its servers.
#[tokio::test]
async fn with_dnat_servers_share_room_for_connections() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    fake.set_slots(Slots { snats: [4, 2], dnats: 2 });
    let bench = Bench::start(&dir, &fake);
    let dnat = SHOP.replace("port: 8080, server", "port: 8080, forwarding: dnat, server");
    bench.apply(&dnat).await;
    insta::assert_snapshot!("shop_dnat", bench.dump());

    // As long as connections hold it, it stays; then it goes.
    let room = (Family::V4, SnatSlot(5));
    let flows = FlowCounts { snats: [(room, 1)].into(), ..FlowCounts::default() };
    fake.set_flows(flows);
    let empty =
        "{kind: ServerGroup, name: four, servers: []}\n---\n{kind: ServerGroup, name: six, servers: []}";
    bench.apply(empty).await;
    bench.later(Duration::from_secs(60));
    bench.until("the other room to go", |image| image.snats.len() == 1).await;
    assert!(fake.snapshot().snats.contains_key(&room), "{}", bench.dump());
    fake.set_flows(FlowCounts::default());
    bench.until("all room to go", |image| image.snats.is_empty()).await;
}

/// As many addresses as the tables have room for; the others are left, and nothing else suffers.
#[tokio::test]
async fn snat_addresses_without_room_are_not_used() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    fake.set_slots(Slots { snats: [2, 1], dnats: 1 });
    let addresses = ["10.1.0.101", "10.1.0.102", "10.1.0.103", "fd00:1::101", "fd00:1::102"];
    let addresses = addresses.map(|address| address.parse().expect("an address")).to_vec();
    let bench = Bench::over(&dir, &fake, fake.clone(), addresses);
    bench.apply(SHOP).await;
    let used: Vec<String> = fake.snapshot().snats.values().map(|snat| snat.address.to_string()).collect();
    assert_eq!(used, ["10.1.0.101", "10.1.0.102", "fd00:1::101"]);
}

#[tokio::test]
async fn used_ports_are_told_for_each_address() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let addresses = ["10.1.0.101", "10.1.0.102"].map(|address| address.parse().expect("an address"));
    let bench = Bench::over(&dir, &fake, fake.clone(), addresses.to_vec());
    bench.apply(SHOP).await;
    let flows = FlowCounts { snats: [((Family::V4, SnatSlot(1)), 64_000)].into(), ..FlowCounts::default() };
    fake.set_flows(flows);
    let ours = |status: Status| -> Vec<SnatStatus> {
        status.snats.into_iter().filter(|snat| addresses.contains(&snat.address)).collect()
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let told = ours(bench.status().await);
        let [first, second] = told[..] else { panic!("two addresses: {told:?}") };
        assert_eq!((first.used, first.ports, first.is_scarce()), (0, 64_512, false));
        if second.used == 64_000 {
            assert!(second.is_scarce());
            break;
        }
        assert!(Instant::now() < until, "{told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_snat_address_outlives_its_last_backend_by_two_sweeps() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    let snats = fake.snapshot().snats.len();
    let mut moved = view();
    for resolution in moved
        .resolutions
        .values_mut()
        .filter(|resolution| resolution.source.is_some_and(|source| source.is_ipv4()))
    {
        resolution.source = "10.1.0.9".parse().ok();
    }
    bench.view.send_replace(Arc::new(moved));
    bench.until("the new address", |image| image.snats.len() == snats + 1).await;
    bench.until("the old one to go", |image| image.snats.len() == snats).await;
}

/// A healthy server that gets no connections anyway does not keep a service from failing open.
#[tokio::test]
async fn only_servers_that_could_serve_keep_a_service_from_failing_open() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(&SHOP.replace("weight: 1}", "weight: 1, admin_state: draining}")).await;
    let before = bench.dump();
    bench
        .flips
        .send(Flip { key: bench.key("four/b"), health: Health::Unhealthy(Reason::ConnectFailed) })
        .await
        .expect("running");
    let status = loop {
        let status = bench.status().await;
        if status.backends.iter().any(|backend| backend.health.reason().is_some()) {
            break status;
        }
    };
    assert_eq!(bench.dump(), before, "{status:?}");
}

#[tokio::test]
async fn a_removed_listener_keeps_its_connections_for_the_draining_time() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    bench.connections(&[bench.id("10.1.0.11")]);
    let removed = bench.store.commit(|state, _| {
        state.listeners.clear();
        Ok::<_, nlb_agent::model::Rule>(())
    });
    let (_, revision) = removed.expect("a legal change");
    bench.handle.applied(revision, PATIENCE).await.expect("no fault");
    insta::assert_snapshot!("removed_listener_drains", bench.dump());
    let gone = bench.until("the listener to be gone", |image| image.listeners.is_empty()).await;
    assert!(gone.contains("address 10.0.0.10 vip="), "the balancer still has its VIP:\n{gone}");
}

#[tokio::test]
async fn a_restart_keeps_numbers_and_deadlines() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(&SHOP.replace("2s", "300s")).await;
    bench.connections(&[bench.id("10.1.0.11")]);
    bench.apply(WITHOUT_A).await;
    let (before, remaining) = (bench.dump(), remaining(&bench.status().await));
    drop(bench);

    let bench = restarted(&dir, &fake).await;
    fake.take_log();
    bench.apply("{kind: ServerGroup, name: empty}").await;
    assert_eq!(bench.dump(), before);
    assert_eq!(fake.take_log(), [], "an adopted datapath that is as desired is not touched");
    // The server that was removed before the restart has no weight that anybody remembers; it is in the maps.
    assert!(remaining.is_some_and(|left| left <= Duration::from_secs(300)));
}

fn remaining(status: &Status) -> Option<Duration> {
    status.backends.iter().find_map(|backend| backend.drain_remaining)
}

#[tokio::test]
async fn without_its_store_the_agent_leaves_backends_with_connections_alone() {
    let (first, second, fake) = (dir(), dir(), FakeDatapath::default());
    let bench = Bench::start(&first, &fake);
    bench.apply(SHOP).await;
    let a = bench.id("10.1.0.11");
    bench.connections(&[a]);
    drop(bench);

    let bench = Bench::start(&second, &fake);
    bench.apply(SHOP).await;
    let image = fake.snapshot();
    assert_eq!(image.backends[&a].state, BackendState::Serving);
    let others = image.backends.iter().filter(|(_, backend)| backend.address == image.backends[&a].address);
    assert_eq!(
        others.count(),
        2,
        "the server has a new number beside the one that its connections hold:\n{image}"
    );
    bench.connections(&[]);
    bench.until("the old number to be free", |image| !image.backends.contains_key(&a)).await;
}

#[tokio::test]
async fn a_datapath_that_fails_now_and_then_converges_to_the_same() {
    let shop = guarded("{action: deny, cidrs: [10.1.0.0/16]}, {action: allow, cidrs: [10.0.0.0/8]}");
    let expected = {
        let (dir, fake) = (dir(), FakeDatapath::default());
        let bench = Bench::start(&dir, &fake);
        bench.apply(&shop).await;
        bench.dump()
    };
    for period in 2..7 {
        let (dir, fake) = (dir(), FakeDatapath::default());
        let mut writes = 0u32;
        let faults = move |_: &Op| {
            writes += 1;
            match writes % (2 * period) {
                0 => Fault::Before,
                rest if rest == period => Fault::After,
                _ => Fault::None,
            }
        };
        let bench = Bench::over(&dir, &fake, FaultyDatapath::new(fake.clone(), faults), Vec::new());
        bench.apply(&shop).await;
        assert_eq!(bench.dump(), expected, "every {period}th write fails");
    }
}

/// After every single change of a plan no packet can meet a number that stands for nothing.
#[tokio::test]
async fn every_step_of_every_plan_is_consistent() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let mut images = vec![Image::default()];
    let states = [
        SHOP.to_owned(),
        SHOP.replace("weight: 3", "weight: 9"),
        SHOP.replace("10.1.0.12", "10.1.0.11")
            .replace("name: a, address: 10.1.0.11", "name: a, address: 10.1.0.12"),
        SHOP.replace("10.0.0.10", "10.0.0.20"),
        SHOP.replace("[four, six]", "[six]"),
        guarded("{action: allow, cidrs: [10.0.0.0/8]}"),
        guarded("{action: deny, cidrs: [10.1.0.0/16]}, {action: allow}"),
        guarded(""),
        guarded("{action: deny, cidrs: [10.2.0.0/16]}, {action: allow}").replace("10.0.0.10", "10.0.0.30"),
    ];
    for state in &states {
        bench.apply(state).await;
        images.push(fake.snapshot());
    }
    for from in &images {
        assert_eq!(plan(from, from), []);
        for to in &images {
            let mut image = from.clone();
            for op in plan(to, from) {
                image.apply(&op);
                assert_consistent(&image, &op);
            }
            assert_eq!(image, *to);
        }
    }
}

/// [`SHOP`] with a security group of these rules.
fn guarded(rules: &str) -> String {
    let shop = SHOP.replace("'fd00::10']}", "'fd00::10'], security_groups: [office]}");
    format!("{{kind: SecurityGroup, name: office, rules: [{rules}]}}\n---\n{shop}")
}

#[tokio::test]
async fn a_security_group_becomes_an_access_list_that_changes_by_being_another() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    let open = bench.dump();
    fake.take_log();
    let rules = "{action: deny, cidrs: [10.1.0.0/16]}, {action: allow, protocol: tcp, ports: 80, \
        cidrs: [10.0.0.0/8, 'fd00::/16']}, {action: allow, protocol: udp}";
    bench.apply(&guarded(rules)).await;
    insta::assert_snapshot!("security_group", bench.dump());
    let ops = fake.take_log();
    let [Op::PutAcl(first, _), Op::PutListener(..), Op::PutListener(..)] = &ops[..] else {
        panic!("a list, and the listeners of both VIPs that name it: {ops:#?}");
    };

    bench.apply(&guarded("{action: allow, cidrs: [10.0.0.0/8]}")).await;
    let ops = fake.take_log();
    let [Op::PutAcl(second, _), Op::PutListener(..), Op::PutListener(..), Op::RemoveAcl(gone, _)] = &ops[..]
    else {
        panic!("another list, the listeners, and the old list: {ops:#?}");
    };
    assert_eq!(gone, first);
    assert_ne!(second, first);
    // What does not concern the listeners changes nothing.
    bench.apply(&guarded("{action: deny, ports: 443}, {action: allow, cidrs: [10.0.0.0/8]}, {action: allow, protocol: icmp}")).await;
    assert_eq!(fake.take_log(), []);

    bench.apply(&guarded("")).await;
    assert_eq!(bench.lines("acl "), ["acl 3 nobody"]);
    bench.apply(SHOP).await;
    assert_eq!(bench.dump(), open);
}

#[tokio::test]
async fn listeners_that_the_same_rules_concern_share_an_access_list() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let more = "{kind: Listener, name: alt, load_balancer: shop, protocol: tcp, port: 81, backend_service: web}\n---\n\
        {kind: Listener, name: other, load_balancer: shop, protocol: tcp, port: 82, backend_service: web}";
    let rules =
        "{action: allow, ports: 80-81, cidrs: [10.0.0.0/8]}, {action: allow, ports: 82, cidrs: [10.9.0.5]}";
    bench.apply(&format!("{}---\n{more}", guarded(rules))).await;
    let image = fake.snapshot();
    let acls: BTreeMap<_, _> =
        image.listeners.values().map(|listener| ((listener.port, listener.address), listener.acl)).collect();
    let of = |port: u16, vip: &str| acls[&(port, vip.parse().expect("an address"))];
    assert_eq!(of(80, "10.0.0.10"), of(81, "fd00::10"));
    assert_ne!(of(80, "10.0.0.10"), of(82, "10.0.0.10"));
    assert_eq!(image.acls.len(), 2, "{image}");
}

/// A restart reads back what the numbers stand for.
#[tokio::test]
async fn a_restart_keeps_access_lists_and_a_removed_listener_keeps_its_own() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(&guarded("{action: allow, cidrs: [10.0.0.0/8]}")).await;
    bench.connections(&[bench.id("10.1.0.11")]);
    let before = bench.dump();
    drop(bench);
    let bench = restarted(&dir, &fake).await;
    fake.take_log();
    bench.apply("{kind: ServerGroup, name: empty}").await;
    assert_eq!(bench.dump(), before);
    assert_eq!(fake.take_log(), []);

    let removed = bench.store.commit(|state, _| {
        state.listeners.clear();
        Ok::<_, nlb_agent::model::Rule>(())
    });
    let (_, revision) = removed.expect("a legal change");
    bench.handle.applied(revision, PATIENCE).await.expect("no fault");
    assert_eq!(bench.lines("acl "), ["acl 1 10.0.0.0/8 allow"]);
    bench
        .until("listeners and list to be gone", |image| image.listeners.is_empty() && image.acls.is_empty())
        .await;
}

fn assert_consistent(image: &Image, op: &Op) {
    if let Op::PutAcl(id, _) | Op::RemoveAcl(id, _) = op {
        let is_named = image.listeners.values().any(|listener| listener.acl == Some(*id));
        assert!(!is_named, "{op:?} changes a list that packets meet:\n{image}");
    }
    for acl in image.listeners.values().filter_map(|listener| listener.acl) {
        assert!(image.acls.contains_key(&acl), "{op:?} leaves a listener without its access list:\n{image}");
    }
    for listener in image.listeners.values() {
        assert!(
            image.services.contains_key(&listener.service),
            "{op:?} leaves a listener without service:\n{image}"
        );
    }
    for backend in image.services.values().flat_map(Service::backends) {
        let state = image.backends.get(&backend).map(|backend| backend.state);
        assert_eq!(
            state,
            Some(BackendState::Serving),
            "{op:?} leaves a wheel with backend {backend}:\n{image}"
        );
    }
    for backend in image.backends.values() {
        let hop = backend.next_hop.map(|hop| hop.egress);
        assert!(
            hop.is_none_or(|egress| image.egresses.contains_key(&egress)),
            "{op:?}: no way out:\n{image}"
        );
    }
    for local in image.addresses.values().filter_map(|local| local.snat) {
        assert!(image.snats.keys().any(|(_, slot)| *slot == local), "{op:?}: no such SNAT slot:\n{image}");
    }
}

#[tokio::test]
async fn persistence_entries_have_names_and_time_to_go() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let web = "server_groups: [four, six]";
    let persistent = format!("{web}, session_persistence: {{enabled: true, timeout: 60s}}");
    bench.apply(&SHOP.replace(web, &persistent)).await;
    let image = fake.snapshot();
    let vip = image.addresses[&"10.0.0.10".parse::<IpAddr>().expect("an address")].vip.expect("a VIP");
    let listener = image.listeners.values().find(|listener| listener.vip == vip).expect("a listener");
    let entry = |client: &str, backend, connections, seconds| PersistenceEntry {
        service: listener.service,
        vip,
        client: client.parse().expect("an address"),
        backend,
        connections,
        idle: Duration::from_secs(seconds),
    };
    let a = bench.id("10.1.0.11");
    fake.set_persistence(vec![
        entry("10.9.0.7", BackendId(9999), 0, 61),
        entry("10.9.0.6", a, 0, 20),
        entry("10.9.0.5", a, 2, 0),
    ]);

    let service = |name: &str| name.parse::<Name>().ok();
    let entries = bench.handle.persistence(service("web")).await.expect("entries");
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| {
            let server = entry.backend.as_ref().map(|key| format!("{}/{}", key.group, key.server));
            (entry.client.to_string(), server, entry.connections, entry.remaining.as_secs())
        })
        .collect();
    let server = Some("four/a".to_owned());
    assert_eq!(
        shown,
        [
            ("10.9.0.5".to_owned(), server.clone(), 2, 60),
            ("10.9.0.6".to_owned(), server, 0, 40),
            ("10.9.0.7".to_owned(), None, 0, 0),
        ]
    );
    assert!(entries.iter().all(|entry| entry.vip.to_string() == "10.0.0.10"));
    assert_eq!(bench.handle.persistence(None).await.expect("entries"), entries, "of all services");
    let error = bench.handle.persistence(service("tea")).await.expect_err("no such service").to_string();
    assert_eq!(error, "backend service tea does not exist");
}

#[tokio::test]
async fn status_has_events_tables_and_who_fails_open() {
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    let table = TableUse { name: "FLOWS_V4", capacity: 8, used: 7, bytes: 512 };
    fake.set_tables(vec![table]);
    fake.set_events(vec![3]);
    let status = bench.status().await;
    assert_eq!(status.tables, [table]);
    assert_eq!((status.events[0].name, status.events[0].count), ("PERSISTENCE_OVERRIDDEN_GONE", 3));
    assert!(status.events.iter().any(|event| (event.name, event.count) == ("CONN_EVICTED", 0)));
    assert!(status.fail_open.iter().all(|service| !service.failing_open), "{:?}", status.fail_open);

    bench.flip("four/a", Health::Unhealthy(Reason::ConnectFailed)).await;
    let key = bench.key("four/b");
    let flip = Flip { key, health: Health::Unhealthy(Reason::ConnectFailed) };
    bench.flips.send(flip).await.expect("a running reconciler");
    let deadline = Instant::now() + PATIENCE;
    let failing = loop {
        let status = bench.status().await;
        let failing: Vec<_> = status.fail_open.iter().filter(|service| service.failing_open).collect();
        if let [service] = failing.as_slice() {
            break (*service).clone();
        }
        assert!(Instant::now() < deadline, "waiting for the service to fail open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((failing.backend_service.as_str(), failing.family), ("web", Family::V4));
}

/// What the datapath answers for: interface, tag, address.
fn announced(bench: &Bench) -> Vec<String> {
    let announced = bench.announced.borrow();
    let line = |announcement: &Announcement| {
        let Announcement { interface, vlan, mac, address } = announcement;
        let tag = vlan.map_or_else(String::new, |vlan| format!(".{vlan}"));
        format!("{interface}{tag} {} {address}", MacText(*mac))
    };
    announced.iter().map(line).collect()
}

#[tokio::test]
async fn vips_are_announced_on_every_interface_while_their_balancer_says_so_and_they_are_not_the_hosts() {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
    let (dir, fake) = (dir(), FakeDatapath::default());
    let bench = Bench::start(&dir, &fake);
    let interfaces = |mac| {
        let tagged = Interface { mac, vlans: [7].into() };
        BTreeMap::from([(2, Interface { mac, vlans: BTreeSet::new() }), (3, tagged)])
    };
    bench
        .view
        .send_modify(|view| *view = Arc::new(View { interfaces: interfaces(MAC), ..View::clone(view) }));
    bench.apply(SHOP).await;
    assert!(announced(&bench).is_empty());
    bench.expect("address 10.0.0.10", &["address 10.0.0.10 vip=1 echo"]).await;

    let shop =
        |spec| format!("{{kind: LoadBalancer, name: shop, addresses: [10.0.0.10, 'fd00::10'], {spec}}}\n");
    bench.apply(&shop("announce: true")).await;
    insta::assert_snapshot!("announced_vips", bench.dump());
    let everywhere =
        |mac: &str, address: &str| ["2", "3", "3.7"].map(|place| format!("{place} {mac} {address}"));
    let both = |mac| {
        let mut lines = [everywhere(mac, "10.0.0.10"), everywhere(mac, "fd00::10")].concat();
        lines.sort();
        lines
    };
    let sorted = || {
        let mut lines = announced(&bench);
        lines.sort();
        lines
    };
    assert_eq!(sorted(), both("02:00:00:00:00:10"));

    // A device gets another MAC address; a VIP becomes the host's own.
    bench.view.send_modify(|view| {
        let interfaces = interfaces([2, 0, 0, 0, 0, 0x11]);
        *view = Arc::new(View { interfaces, ..View::clone(view) });
    });
    let other = ["interface 2 02:00:00:00:00:11", "interface 3 02:00:00:00:00:11"];
    bench.expect("interface", &other).await;
    bench.until("the new MAC address to be announced", |_| sorted() == both("02:00:00:00:00:11")).await;
    bench.view.send_modify(|view| {
        let host_addresses = ["10.0.0.10".parse().expect("an address")].into();
        *view = Arc::new(View { host_addresses, ..View::clone(view) });
    });
    let six = everywhere("02:00:00:00:00:11", "fd00::10");
    bench.until("the host's own to be left alone", |_| sorted() == six).await;

    bench.apply(&shop("announce: true, echo: false, enabled: false")).await;
    assert!(announced(&bench).is_empty());
    bench.apply(&shop("echo: false")).await;
    bench.expect("address fd00::10", &["address fd00::10 vip=2"]).await;
    assert!(announced(&bench).is_empty());
}

#[tokio::test]
async fn an_agent_that_has_not_looked_yet_leaves_the_interfaces_as_they_are() {
    let (dir, mut fake) = (dir(), FakeDatapath::default());
    fake.apply(&Op::PutInterface(2, [2, 0, 0, 0, 0, 0x10])).expect("it never fails");
    let bench = Bench::start(&dir, &fake);
    bench.apply(SHOP).await;
    assert_eq!(bench.lines("interface"), ["interface 2 02:00:00:00:00:10"]);
}
