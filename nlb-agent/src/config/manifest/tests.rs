use super::*;
use crate::model::fixture::name;

/// The example of the contract, as far as it is built, with comments and server-set fields.
const SHOP: &str = r#"
# the shop
kind: LoadBalancer
name: shop
type: nlb
addresses: [10.0.0.10, "2001:db8::10"]
---
name: shop-servers
servers:
  - {name: a, address: 10.1.0.11, port: 8080, weight: 1}
  - {name: b, address: 10.1.0.12, port: 8080, weight: 3}
kind: ServerGroup
labels: {team: web}
id: 0123
created_at: 2026-01-01T00:00:00Z
updated_at: {anything: goes}
revision: 7
---
# nothing here
---
kind: BackendService
name: shop-web
description: what answers
protocol: tcp
port: 8080
scheduler: weighted_round_robin
forwarding: nat
session_persistence: {enabled: true, timeout: 1440s}
connection_draining: 300s
health_check: {protocol: http, path: /healthz, interval: 1s, timeout: 500ms, healthy_threshold: 2, unhealthy_threshold: 2}
server_groups: [shop-servers]
---
kind: Listener
name: shop-http
load_balancer: shop
protocol: tcp
port: 80
idle_timeout: 1800s
backend_service: shop-web
"#;

#[test]
fn the_example_of_the_contract_is_read() {
    let manifests = parse("shop.yaml", SHOP).expect("legal");
    let shown: Vec<_> = manifests.iter().map(|m| (m.origin.as_str(), m.draft.key())).collect();
    assert_eq!(
        shown,
        [
            ("shop.yaml:3", (Kind::LoadBalancer, &name("shop"))),
            ("shop.yaml:8", (Kind::ServerGroup, &name("shop-servers"))),
            ("shop.yaml:21", (Kind::BackendService, &name("shop-web"))),
            ("shop.yaml:33", (Kind::Listener, &name("shop-http"))),
        ]
    );
    let AnyDraft::ServerGroup(group) = &manifests[1].draft else { panic!("a group") };
    assert_eq!(group.labels.len(), 1);
    assert_eq!(group.spec.servers[1].weight.get(), 3);
    let AnyDraft::BackendService(service) = &manifests[2].draft else { panic!("a service") };
    assert_eq!(service.description.as_str(), "what answers");
    assert!(service.spec.session_persistence.enabled);
    let check = service.spec.health_check.as_ref().expect("given");
    assert_eq!(check.timeout.to_string(), "500ms");
    assert!(check.enabled);
}

#[test]
fn nothing_is_legal() {
    for yaml in ["", "---\n", "# a comment\n", "---\n---\n"] {
        assert_eq!(parse("x", yaml).expect(yaml), []);
    }
}

/// Rows: YAML after two lines that are fine, expected message.
#[test]
fn errors_name_file_line_field_value_and_what_is_allowed() {
    for (yaml, expected) in [
        (
            "kind: Listner",
            "f.yaml:3: kind: unknown variant `Listner`, expected one of `SecurityGroup`, `LoadBalancer`, `ServerGroup`, `BackendService`, `Listener`",
        ),
        ("name: x", "f.yaml:3: missing field `kind`"),
        ("kind: ServerGroup", "f.yaml:3: missing field `name`"),
        (
            "kind: ServerGroup\nname: X",
            "f.yaml:4: name: \"X\" is no name: 1-63 lower-case letters, digits and '-', starting and ending with a letter or digit",
        ),
        ("kind: ServerGroup\nname: x\nname: y", "f.yaml:3: duplicate field `name`"),
        (
            "kind: ServerGroup\nname: x\nserver: []",
            "f.yaml:5: server: unknown field \"server\": kind, name, description, labels, servers are allowed",
        ),
        (
            "kind: ServerGroup\nname: x\nservers:\n  - {name: a, address: 10.0.0.1}\n  - name: b\n    wieght: 1",
            "f.yaml:8: servers[1].wieght: unknown field `wieght`, expected one of `name`, `address`, `port`, `weight`, `zone`, `admin_state`",
        ),
        (
            "kind: ServerGroup\nname: x\nservers:\n  - {name: a, address: 10.0.0.1}\n  - name: b\n    address: 10.0.0.2\n    weight: 101",
            "f.yaml:9: servers[1].weight: 101 is out of range: 0-100 allowed",
        ),
        (
            "kind: LoadBalancer\nname: x\naddresses:\n  - 10.0.0.1\n  - 127.0.0.1",
            "f.yaml:7: addresses[1]: 127.0.0.1 is a loopback address: the unicast address of a host is needed",
        ),
        (
            "kind: BackendService\nname: x\nprotocol: tcp\nport: 1\nconnection_draining: 4000s",
            "f.yaml:7: connection_draining: 4000s is out of range: 0s-3600s allowed",
        ),
        (
            "kind: BackendService\nname: x\nprotocol: tcp\nport: 1\nhealth_check:\n  path: healthz",
            "f.yaml:8: health_check.path: \"healthz\" is no path: '/' and what follows it, at most 1000 printable ASCII characters, no spaces and no '#'",
        ),
        (
            "kind: BackendService\nname: x\nprotocol: tcp\nport: 1\nscheduler: random",
            "f.yaml:7: scheduler: unknown variant `random`, expected one of `weighted_round_robin`, `weighted_least_connections`, `source_ip`, `flow_hash`",
        ),
        (
            "kind: BackendService\nname: x\nprotocol: tcp\nport: 1\nsession_persistence:\n  timeout: 86401s",
            "f.yaml:8: session_persistence.timeout: 86401s is out of range: 1s-86400s allowed",
        ),
        (
            "kind: BackendService\nname: x\nprotocol: tcp\nport: 1\nslow_start: 1500ms",
            "f.yaml:7: slow_start: 1500ms is too fine: whole seconds allowed",
        ),
        (
            "kind: BackendService\nname: x\nprotocol: tcp\nport: 1\nconnection_tracking: some",
            "f.yaml:7: connection_tracking: unknown variant `some`, expected one of `full`, `transition`, `none`",
        ),
        ("kind: BackendService\nname: x\nprotocol: tcp", "f.yaml:3: missing field `port`"),
        (
            "kind: BackendService\nname: x\nport: 0\nprotocol: tcp",
            "f.yaml:5: port: 0 is out of range: 1-65535 allowed",
        ),
        (
            "kind: BackendService\nname: x\nport: 1\nprotocol: sctp",
            "f.yaml:6: protocol: unknown variant `sctp`, expected `tcp` or `udp`",
        ),
        (
            "kind: ServerGroup\nname: x\nlabels: {a: [1]}",
            "f.yaml:5: labels.a: invalid type: sequence, expected text",
        ),
        (
            "kind: SecurityGroup\nname: x\nrules:\n  - action: allow\n    cidrs: [10.0.0.0/8, 10.0.0.5/24]",
            "f.yaml:7: rules[0].cidrs[1]: 10.0.0.5/24 has bits of a host behind its prefix: 10.0.0.0/24 allowed, or the address alone",
        ),
        (
            "kind: SecurityGroup\nname: x\nrules:\n  - {action: allow}\n  - direction: egress\n    action: allow",
            "f.yaml:7: rules[1].direction: egress is not supported, because the security groups of a load balancer filter what clients send to it: ingress allowed",
        ),
        (
            "kind: SecurityGroup\nname: x\nrules:\n  - action: allow\n    ports: 90-80",
            "f.yaml:7: rules[0].ports: 90-80 ends before it begins",
        ),
        (
            "kind: SecurityGroup\nname: x\nrules: [{protocol: tcp}]",
            "f.yaml:5: rules[0]: missing field `action`",
        ),
        (
            "kind: SecurityGroup\nname: x\nrules: [{action: allow, protocol: icmp, ports: 80}]",
            "f.yaml:5: rules[0]: ports: a port is not supported, because protocol: icmp has none: no ports, or protocol: tcp, udp or any allowed",
        ),
        (
            "kind: LoadBalancer\nname: x\naddresses: [10.0.0.1]\nsecurity_groups: [Office]",
            "f.yaml:6: security_groups[0]: \"Office\" is no name: 1-63 lower-case letters, digits and '-', starting and ending with a letter or digit",
        ),
        ("- a", "f.yaml:3: invalid type: sequence, expected a mapping of fields"),
    ] {
        let error = parse("f.yaml", &format!("# one\n---\n{yaml}\n")).expect_err(yaml);
        assert_eq!(error.to_string(), expected, "{yaml}");
    }
}

#[test]
fn broken_yaml_names_the_line() {
    let error = parse("f.yaml", "kind: ServerGroup\nname: x\n---\nname: [a\n").expect_err("an open bracket");
    assert_eq!(error.file, "f.yaml");
    assert!(error.line.is_some_and(|line| line >= 4), "{error}");
}

#[test]
fn an_error_in_a_later_document_names_its_line_in_the_file() {
    let yaml = SHOP.replace("port: 80\n", "port: 80000\n");
    let error = parse("shop.yaml", &yaml).expect_err("out of range").to_string();
    assert_eq!(error, "shop.yaml:37: port: 80000 is out of range: 1-65535 allowed");
}

#[test]
fn the_fields_of_the_flow_engine_are_read() {
    use crate::model::{
        ConnectionTracking, Forwarding, LoadBalancerType, Scheduler, SessionPersistence, UnknownFlow,
    };

    let yaml = "{kind: LoadBalancer, name: d, type: dnlb, addresses: [10.0.0.10]}\n---\n\
        {kind: BackendService, name: x, protocol: udp, port: 53, scheduler: flow_hash, slow_start: 30, \
        session_persistence: {enabled: true, timeout: 60s}, forwarding: ipip, connection_tracking: transition, \
        unknown_flow: balance}";
    let manifests = parse("f", yaml).expect("legal; whether it goes together is the model's to say");
    let AnyDraft::LoadBalancer(balancer) = &manifests[0].draft else { panic!("a balancer") };
    assert_eq!(balancer.spec.kind, LoadBalancerType::Dnlb);
    let AnyDraft::BackendService(service) = &manifests[1].draft else { panic!("a service") };
    let timeout = "60s".parse().expect("legal");
    assert_eq!(service.spec.session_persistence, SessionPersistence { enabled: true, timeout });
    assert_eq!(service.spec.slow_start.to_string(), "30s");
    assert_eq!(service.spec.scheduler, Some(Scheduler::FlowHash));
    assert_eq!(service.spec.forwarding, Forwarding::Ipip);
    assert_eq!(service.spec.connection_tracking, Some(ConnectionTracking::Transition));
    assert_eq!(service.spec.unknown_flow, Some(UnknownFlow::Balance));
}
