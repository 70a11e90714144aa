use crate::model::{
    BackendService, Listener, LoadBalancer, SecurityGroup, ServerGroup, State,
    fixture::{NOW, draft, name, shop},
};

/// Rows: rule, what breaks it, expected message.
#[test]
fn every_rule_that_binds_resources_is_checked() {
    type Break = fn(&mut State);
    let rows: &[(&str, Break, &str)] = &[
        (
            "a balancer has a VIP",
            |s| put::<LoadBalancer>(s, "other", "addresses: []"),
            "load balancer other: addresses: at least one is needed",
        ),
        (
            "a VIP stands once in its balancer",
            |s| put::<LoadBalancer>(s, "other", "addresses: [10.0.0.11, 10.0.0.11]"),
            "load balancer other: addresses: 10.0.0.11 is listed twice",
        ),
        (
            "a VIP belongs to one balancer, however it is written",
            |s| put::<LoadBalancer>(s, "tea", "addresses: ['2001:DB8:0:0::10']"),
            "load balancer tea: addresses: 2001:db8::10 belongs to load balancer shop already",
        ),
        (
            "a balancer's security groups exist",
            |s| put::<LoadBalancer>(s, "tea", "{addresses: [10.0.0.11], security_groups: [office]}"),
            "load balancer tea: security_groups: security group office does not exist",
        ),
        (
            "a balancer names a security group once",
            |s| {
                put::<SecurityGroup>(s, "office", "{}");
                put::<LoadBalancer>(s, "tea", "{addresses: [10.0.0.11], security_groups: [office, office]}");
            },
            "load balancer tea: security_groups: office is listed twice",
        ),
        (
            "a security group has 1000 CIDRs at most",
            |s| {
                let cidrs = |first: u8| {
                    let cidrs =
                        (0..=250).map(|n| format!("10.{first}.{n}.0/24")).collect::<Vec<_>>().join(", ");
                    format!("{{action: allow, cidrs: [{cidrs}]}}")
                };
                let rules = [0, 1, 2, 3].map(cidrs).join(", ");
                put::<SecurityGroup>(s, "office", &format!("rules: [{rules}]"));
            },
            "security group office: rules: they have 1004 CIDRs in all: at most 1000 allowed",
        ),
        (
            "a security group has 1000 rules at most",
            |s| put::<SecurityGroup>(s, "office", &format!("rules: [{}]", "{action: deny}, ".repeat(1001))),
            "security group office: rules: there are 1001: at most 1000 allowed",
        ),
        (
            "a listener's balancer exists",
            |s| {
                put::<Listener>(
                    s,
                    "x",
                    "{load_balancer: none, protocol: tcp, port: 81, backend_service: web}",
                );
            },
            "listener x: load_balancer: load balancer none does not exist",
        ),
        (
            "a listener's backend service exists",
            |s| {
                put::<Listener>(
                    s,
                    "x",
                    "{load_balancer: shop, protocol: tcp, port: 81, backend_service: none}",
                );
            },
            "listener x: backend_service: backend service none does not exist",
        ),
        (
            "a listener speaks what its backend service speaks",
            |s| {
                put::<Listener>(
                    s,
                    "x",
                    "{load_balancer: shop, protocol: udp, port: 81, backend_service: web}",
                );
            },
            "listener x: protocol: udp does not fit backend service web, which is tcp",
        ),
        (
            "one listener per balancer, protocol and port",
            |s| {
                put::<Listener>(
                    s,
                    "x",
                    "{load_balancer: shop, protocol: tcp, port: 80, backend_service: web}",
                );
            },
            "listener x: port: tcp port 80 of load balancer shop belongs to listener http already",
        ),
        (
            "a backend service's groups exist",
            |s| put::<BackendService>(s, "x", "{protocol: tcp, port: 1, server_groups: [none]}"),
            "backend service x: server_groups: server group none does not exist",
        ),
        (
            "a group stands once in a backend service",
            |s| put::<BackendService>(s, "x", "{protocol: tcp, port: 1, server_groups: [servers, servers]}"),
            "backend service x: server_groups: servers is listed twice",
        ),
        (
            "the port of a listener is kept where ports are not translated",
            |s| {
                put::<BackendService>(s, "x", "{protocol: tcp, port: 8080, forwarding: ipip}");
                put::<Listener>(s, "x", &listener("shop", 81, "x"));
            },
            "listener x: port: 81 is not that of backend service x, whose forwarding: ipip leaves ports as they are: 8080 allowed",
        ),
        (
            "the port of a listener is kept where packets stay what they are",
            |s| {
                put::<BackendService>(s, "x", "{protocol: tcp, port: 8080, forwarding: dsr}");
                put::<Listener>(s, "x", &listener("shop", 81, "x"));
            },
            "listener x: port: 81 is not that of backend service x, whose forwarding: dsr leaves ports as they are: 8080 allowed",
        ),
        (
            "the port of a server is kept where ports are not translated",
            |s| {
                put::<BackendService>(
                    s,
                    "x",
                    "{protocol: tcp, port: 8080, forwarding: ipip, server_groups: [servers]}",
                );
            },
            "backend service x: server_groups: server servers/b has port 9090, but forwarding: ipip leaves ports as they are: 0 and 8080 allowed",
        ),
        (
            "a dnlb's listeners have no idle timeout",
            |s| {
                dnlb(s, "");
                let listener = listener("d", 80, "x").replace('}', ", idle_timeout: 60s}");
                put::<Listener>(s, "x", &listener);
            },
            "listener x: idle_timeout: 60s has no meaning, because load balancer d is of type dnlb, which remembers no flows: leave it out",
        ),
        (
            "a service is served by one product",
            |s| {
                dnlb(s, "");
                put::<LoadBalancer>(s, "n", "addresses: [10.0.0.12]");
                put::<Listener>(s, "n", &listener("n", 80, "x"));
            },
            "backend service x: listener n belongs to a load balancer of type nlb, listener x to one of type dnlb: only one type allowed; give one of them a backend service of its own",
        ),
        (
            "a dnlb does not translate",
            |s| {
                put::<LoadBalancer>(s, "d", "{type: dnlb, addresses: [10.0.0.11]}");
                put::<Listener>(s, "x", &listener("d", 80, "web"));
                s.listeners.remove(&name("http"));
            },
            "backend service web: forwarding: nat does not go with listener x of load balancer d, which is of type dnlb: ipip, gue and dsr allowed",
        ),
        (
            "a dnlb's scheduler is a hash",
            |s| dnlb(s, "scheduler: weighted_least_connections"),
            "backend service x: scheduler: weighted_least_connections does not go with listener x of load balancer d, which is of type dnlb: source_ip and flow_hash allowed",
        ),
        (
            "a dnlb tracks nothing",
            |s| dnlb(s, "connection_tracking: full"),
            "backend service x: connection_tracking: full does not go with listener x of load balancer d, which is of type dnlb: none allowed",
        ),
        (
            "a dnlb tracks nothing, not even for a while",
            |s| dnlb(s, "connection_tracking: transition, scheduler: flow_hash"),
            "backend service x: connection_tracking: transition does not go with listener x of load balancer d, which is of type dnlb: none allowed",
        ),
        (
            "a dnlb has no persistence",
            |s| dnlb(s, "session_persistence: {enabled: true}"),
            "backend service x: session_persistence.enabled: true does not go with listener x of load balancer d, which is of type dnlb: false allowed",
        ),
        (
            "a dnlb knows no flow, so it resets none",
            |s| dnlb(s, "unknown_flow: reset"),
            "backend service x: unknown_flow: reset does not go with listener x of load balancer d, which is of type dnlb: balance allowed",
        ),
        (
            "a dnlb has no slow start",
            |s| dnlb(s, "slow_start: 30s"),
            "backend service x: slow_start: 30s does not go with listener x of load balancer d, which is of type dnlb: 0s allowed",
        ),
        (
            "an nlb tracks something",
            |s| {
                put::<BackendService>(
                    s,
                    "x",
                    "{protocol: tcp, port: 81, forwarding: ipip, connection_tracking: none}",
                );
                put::<Listener>(s, "x", &listener("shop", 81, "x"));
            },
            "backend service x: connection_tracking: none does not go with listener x of load balancer shop, which is of type nlb: full and transition allowed",
        ),
        (
            "server names are unique in a group",
            |s| {
                put::<ServerGroup>(
                    s,
                    "g",
                    "servers: [{name: a, address: 10.1.0.1}, {name: a, address: 10.1.0.2}]",
                );
            },
            "server group g: servers: the name a is used twice",
        ),
        (
            "address and port stand once in a group",
            |s| {
                put::<ServerGroup>(
                    s,
                    "g",
                    "servers: [{name: a, address: 10.1.0.1, port: 1}, {name: b, address: 10.1.0.1, port: 1}]",
                );
            },
            "server group g: servers: a and b both have address 10.1.0.1 and port 1",
        ),
        (
            "address without a port stands once in a group",
            |s| {
                put::<ServerGroup>(
                    s,
                    "g",
                    "servers: [{name: a, address: 10.1.0.1}, {name: b, address: 10.1.0.1}]",
                );
            },
            "server group g: servers: a and b both have address 10.1.0.1 and no port",
        ),
        (
            "the port of the service counts for servers without one",
            |s| {
                put::<ServerGroup>(
                    s,
                    "g",
                    "servers: [{name: a, address: 10.1.0.1}, {name: b, address: 10.1.0.1, port: 5}]",
                );
                put::<BackendService>(s, "x", "{protocol: tcp, port: 5, server_groups: [g]}");
            },
            "backend service x: server_groups: servers g/a and g/b both are 10.1.0.1:5",
        ),
        (
            "address and port stand once behind a service, over all its groups",
            |s| {
                put::<ServerGroup>(s, "g", "servers: [{name: z, address: 10.1.0.12, port: 9090}]");
                put::<BackendService>(s, "x", "{protocol: tcp, port: 5, server_groups: [servers, g]}");
            },
            "backend service x: server_groups: servers servers/b and g/z both are 10.1.0.12:9090",
        ),
    ];
    for (rule, break_it, expected) in rows {
        let mut state = shop();
        break_it(&mut state);
        let error = state.check().expect_err(rule);
        assert_eq!(error.to_string(), *expected, "{rule}");
        assert!(expected.starts_with(&format!("{} {}", error.subject().0, error.subject().1)), "{rule}");
    }
}

/// Rows: fields of a backend service, expected message.
#[test]
fn fields_of_a_backend_service_go_together() {
    for (fields, expected) in [
        (
            "connection_tracking: none",
            "connection_tracking: none does not go with forwarding: nat, which finds the client of a reply by its flow: full allowed",
        ),
        (
            "connection_tracking: transition, scheduler: source_ip",
            "connection_tracking: transition does not go with forwarding: nat, which finds the client of a reply by its flow: full allowed",
        ),
        (
            "unknown_flow: balance",
            "unknown_flow: balance does not go with forwarding: nat, which cannot pick up a connection in the middle: reset allowed",
        ),
        (
            "forwarding: ipip, connection_tracking: transition",
            "scheduler: weighted_round_robin does not go with connection_tracking: transition, where a flow's server is found by a hash: source_ip and flow_hash allowed",
        ),
        (
            "forwarding: ipip, connection_tracking: none, scheduler: weighted_least_connections",
            "scheduler: weighted_least_connections does not go with connection_tracking: none, where a flow's server is found by a hash: source_ip and flow_hash allowed",
        ),
        (
            "forwarding: ipip, connection_tracking: transition, scheduler: flow_hash, session_persistence: {enabled: true}",
            "session_persistence.enabled: true does not go with connection_tracking: transition, which does not see a client's last connection end: false allowed",
        ),
        (
            "forwarding: ipip, connection_tracking: transition, scheduler: flow_hash, unknown_flow: reset",
            "unknown_flow: reset does not go with connection_tracking: transition, which cannot tell an unknown flow from a known one: balance allowed",
        ),
        (
            "forwarding: dnat, connection_tracking: transition, scheduler: source_ip",
            "connection_tracking: transition does not go with forwarding: dnat, which finds the client of a reply by its flow: full allowed",
        ),
        (
            "forwarding: dnat, unknown_flow: balance",
            "unknown_flow: balance does not go with forwarding: dnat, which cannot pick up a connection in the middle: reset allowed",
        ),
        (
            "forwarding: ipip, connection_tracking: none, scheduler: flow_hash, unknown_flow: reset",
            "unknown_flow: reset does not go with connection_tracking: none, which cannot tell an unknown flow from a known one: balance allowed",
        ),
        (
            "scheduler: source_ip, slow_start: 30s",
            "slow_start: 30s does not go with scheduler: source_ip, whose shares are those of the weights at all times: 0s allowed",
        ),
    ] {
        let mut state = shop();
        put::<BackendService>(&mut state, "x", &format!("{{protocol: tcp, port: 8080, {fields}}}"));
        let error = state.check().expect_err(fields);
        assert_eq!(error.to_string(), format!("backend service x: {expected}"), "{fields}");
    }
}

#[test]
fn what_goes_together_is_legal() {
    for fields in [
        "scheduler: weighted_least_connections, slow_start: 1h, session_persistence: {enabled: true, timeout: 1s}",
        "slow_start: 30s",
        "scheduler: flow_hash, session_persistence: {enabled: true}",
        "connection_tracking: full, unknown_flow: reset",
        "forwarding: ipip, unknown_flow: balance",
        "forwarding: dnat, unknown_flow: reset, connection_tracking: full, session_persistence: {enabled: true}",
        "forwarding: dnat, scheduler: source_ip",
        "forwarding: dsr, unknown_flow: balance, session_persistence: {enabled: true}",
        "forwarding: dsr, connection_tracking: transition, scheduler: source_ip",
        "forwarding: gue, connection_tracking: transition, scheduler: flow_hash",
        "forwarding: ipip, unknown_flow: reset, session_persistence: {enabled: true}",
        "forwarding: ipip, connection_tracking: transition, scheduler: source_ip",
        "forwarding: ipip, connection_tracking: transition, scheduler: source_ip, unknown_flow: balance",
        "forwarding: ipip, connection_tracking: none, session_persistence: {timeout: 60s}",
    ] {
        let mut state = shop();
        put::<BackendService>(&mut state, "x", &format!("{{protocol: tcp, port: 8080, {fields}}}"));
        state.check().expect(fields);
    }
    for fields in ["", "scheduler: flow_hash, connection_tracking: none, unknown_flow: balance"] {
        let mut state = shop();
        dnlb(&mut state, fields);
        put::<ServerGroup>(
            &mut state,
            "direct",
            "servers: [{name: a, address: 10.1.0.1}, {name: b, address: 10.1.0.2, port: 80}]",
        );
        let service = state.backend_services.get_mut(&name("x")).expect("put");
        service.spec.server_groups.push(name("direct"));
        state.check().expect(fields);
    }
}

#[test]
fn what_no_rule_forbids_is_legal() {
    let mut state = shop();
    put::<ServerGroup>(&mut state, "empty", "{}");
    put::<ServerGroup>(
        &mut state,
        "twice",
        "servers: [{name: a, address: 10.9.0.1, port: 1}, {name: b, address: 10.9.0.1, port: 2}]",
    );
    put::<BackendService>(
        &mut state,
        "dns",
        "{protocol: udp, port: 53, server_groups: [servers, twice, empty]}",
    );
    put::<BackendService>(&mut state, "idle", "{protocol: tcp, port: 53}");
    put::<Listener>(
        &mut state,
        "dns",
        "{load_balancer: shop, protocol: udp, port: 80, backend_service: dns}",
    );
    put::<LoadBalancer>(&mut state, "tea", "addresses: [10.0.0.11]");
    put::<Listener>(&mut state, "tea", "{load_balancer: tea, protocol: tcp, port: 80, backend_service: web}");
    state.check().expect("a service may serve many listeners, a group many services");
    assert!(state.backend_services.contains_key(&name("dns")));
}

fn put<R: crate::model::Resource>(state: &mut State, name: &str, spec: &str) {
    state.upsert(draft::<R>(name, spec), NOW).expect("nothing immutable is touched");
}

/// A dnlb `d`, and a service `x` with a listener of it.
fn dnlb(state: &mut State, fields: &str) {
    put::<LoadBalancer>(state, "d", "{type: dnlb, addresses: [10.0.0.11]}");
    put::<BackendService>(state, "x", &format!("{{protocol: tcp, port: 80, forwarding: ipip, {fields}}}"));
    put::<Listener>(state, "x", &listener("d", 80, "x"));
}

fn listener(load_balancer: &str, port: u16, service: &str) -> String {
    format!("{{load_balancer: {load_balancer}, protocol: tcp, port: {port}, backend_service: {service}}}")
}
