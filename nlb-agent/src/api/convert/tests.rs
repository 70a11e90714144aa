use std::collections::HashMap;

use proptest::{collection::vec, option, prelude::*, strategy::ValueTree as _};

use super::*;
use crate::model::{State, fixture::NOW};

/// Legal somewhere, or nowhere.
const LEGAL_OR_NOT: &[&str] = &[
    "",
    "a",
    "shop-web",
    "A",
    "-",
    "10.0.0.1",
    "2001:db8::1",
    "127.0.0.1",
    "/x",
    "200,3xx",
    "999",
    "a b",
    "\u{0}",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(LEGAL_OR_NOT).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Mostly one of `legal`, so that whole messages are legal often enough.
fn mostly(legal: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![15 => prop::sample::select(legal).prop_map(str::to_owned), 1 => text()]
}

fn name() -> impl Strategy<Value = String> {
    mostly(&["a", "shop-web", "0"])
}

fn address() -> impl Strategy<Value = String> {
    mostly(&["10.0.0.1", "2001:db8::1"])
}

fn label() -> impl Strategy<Value = HashMap<String, String>> {
    option::of((text(), text())).prop_map(|pair| pair.into_iter().collect())
}

/// Mostly what is legal somewhere, sometimes anything.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![15 => 1..=10u32, 1 => Just(0), 1 => any::<u32>()]
}

fn enumeration() -> impl Strategy<Value = i32> {
    prop_oneof![9 => Just(1), 4 => 0..=2i32, 1 => any::<i32>()]
}

fn duration() -> impl Strategy<Value = Option<prost_types::Duration>> {
    let legal = (1..=60i64, prop_oneof![4 => Just(0), 1 => Just(500_000_000), 1 => Just(1)]);
    let parts = prop_oneof![9 => legal, 1 => any::<(i64, i32)>()];
    option::of(parts.prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }))
}

prop_compose! {
    fn load_balancer()(
        name in name(), description in mostly(&["", "free text"]), labels in label(), r#type in enumeration(),
        addresses in vec(address(), 0..3), delete_protection: bool, enabled: Option<bool>,
        announce: bool, echo: Option<bool>, security_groups in vec(name(), 0..2),
    ) -> wire::LoadBalancer {
        wire::LoadBalancer {
            name, description, labels, r#type, addresses, delete_protection, enabled, announce, echo, security_groups,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn listener()(
        name in name(), description in mostly(&["", "free text"]), labels in label(), load_balancer in name(), protocol in enumeration(),
        port in number(), idle_timeout in duration(), backend_service in name(), enabled: Option<bool>,
    ) -> wire::Listener {
        wire::Listener {
            name, description, labels, load_balancer, protocol, port, idle_timeout, backend_service, enabled,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn server()(
        name in name(), address in address(), port in number(), weight in option::of(number()), zone in mostly(&["", "north"]),
        admin_state in enumeration(),
    ) -> wire::Server {
        wire::Server { name, address, port, weight, zone, admin_state }
    }
}

prop_compose! {
    fn server_group()(
        name in name(), description in mostly(&["", "free text"]), labels in label(), servers in vec(server(), 0..2),
    ) -> wire::ServerGroup {
        wire::ServerGroup { name, description, labels, servers, ..Default::default() }
    }
}

prop_compose! {
    fn security_rule()(
        direction in enumeration(), action in enumeration(), protocol in enumeration(),
        ports in mostly(&["", "80", "8000-8999"]), cidrs in vec(mostly(&["10.0.0.0/8", "10.0.0.1", "2001:db8::/32"]), 0..3),
    ) -> wire::SecurityRule {
        wire::SecurityRule { direction, action, protocol, ports, cidrs }
    }
}

prop_compose! {
    fn security_group()(
        name in name(), description in mostly(&["", "free text"]), labels in label(), rules in vec(security_rule(), 0..2),
    ) -> wire::SecurityGroup {
        wire::SecurityGroup { name, description, labels, rules, ..Default::default() }
    }
}

prop_compose! {
    fn health_check()(
        protocol in enumeration(), port in number(), interval in duration(), timeout in duration(),
        thresholds in (number(), number()), method in enumeration(), path in mostly(&["", "/healthz"]),
        host in mostly(&["", "example.com:80"]), expected_codes in mostly(&["", "200,300-302,4xx"]),
        enabled: Option<bool>,
    ) -> wire::HealthCheck {
        let (healthy_threshold, unhealthy_threshold) = thresholds;
        wire::HealthCheck {
            protocol, port, interval, timeout, healthy_threshold, unhealthy_threshold, method, path, host,
            expected_codes, enabled,
        }
    }
}

prop_compose! {
    fn session_persistence()(enabled: bool, timeout in duration()) -> wire::SessionPersistence {
        wire::SessionPersistence { enabled, timeout }
    }
}

prop_compose! {
    fn backend_service()(
        name in name(), port in number(), protocol in enumeration(), policies in prop::array::uniform7(0..=2i32),
        durations in (duration(), duration()), health_check in option::of(health_check()),
        server_groups in vec(name(), 0..2), session_persistence in option::of(session_persistence()),
    ) -> wire::BackendService {
        let [scheduler, forwarding, on_drain_expiry, on_all_unhealthy, on_unhealthy, unknown_flow, connection_tracking] =
            policies;
        let (connection_draining, slow_start) = durations;
        wire::BackendService {
            name, port, protocol, scheduler, forwarding, connection_draining, on_drain_expiry, health_check,
            on_all_unhealthy, on_unhealthy, unknown_flow, server_groups, session_persistence, slow_start,
            connection_tracking, ..Default::default()
        }
    }
}

/// Whatever comes over the wire is refused or becomes a draft; a draft survives the way back to the wire.
fn round_trip<W: Wire>(message: W) {
    let Ok(mut draft) = message.into_draft() else { return };
    let name = draft.name.clone();
    let mut state = State::default();
    state.create(draft.clone(), NOW).expect("the state is empty");
    let shown = W::from_stored(&name, &W::Model::all(&state)[&name]);
    draft.spec.settle(None);
    assert_eq!(shown.into_draft().expect("what was stored is legal"), draft);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn load_balancers_survive_the_wire(message in load_balancer()) {
        round_trip(message);
    }

    #[test]
    fn listeners_survive_the_wire(message in listener()) {
        round_trip(message);
    }

    #[test]
    fn security_groups_survive_the_wire(message in security_group()) {
        round_trip(message);
    }

    #[test]
    fn server_groups_survive_the_wire(message in server_group()) {
        round_trip(message);
    }

    #[test]
    fn backend_services_survive_the_wire(message in backend_service()) {
        round_trip(message);
    }
}

fn service() -> wire::BackendService {
    wire::BackendService { name: "web".to_owned(), protocol: 1, port: 80, ..Default::default() }
}

#[test]
fn what_is_left_out_has_the_default_of_manifests() {
    let draft = wire::BackendService { health_check: Some(wire::HealthCheck::default()), ..service() };
    let yaml = "{protocol: tcp, port: 80, health_check: {}}";
    assert_eq!(draft.into_draft().expect("legal").spec, serde_yaml::from_str(yaml).expect("legal"));
}

/// Rows: request, expected message.
#[test]
fn refusals_name_field_value_and_what_is_allowed() {
    let check = |check| wire::BackendService { health_check: Some(check), ..service() };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (message, expected) in [
        (wire::BackendService { name: String::new(), ..service() }, "name: is missing"),
        (wire::BackendService { protocol: 0, ..service() }, "protocol: is missing"),
        (
            wire::BackendService { protocol: 9, ..service() },
            "protocol: 9 is no value of it: 1 (PROTOCOL_TCP), 2 (PROTOCOL_UDP) are allowed",
        ),
        (wire::BackendService { port: 0, ..service() }, "port: 0 is out of range: 1-65535 allowed"),
        (wire::BackendService { port: 65536, ..service() }, "port: 65536 is out of range: 1-65535 allowed"),
        (
            wire::BackendService { connection_draining: seconds(4000), ..service() },
            "connection_draining: 4000s is out of range: 0s-3600s allowed",
        ),
        (
            wire::BackendService { connection_draining: seconds(-1), ..service() },
            "connection_draining: -1 s and 0 ns is no duration: it must be 0 or more",
        ),
        (
            wire::BackendService { slow_start: seconds(3601), ..service() },
            "slow_start: 3601s is out of range: 0s-3600s allowed",
        ),
        (
            wire::BackendService {
                session_persistence: Some(wire::SessionPersistence { enabled: true, timeout: seconds(0) }),
                ..service()
            },
            "session_persistence.timeout: 0s is out of range: 1s-86400s allowed",
        ),
        (
            wire::BackendService { connection_tracking: 9, ..service() },
            "connection_tracking: 9 is no value of it: 1 (CONNECTION_TRACKING_FULL), 2 (CONNECTION_TRACKING_TRANSITION), 3 (CONNECTION_TRACKING_NONE) are allowed",
        ),
        (
            wire::BackendService { server_groups: vec!["a".to_owned(), String::new()], ..service() },
            "server_groups[1]: is missing",
        ),
        (
            check(wire::HealthCheck { healthy_threshold: 11, ..Default::default() }),
            "health_check.healthy_threshold: 11 is out of range: 1-10 allowed",
        ),
        (
            check(wire::HealthCheck { timeout: seconds(61), ..Default::default() }),
            "health_check.timeout: 61s is out of range: 100ms-60s allowed",
        ),
    ] {
        assert_eq!(message.into_draft().expect_err(expected).to_string(), expected);
    }
    let server = wire::Server { name: "a".to_owned(), address: "10.0.0.1".to_owned(), ..Default::default() };
    for (server, expected) in [
        (
            wire::Server { weight: Some(101), ..server.clone() },
            "servers[0].weight: 101 is out of range: 0-100 allowed",
        ),
        (
            wire::Server { port: 70000, ..server.clone() },
            "servers[0].port: 70000 is out of range: 1-65535 allowed",
        ),
        (
            wire::Server { address: "x".to_owned(), ..server },
            "servers[0].address: \"x\" is no IP address, like 10.0.0.10 or 2001:db8::10",
        ),
    ] {
        let group = wire::ServerGroup { name: "g".to_owned(), servers: vec![server], ..Default::default() };
        assert_eq!(group.into_draft().expect_err(expected).to_string(), expected);
    }
}

/// Rows: rule, expected message.
#[test]
fn refusals_of_security_rules_name_field_value_and_what_is_allowed() {
    let allow = || wire::SecurityRule { action: 1, ..Default::default() };
    for (rule, expected) in [
        (wire::SecurityRule::default(), "rules[0].action: is missing"),
        (
            wire::SecurityRule { direction: 2, ..allow() },
            "rules[0].direction: egress is not supported, because the security groups of a load balancer filter what clients send to it: ingress allowed",
        ),
        (
            wire::SecurityRule { direction: 3, ..allow() },
            "rules[0].direction: 3 is no value of it: 1 (DIRECTION_INGRESS) are allowed",
        ),
        (
            wire::SecurityRule { cidrs: vec!["10.0.0.0/8".to_owned(), "10.0.0.1/8".to_owned()], ..allow() },
            "rules[0].cidrs[1]: 10.0.0.1/8 has bits of a host behind its prefix: 10.0.0.0/8 allowed, or the address alone",
        ),
        (
            wire::SecurityRule { ports: "80-".to_owned(), ..allow() },
            "rules[0].ports: \"80-\" is no port or range of ports, like 80 or 8000-8999",
        ),
        (
            wire::SecurityRule { ports: "80".to_owned(), protocol: 4, ..allow() },
            "rules[0].ports: a port is not supported, because protocol: icmp has none: no ports, or protocol: tcp, udp or any allowed",
        ),
    ] {
        let group = wire::SecurityGroup { name: "g".to_owned(), rules: vec![rule], ..Default::default() };
        assert_eq!(group.into_draft().expect_err(expected).to_string(), expected);
    }
}

#[test]
fn a_mask_takes_over_what_it_names_and_nothing_else() {
    let mask = |path: &str| FieldMask { paths: vec![path.to_owned()] };
    let update =
        wire::BackendService { port: 90, on_unhealthy: 2, description: "new".to_owned(), ..service() };
    let merged = masked(service(), update.clone(), Some(&mask("on_unhealthy"))).expect("legal");
    assert_eq!(merged, wire::BackendService { on_unhealthy: 2, ..service() });
    for everything in [None, Some(&mask("*")), Some(&FieldMask::default())] {
        assert_eq!(masked(service(), update.clone(), everything).expect("legal"), update);
    }
    let error =
        masked(service(), update, Some(&mask("revision"))).expect_err("set by the server").to_string();
    assert!(
        error.starts_with("update_mask: \"revision\" cannot be updated: description, labels, protocol"),
        "{error}"
    );
}

/// A property that holds because everything is refused says nothing.
#[test]
fn random_messages_are_legal_often_enough() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut legal = [0; 5];
    for _ in 0..1000 {
        let messages = (load_balancer(), listener(), server_group(), backend_service(), security_group());
        let (a, b, c, d, e) = messages.new_tree(&mut runner).expect("generated").current();
        let is_legal = [
            a.into_draft().is_ok(),
            b.into_draft().is_ok(),
            c.into_draft().is_ok(),
            d.into_draft().is_ok(),
            e.into_draft().is_ok(),
        ];
        for (count, is_legal) in legal.iter_mut().zip(is_legal) {
            *count += u32::from(is_legal);
        }
    }
    assert!(legal.iter().all(|count| *count > 100), "{legal:?} of 1000");
}
