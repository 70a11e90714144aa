//! What the fake agent of the tests holds.

use std::collections::HashMap;

use nlb_proto::v1::{self as pb, resource::Resource};
use prost_types::{Duration, Timestamp};

pub(super) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

/// One resource of every kind.
pub(super) fn resources() -> Vec<Resource> {
    let at = Some(Timestamp { seconds: 1_700_000_000, nanos: 0 });
    vec![
        Resource::LoadBalancer(pb::LoadBalancer {
            name: "shop".to_owned(),
            labels: HashMap::from([
                ("team".to_owned(), "web".to_owned()),
                ("app".to_owned(), "shop".to_owned()),
            ]),
            id: "lb-1".to_owned(),
            created_at: at,
            updated_at: at,
            revision: 3,
            r#type: pb::load_balancer::Type::Nlb.into(),
            addresses: vec!["10.0.0.10".to_owned(), "2001:db8::10".to_owned()],
            enabled: Some(true),
            ..Default::default()
        }),
        Resource::ServerGroup(pb::ServerGroup {
            name: "shop-servers".to_owned(),
            id: "sg-1".to_owned(),
            revision: 1,
            servers: vec![
                pb::Server {
                    name: "a".to_owned(),
                    address: "10.1.0.11".to_owned(),
                    port: 0,
                    weight: Some(0),
                    admin_state: pb::AdminState::Draining.into(),
                    ..Default::default()
                },
                pb::Server {
                    name: "b".to_owned(),
                    address: "2001:db8::b".to_owned(),
                    port: 8080,
                    weight: Some(3),
                    zone: "z1".to_owned(),
                    admin_state: pb::AdminState::Enabled.into(),
                },
            ],
            ..Default::default()
        }),
        Resource::BackendService(pb::BackendService {
            name: "shop-web".to_owned(),
            description: "the shop: pages".to_owned(),
            id: "bs-1".to_owned(),
            revision: 2,
            protocol: pb::Protocol::Tcp.into(),
            port: 8080,
            scheduler: pb::Scheduler::WeightedRoundRobin.into(),
            forwarding: pb::Forwarding::Nat.into(),
            connection_draining: seconds(300),
            on_drain_expiry: pb::OnDrainExpiry::Silent.into(),
            health_check: Some(pb::HealthCheck {
                protocol: pb::health_check::Protocol::Http.into(),
                interval: seconds(1),
                timeout: Some(Duration { seconds: 1, nanos: 500_000_000 }),
                healthy_threshold: 2,
                unhealthy_threshold: 0,
                method: pb::health_check::Method::Get.into(),
                path: "/healthz".to_owned(),
                expected_codes: "2xx,3xx".to_owned(),
                enabled: Some(true),
                ..Default::default()
            }),
            on_all_unhealthy: pb::OnAllUnhealthy::FailOpen.into(),
            on_unhealthy: pb::OnUnhealthy::Keep.into(),
            unknown_flow: pb::UnknownFlow::Reset.into(),
            session_persistence: Some(pb::SessionPersistence { enabled: true, timeout: seconds(1440) }),
            slow_start: seconds(30),
            server_groups: vec!["shop-servers".to_owned()],
            ..Default::default()
        }),
        Resource::SecurityGroup(pb::SecurityGroup {
            name: "office".to_owned(),
            id: "sec-1".to_owned(),
            revision: 4,
            rules: vec![
                pb::SecurityRule {
                    direction: pb::security_rule::Direction::Ingress.into(),
                    action: pb::security_rule::Action::Deny.into(),
                    protocol: pb::security_rule::Protocol::Any.into(),
                    cidrs: vec!["10.9.0.0/16".to_owned(), "2001:db8::/32".to_owned()],
                    ..Default::default()
                },
                pb::SecurityRule {
                    direction: pb::security_rule::Direction::Ingress.into(),
                    action: pb::security_rule::Action::Allow.into(),
                    protocol: pb::security_rule::Protocol::Tcp.into(),
                    ports: "80".to_owned(),
                    ..Default::default()
                },
            ],
            ..Default::default()
        }),
        Resource::Listener(pb::Listener {
            name: "shop-http".to_owned(),
            id: "ls-1".to_owned(),
            revision: 1,
            load_balancer: "shop".to_owned(),
            protocol: pb::Protocol::Tcp.into(),
            port: 80,
            idle_timeout: seconds(1800),
            backend_service: "shop-web".to_owned(),
            enabled: Some(false),
            ..Default::default()
        }),
    ]
}

/// A row of `ListBackends`.
pub(super) fn backend(listener: &str, active: u64, drain_remaining: Option<Duration>) -> pb::Backend {
    pb::Backend {
        listener: listener.to_owned(),
        backend_service: "shop-web".to_owned(),
        group: "shop-servers".to_owned(),
        server: "a".to_owned(),
        address: "10.1.0.11".to_owned(),
        port: 8080,
        weight: 1,
        admin_state: pb::AdminState::Draining.into(),
        health: "unhealthy".to_owned(),
        health_reason: "CONNECT_FAILED".to_owned(),
        draining: drain_remaining.is_some(),
        drain_remaining,
        active_connections: active,
        new_connections_total: 7,
        packets_total: 100,
        bytes_total: 6400,
        removed: false,
    }
}
