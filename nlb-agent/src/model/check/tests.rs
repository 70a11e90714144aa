use crate::model::{
    BackendService, Listener, LoadBalancer, ServerGroup, State,
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
