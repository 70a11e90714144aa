use super::*;
use crate::model::fixture::{NOW, draft, name, shop};

const LATER: Now = Now { unix_ms: 2000, ..NOW };

/// Rows: rule, operation, expected message. A refused operation leaves everything as it was.
#[test]
fn operations_that_break_a_rule_are_refused_and_change_nothing() {
    type Operation = fn(&mut State) -> Result<(), Rule>;
    let rows: &[(&str, Operation, &str)] = &[
        (
            "names are unique per kind",
            |s| s.create(draft::<LoadBalancer>("shop", "addresses: [10.0.0.11]"), LATER),
            "load balancer shop exists already",
        ),
        (
            "an update needs its resource",
            |s| s.update(draft::<ServerGroup>("none", "{}"), None, LATER).map(drop),
            "server group none does not exist",
        ),
        (
            "a deletion needs its resource",
            |s| s.delete::<Listener>(&name("none"), None, Referrers::Cascade).map(drop),
            "listener none does not exist",
        ),
        (
            "an update may insist on a revision",
            |s| s.update(draft::<ServerGroup>("servers", "{}"), Some(2), LATER).map(drop),
            "server group servers is at revision 1, not 2: somebody changed it; read it again",
        ),
        (
            "a deletion may insist on a revision",
            |s| s.delete::<Listener>(&name("http"), Some(7), Referrers::Refuse).map(drop),
            "listener http is at revision 1, not 7: somebody changed it; read it again",
        ),
        (
            "a listener's balancer is immutable",
            |s| {
                s.upsert(
                    draft::<Listener>(
                        "http",
                        "{load_balancer: x, protocol: tcp, port: 80, backend_service: web}",
                    ),
                    LATER,
                )
                .map(drop)
            },
            "listener http: load_balancer cannot be changed from shop to x: create another listener instead",
        ),
        (
            "a listener's protocol is immutable",
            |s| {
                s.upsert(
                    draft::<Listener>(
                        "http",
                        "{load_balancer: shop, protocol: udp, port: 80, backend_service: web}",
                    ),
                    LATER,
                )
                .map(drop)
            },
            "listener http: protocol cannot be changed from tcp to udp: create another listener instead",
        ),
        (
            "a listener's port is immutable",
            |s| {
                s.upsert(
                    draft::<Listener>(
                        "http",
                        "{load_balancer: shop, protocol: tcp, port: 81, backend_service: web}",
                    ),
                    LATER,
                )
                .map(drop)
            },
            "listener http: port cannot be changed from 80 to 81: create another listener instead",
        ),
        (
            "a backend service's protocol is immutable",
            |s| s.upsert(draft::<BackendService>("web", "{protocol: udp, port: 8080}"), LATER).map(drop),
            "backend service web: protocol cannot be changed from tcp to udp: create another backend service instead",
        ),
        (
            "a backend service's port is immutable",
            |s| s.upsert(draft::<BackendService>("web", "{protocol: tcp, port: 81}"), LATER).map(drop),
            "backend service web: port cannot be changed from 8080 to 81: create another backend service instead",
        ),
        (
            "a backend service's forwarding is immutable",
            |s| {
                s.upsert(
                    draft::<BackendService>("web", "{protocol: tcp, port: 8080, forwarding: ipip}"),
                    LATER,
                )
                .map(drop)
            },
            "backend service web: forwarding cannot be changed from nat to ipip: create another backend service instead",
        ),
        (
            "a load balancer's type is immutable",
            |s| {
                s.upsert(draft::<LoadBalancer>("shop", "{type: dnlb, addresses: [10.0.0.10]}"), LATER)
                    .map(drop)
            },
            "load balancer shop: type cannot be changed from nlb to dnlb: create another load balancer instead",
        ),
        (
            "a group in use stays",
            |s| s.delete::<ServerGroup>(&name("servers"), None, Referrers::Refuse).map(drop),
            "server group servers is in use by backend service web: delete that first, or cascade",
        ),
        (
            "a backend service in use stays",
            |s| s.delete::<BackendService>(&name("web"), None, Referrers::Refuse).map(drop),
            "backend service web is in use by listener http: delete that first, or cascade",
        ),
        (
            "a load balancer in use stays",
            |s| s.delete::<LoadBalancer>(&name("shop"), None, Referrers::Refuse).map(drop),
            "load balancer shop is in use by listener http: delete that first, or cascade",
        ),
        (
            "a security group in use stays",
            |s| {
                s.upsert(draft::<SecurityGroup>("office", "{}"), LATER).expect("legal");
                let guarded = "{addresses: [10.0.0.10, '2001:db8::10'], security_groups: [office]}";
                s.upsert(draft::<LoadBalancer>("shop", guarded), LATER).expect("legal");
                let refused = s.delete::<SecurityGroup>(&name("office"), None, Referrers::Refuse).map(drop);
                *s = shop();
                refused
            },
            "security group office is in use by load balancer shop: delete that first, or cascade",
        ),
    ];
    for (rule, operation, expected) in rows {
        let mut state = shop();
        let error = operation(&mut state).expect_err(rule);
        assert_eq!(error.to_string(), *expected, "{rule}");
        assert_eq!(state, shop(), "{rule}");
    }
}

#[test]
fn delete_protection_wins_over_cascade() {
    let mut state = shop();
    state.load_balancers.get_mut(&name("shop")).expect("exists").spec.delete_protection = true;
    let before = state.clone();
    for referrers in [Referrers::Refuse, Referrers::Cascade] {
        let error = state.delete::<LoadBalancer>(&name("shop"), None, referrers).expect_err("protected");
        assert_eq!(error.to_string(), "load balancer shop: delete_protection is on: switch it off first");
        assert_eq!(state, before);
    }
}

#[test]
fn delete_protection_wins_over_the_cascade_of_a_security_group() {
    let mut state = shop();
    state.upsert(draft::<SecurityGroup>("office", "{}"), LATER).expect("legal");
    let shop = &mut state.load_balancers.get_mut(&name("shop")).expect("exists").spec;
    (shop.delete_protection, shop.security_groups) = (true, vec![name("office")]);
    let before = state.clone();
    let error =
        state.delete::<SecurityGroup>(&name("office"), None, Referrers::Cascade).expect_err("protected");
    assert_eq!(error.to_string(), "load balancer shop: delete_protection is on: switch it off first");
    assert_eq!(state, before);
}

#[test]
fn a_cascade_deletes_referrers_first() {
    let mut state = shop();
    let deleted =
        state.delete::<ServerGroup>(&name("servers"), None, Referrers::Cascade).expect("unprotected");
    let shown: Vec<_> = deleted.iter().map(|(kind, name)| format!("{}/{name}", kind.slug())).collect();
    assert_eq!(shown, ["listener/http", "backend-service/web", "server-group/servers"]);
    assert_eq!(state.load_balancers.len(), 1, "what refers to nothing deleted stays");
    state.check().expect("no reference dangles");
}

#[test]
fn resources_are_deleted_in_the_reverse_order_of_creation() {
    let mut state = shop();
    let refuse = Referrers::Refuse;
    state.delete::<Listener>(&name("http"), Some(1), refuse).expect("nothing refers to a listener");
    state.delete::<BackendService>(&name("web"), None, refuse).expect("no listener left");
    state.delete::<ServerGroup>(&name("servers"), None, refuse).expect("no service left");
    state.delete::<LoadBalancer>(&name("shop"), None, refuse).expect("no listener left");
    assert_eq!(state, State::default());
}

#[test]
fn an_update_keeps_id_and_creation_and_counts_revisions() {
    let mut state = shop();
    let change = state.update(draft::<ServerGroup>("servers", "{}"), Some(1), LATER).expect("legal");
    assert_eq!(change, Change::Updated);
    let Meta { description: _, labels: _, id, created_at, updated_at, revision } =
        &state.server_groups[&name("servers")].meta;
    assert_eq!((id.as_str(), *created_at, *updated_at, *revision), ("id", 1000, 2000, 2));
}

#[test]
fn what_is_as_described_already_is_left_alone() {
    let mut state = shop();
    for draft in crate::model::fixture::shop_drafts() {
        assert_eq!(state.upsert_any(draft, LATER).expect("legal"), Change::Unchanged);
    }
    assert_eq!(state, shop());
}

#[test]
fn a_description_alone_is_a_change() {
    let mut state = shop();
    let mut group = draft::<ServerGroup>("servers", "{}");
    group.spec = state.server_groups[&name("servers")].spec.clone();
    group.description = "new".parse().expect("legal");
    assert_eq!(state.upsert(group, LATER).expect("legal"), Change::Updated);
}

#[test]
fn what_a_group_says_nothing_of_stays_as_the_operator_set_it() {
    use crate::model::AdminState;

    let server = |state: &State| state.server_groups[&name("pair")].spec.servers[0].admin_state;
    let described = "servers: [{name: a, address: 10.1.0.21}]";
    let mut state = shop();
    state.upsert(draft::<ServerGroup>("pair", described), NOW).unwrap();
    assert_eq!(server(&state), Some(AdminState::Enabled), "a new server is enabled");

    let drained = "servers: [{name: a, address: 10.1.0.21, admin_state: draining}]";
    state.upsert(draft::<ServerGroup>("pair", drained), NOW).unwrap();
    assert_eq!(state.upsert(draft::<ServerGroup>("pair", described), LATER), Ok(Change::Unchanged));
    assert_eq!(server(&state), Some(AdminState::Draining), "a manifest without a word on it changes nothing");
}
