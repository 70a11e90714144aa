//! A small world for tests: balancer `shop`, group `servers`, service `web`, listener `http`.

use std::collections::BTreeMap;

use super::{
    AnyDraft, BackendService, Description, Draft, Listener, LoadBalancer, Name, Now, Resource, ServerGroup,
    State,
};

/// A moment whose ids are all alike.
pub(crate) const NOW: Now = Now { unix_ms: 1000, new_id: || "id".to_owned() };

/// A legal name.
pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a legal name")
}

/// A draft whose spec is YAML.
pub(crate) fn draft<R: Resource>(text: &str, spec: &str) -> Draft<R> {
    let spec = serde_yaml::from_str(spec).expect("a legal spec");
    Draft { name: name(text), description: Description::default(), labels: BTreeMap::new(), spec }
}

/// The drafts that make up the world, in the order of creation.
pub(crate) fn shop_drafts() -> Vec<AnyDraft> {
    vec![
        AnyDraft::LoadBalancer(draft::<LoadBalancer>("shop", "addresses: [10.0.0.10, '2001:db8::10']")),
        AnyDraft::ServerGroup(draft::<ServerGroup>(
            "servers",
            "servers: [{name: a, address: 10.1.0.11}, {name: b, address: 10.1.0.12, port: 9090, weight: 3}]",
        )),
        AnyDraft::BackendService(draft::<BackendService>(
            "web",
            "{protocol: tcp, port: 8080, server_groups: [servers]}",
        )),
        AnyDraft::Listener(draft::<Listener>(
            "http",
            "{load_balancer: shop, protocol: tcp, port: 80, backend_service: web}",
        )),
    ]
}

/// The world.
pub(crate) fn shop() -> State {
    let mut state = State::default();
    for draft in shop_drafts() {
        state.upsert_any(draft, NOW).expect("a new resource");
    }
    state.check().expect("the fixture keeps every rule");
    state
}
