use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use nlb_proto::v1::{
    backend_services_client::BackendServicesClient, listeners_client::ListenersClient,
    load_balancers_client::LoadBalancersClient, manifests_client::ManifestsClient,
    security_groups_client::SecurityGroupsClient, server_groups_client::ServerGroupsClient,
    status_client::StatusClient,
};
use prost_types::FieldMask;
use tempfile::TempDir;
use tokio::{net::UnixStream, sync::watch, task::JoinHandle};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};

use super::*;
use crate::{
    datapath::TableUse,
    health::{Health, Reason},
    model::{AdminState, Kind, Name, Rule, State, Weight, fixture},
    reconcile::{Applied, Handle, PersistenceError, Query},
    status::{
        BackendCounters, BackendStatus, EventCount, InterfaceStatus, PersistenceStatus, SnatStatus,
        VerdictCount,
    },
};

const SHOP: &str = "
kind: Listener
name: http
load_balancer: shop
protocol: tcp
port: 80
backend_service: web
---
kind: BackendService
name: web
protocol: tcp
port: 8080
server_groups: [servers]
---
kind: ServerGroup
name: servers
servers: [{name: a, address: 10.1.0.11}]
---
kind: LoadBalancer
name: shop
addresses: [10.0.0.10]
";

/// A served API with a reconciler that applies everything, or fails at everything.
struct World {
    store: Store,
    channel: Channel,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
    _dir: TempDir,
}

async fn world(failure: Option<&'static str>) -> World {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path()).expect("opens");
    let (handle, applied, mut queries) = Handle::fake();
    tokio::spawn(reconciler(store.subscribe(), applied, failure));
    tokio::spawn(async move {
        while let Some(answer) = queries.recv().await {
            match answer {
                Query::Status(answer) => drop(answer.send(status())),
                Query::Persistence(service, answer) => drop(answer.send(persistence(service))),
            }
        }
    });
    let path = dir.path().join("agent.sock");
    let listener = bind(&path).expect("free");
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(serve(listener, store.clone(), handle, shutdown.clone()));
    let connect = move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://agent");
    let channel = endpoint.connect_with_connector(tower::service_fn(connect)).await.expect("connects");
    World { store, channel, shutdown, served, _dir: dir }
}

async fn reconciler(
    mut desired: watch::Receiver<(u64, Arc<State>)>,
    applied: watch::Sender<Applied>,
    failure: Option<&'static str>,
) {
    while desired.changed().await.is_ok() {
        let revision = desired.borrow_and_update().0;
        applied.send_replace(match failure {
            None => Applied { revision, failure: None },
            Some(cause) => Applied { revision: 0, failure: Some((revision, cause.to_owned())) },
        });
    }
}

fn status() -> reconcile::Status {
    let key = fixture::shop().configured_backends().into_keys().next().expect("two");
    reconcile::Status {
        backends: vec![BackendStatus {
            listener: Some(fixture::name("http")),
            key,
            weight: Weight::default(),
            admin_state: AdminState::Draining,
            health: Health::Unhealthy(Reason::ConnectFailed),
            drain_remaining: Some(Duration::from_millis(1500)),
            removed: false,
            counters: BackendCounters { active_connections: 1, new_connections: 2, packets: 3, bytes: 4 },
        }],
        verdicts: vec![VerdictCount { name: "TX", meaning: "sent on", packets: 5 }],
        events: vec![EventCount { name: "CONN_EVICTED", meaning: "given away", count: 6 }],
        tables: vec![TableUse { name: "FLOWS_V4", capacity: 8, used: 7, bytes: 512 }],
        snats: vec![SnatStatus { address: "10.1.0.1".parse().expect("legal"), ports: 9, used: 3 }],
        fail_open: Vec::new(),
        interfaces: vec![InterfaceStatus { name: "eth0".to_owned(), xdp_mode: "driver" }],
    }
}

/// Entries of service `web`; there is no other.
fn persistence(service: Option<Name>) -> Result<Vec<PersistenceStatus>, PersistenceError> {
    let web = fixture::name("web");
    if let Some(name) = service.filter(|service| *service != web) {
        return Err(Rule::NotFound { kind: Kind::BackendService, name }.into());
    }
    let entry = PersistenceStatus {
        backend_service: web,
        vip: "10.0.0.10".parse().expect("an address"),
        client: "10.9.0.5".parse().expect("an address"),
        backend: fixture::shop().configured_backends().into_keys().next(),
        connections: 2,
        remaining: Duration::from_secs(1440),
    };
    Ok(vec![entry.clone(), PersistenceStatus { backend: None, connections: 0, ..entry }])
}

impl World {
    async fn apply(&self, yaml: &str) -> Result<Vec<wire::Change>, Status> {
        let manifests = vec![wire::Manifest { file: "shop.yaml".to_owned(), yaml: yaml.to_owned() }];
        let request = wire::ApplyRequest { resources: Vec::new(), manifests };
        ManifestsClient::new(self.channel.clone())
            .apply(request)
            .await
            .map(|response| response.into_inner().changes)
    }

    fn groups(&self) -> ServerGroupsClient<Channel> {
        ServerGroupsClient::new(self.channel.clone())
    }
}

fn group(name: &str) -> wire::ServerGroup {
    wire::ServerGroup { name: name.to_owned(), ..Default::default() }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("refused");
    (status.code(), status.message().to_owned())
}

fn get(name: &str) -> wire::GetRequest {
    wire::GetRequest { name: name.to_owned() }
}

fn delete(name: &str, cascade: bool) -> wire::DeleteRequest {
    wire::DeleteRequest { name: name.to_owned(), revision: 0, cascade }
}

#[tokio::test]
async fn manifests_are_applied_in_any_order_and_only_once() {
    let world = world(None).await;
    let actions = |changes: Vec<wire::Change>| changes.iter().map(|change| change.action).collect::<Vec<_>>();
    assert_eq!(actions(world.apply(SHOP).await.expect("legal")), [1, 1, 1, 1], "created");
    assert_eq!(actions(world.apply(SHOP).await.expect("legal")), [3, 3, 3, 3], "unchanged");
    let changed = SHOP.replace("10.1.0.11", "10.1.0.12");
    assert_eq!(actions(world.apply(&changed).await.expect("legal")), [3, 3, 2, 3], "one updated");
    assert_eq!(world.store.snapshot().0, 2);
}

#[tokio::test]
async fn a_wrong_manifest_changes_nothing_and_names_its_place() {
    let world = world(None).await;
    for (from, to, code, message) in [
        (
            "port: 80\n",
            "port: 0\n",
            Code::InvalidArgument,
            "shop.yaml:6: port: 0 is out of range: 1-65535 allowed",
        ),
        (
            "load_balancer: shop",
            "load_balancer: tea",
            Code::FailedPrecondition,
            "shop.yaml:2: listener http: load_balancer: load balancer tea does not exist",
        ),
        (
            "port: 8080\n",
            "port: 8080\nunknown_flow: balance\n",
            Code::InvalidArgument,
            "shop.yaml:9: backend service web: unknown_flow: balance does not go with forwarding: nat, which cannot pick up a connection in the middle: reset allowed",
        ),
        (
            "addresses: [10.0.0.10]",
            "addresses: [10.0.0.10]\ntype: dnlb",
            Code::FailedPrecondition,
            "shop.yaml:9: backend service web: forwarding: nat does not go with listener http of load balancer shop, which is of type dnlb: ipip, gue and dsr allowed",
        ),
        (
            "kind: LoadBalancer\nname: shop\naddresses: [10.0.0.10]",
            "kind: ServerGroup\nname: servers",
            Code::InvalidArgument,
            "shop.yaml:19: server group servers is described at shop.yaml:15 already",
        ),
    ] {
        assert_eq!(refused(world.apply(&SHOP.replace(from, to)).await), (code, message.to_owned()));
        assert_eq!(world.store.snapshot(), (0, Arc::default()));
    }
}

#[tokio::test]
async fn resources_and_manifests_share_a_transaction() {
    let world = world(None).await;
    let balancer = SHOP.rfind("---").expect("four documents");
    let message = wire::LoadBalancer {
        name: "shop".to_owned(),
        addresses: vec!["10.0.0.10".to_owned()],
        ..Default::default()
    };
    let resource = wire::Resource { resource: Some(wire::resource::Resource::LoadBalancer(message)) };
    let request = wire::ApplyRequest {
        resources: vec![resource],
        manifests: vec![wire::Manifest { file: "f".to_owned(), yaml: SHOP[..balancer].to_owned() }],
    };
    let mut client = ManifestsClient::new(world.channel.clone());
    let changes = client.apply(request).await.expect("legal").into_inner().changes;
    assert_eq!(changes.len(), 4);
    assert_eq!((changes[0].kind, changes[0].name.as_str()), (1, "shop"));
    let empty = wire::ApplyRequest { resources: vec![wire::Resource::default()], manifests: Vec::new() };
    assert_eq!(
        refused(client.apply(empty).await),
        (Code::InvalidArgument, "resources[0]: is missing".to_owned())
    );
}

#[tokio::test]
async fn a_resource_is_created_shown_updated_and_deleted() {
    let world = world(None).await;
    let mut groups = world.groups();
    let create = |server_group| wire::CreateServerGroupRequest { server_group };
    let created = groups.create_server_group(create(Some(group("g")))).await.expect("new").into_inner();
    assert_eq!((created.revision, created.id.len(), created.created_at), (1, 32, created.updated_at));
    assert_eq!(groups.get_server_group(get("g")).await.expect("exists").into_inner(), created);
    let listed =
        groups.list_server_groups(wire::ListRequest {}).await.expect("always").into_inner().server_groups;
    assert_eq!(listed, std::slice::from_ref(&created));

    let server = wire::Server { name: "a".to_owned(), address: "10.0.0.1".to_owned(), ..Default::default() };
    let update = wire::UpdateServerGroupRequest {
        server_group: Some(wire::ServerGroup {
            description: "ignored".to_owned(),
            servers: vec![server],
            ..group("g")
        }),
        update_mask: Some(FieldMask { paths: vec!["servers".to_owned()] }),
    };
    let updated = groups.update_server_group(update.clone()).await.expect("exists").into_inner();
    assert_eq!((updated.revision, updated.description.as_str(), updated.servers.len()), (2, "", 1));
    assert_eq!(updated.servers[0].weight, Some(10), "defaults are shown");

    let mut stale = update;
    stale.server_group.as_mut().expect("given").revision = 1;
    assert_eq!(refused(groups.update_server_group(stale).await).0, Code::Aborted);
    assert_eq!(refused(groups.create_server_group(create(Some(group("g")))).await).0, Code::AlreadyExists);
    assert_eq!(
        refused(groups.create_server_group(create(None)).await),
        (Code::InvalidArgument, "server_group: is missing".to_owned())
    );

    let deleted = groups.delete_server_group(delete("g", false)).await.expect("exists").into_inner().deleted;
    assert_eq!(deleted, ["server-group/g"]);
    assert_eq!(
        refused(groups.get_server_group(get("g")).await),
        (Code::NotFound, "server group g does not exist".to_owned())
    );
    assert_eq!(refused(groups.delete_server_group(delete("g", true)).await).0, Code::NotFound);
    assert_eq!(
        refused(groups.get_server_group(get("")).await),
        (Code::InvalidArgument, "name: is missing".to_owned())
    );
}

#[tokio::test]
async fn every_kind_is_served() {
    let world = world(None).await;
    world.apply(SHOP).await.expect("legal");
    let channel = || world.channel.clone();
    let all = wire::ListRequest {};
    let balancers =
        LoadBalancersClient::new(channel()).list_load_balancers(all).await.expect("always").into_inner();
    assert_eq!(balancers.load_balancers[0].addresses, ["10.0.0.10"]);
    let services =
        BackendServicesClient::new(channel()).list_backend_services(all).await.expect("always").into_inner();
    assert_eq!(services.backend_services[0].server_groups, ["servers"]);
    let mut client = ListenersClient::new(channel());
    let listeners = client.list_listeners(all).await.expect("always").into_inner();
    assert_eq!(listeners.listeners[0].port, 80);
    let update = wire::UpdateListenerRequest {
        listener: Some(wire::Listener { port: 81, ..listeners.listeners[0].clone() }),
        update_mask: None,
    };
    let (code, message) = refused(client.update_listener(update).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert_eq!(
        message,
        "listener http: port cannot be changed from 80 to 81: create another listener instead"
    );
}

#[tokio::test]
async fn deletion_is_refused_while_in_use_unless_it_cascades() {
    let world = world(None).await;
    world.apply(SHOP).await.expect("legal");
    assert_eq!(
        refused(world.groups().delete_server_group(delete("servers", false)).await),
        (
            Code::FailedPrecondition,
            "server group servers is in use by backend service web: delete that first, or cascade".to_owned()
        )
    );
    let deleted =
        world.groups().delete_server_group(delete("servers", true)).await.expect("unprotected").into_inner();
    assert_eq!(deleted.deleted, ["listener/http", "backend-service/web", "server-group/servers"]);
}

#[tokio::test]
async fn a_security_group_is_created_shown_updated_and_deleted_when_nobody_names_it() {
    let world = world(None).await;
    let mut groups = SecurityGroupsClient::new(world.channel.clone());
    let rule = |cidr: &str| wire::SecurityRule {
        action: wire::security_rule::Action::Allow.into(),
        ports: "80-90".to_owned(),
        cidrs: vec![cidr.to_owned()],
        ..Default::default()
    };
    let group = |cidr| wire::SecurityGroup {
        name: "office".to_owned(),
        rules: vec![rule(cidr)],
        ..Default::default()
    };
    let create = |cidr| wire::CreateSecurityGroupRequest { security_group: Some(group(cidr)) };
    let (code, message) = refused(groups.create_security_group(create("10.0.0.1/8")).await);
    assert_eq!(code, Code::InvalidArgument);
    assert_eq!(
        message,
        "rules[0].cidrs[0]: 10.0.0.1/8 has bits of a host behind its prefix: 10.0.0.0/8 allowed, or the address alone"
    );
    let created = groups.create_security_group(create("10.0.0.0/8")).await.expect("legal").into_inner();
    let shown = wire::SecurityRule { direction: 1, protocol: 1, ..rule("10.0.0.0/8") };
    assert_eq!(created.rules, [shown]);
    assert_eq!(groups.get_security_group(get("office")).await.expect("exists").into_inner(), created);
    let update = wire::UpdateSecurityGroupRequest {
        security_group: Some(group("10.9.0.0/16")),
        update_mask: Some(FieldMask { paths: vec!["rules".to_owned()] }),
    };
    let updated = groups.update_security_group(update).await.expect("legal").into_inner();
    assert_eq!((updated.revision, updated.rules[0].cidrs[0].as_str()), (2, "10.9.0.0/16"));
    let listed = groups.list_security_groups(wire::ListRequest {}).await.expect("always").into_inner();
    assert_eq!(listed.security_groups, [updated]);

    let guarded = SHOP.replace("[10.0.0.10]", "[10.0.0.10]\nsecurity_groups: [office]");
    world.apply(&guarded).await.expect("legal");
    assert_eq!(
        refused(groups.delete_security_group(delete("office", false)).await),
        (
            Code::FailedPrecondition,
            "security group office is in use by load balancer shop: delete that first, or cascade".to_owned()
        )
    );
    world.apply(SHOP).await.expect("legal");
    let deleted = groups.delete_security_group(delete("office", false)).await.expect("unused").into_inner();
    assert_eq!(deleted.deleted, ["security-group/office"]);
}

#[tokio::test]
async fn the_admin_state_of_one_server_is_set() {
    let world = world(None).await;
    world.apply(SHOP).await.expect("legal");
    let request = |server: &str, admin_state| wire::SetServerStateRequest {
        server_group: "servers".to_owned(),
        server: server.to_owned(),
        admin_state,
    };
    let mut groups = world.groups();
    let group = groups.set_server_state(request("a", 2)).await.expect("exists").into_inner();
    assert_eq!((group.servers[0].admin_state, group.revision), (2, 2));
    assert_eq!(
        refused(groups.set_server_state(request("b", 2)).await),
        (Code::NotFound, "server group servers: server b does not exist".to_owned())
    );
    assert_eq!(refused(groups.set_server_state(request("a", 0)).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn what_the_datapath_refuses_is_stored_and_said_to_be() {
    let world = world(Some("map is full")).await;
    let (code, message) = refused(world.apply(SHOP).await);
    assert_eq!(code, Code::Unavailable);
    assert_eq!(
        message,
        "revision 1 is stored, but the datapath could not be written yet: map is full; the agent keeps trying"
    );
    assert_eq!(world.store.snapshot().0, 1);
}

#[tokio::test]
async fn status_shows_what_the_reconciler_says() {
    let world = world(None).await;
    let mut client = StatusClient::new(world.channel.clone());
    let backends =
        client.list_backends(wire::ListBackendsRequest {}).await.expect("answers").into_inner().backends;
    let expected = wire::Backend {
        listener: "http".to_owned(),
        backend_service: "web".to_owned(),
        group: "servers".to_owned(),
        server: "a".to_owned(),
        address: "10.1.0.11".to_owned(),
        port: 8080,
        weight: 10,
        admin_state: 2,
        health: "unhealthy".to_owned(),
        health_reason: "CONNECT_FAILED".to_owned(),
        draining: true,
        drain_remaining: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
        active_connections: 1,
        new_connections_total: 2,
        packets_total: 3,
        bytes_total: 4,
        removed: false,
    };
    assert_eq!(backends, [expected]);
    let stats =
        client.get_datapath_stats(wire::GetDatapathStatsRequest {}).await.expect("answers").into_inner();
    assert_eq!((stats.verdicts[0].packets, stats.interfaces[0].xdp_mode.as_str()), (5, "driver"));
    assert_eq!((stats.events[0].name.as_str(), stats.events[0].count), ("CONN_EVICTED", 6));
    let table = wire::Memory { name: "FLOWS_V4".to_owned(), capacity: 8, used: 7, bytes: 512 };
    assert_eq!(stats.tables, [table]);
    let address = wire::SnatAddress { address: "10.1.0.1".to_owned(), ports: 9, used: 3 };
    assert_eq!(stats.snat_addresses, [address]);
}

#[tokio::test]
async fn persistence_is_shown_by_service() {
    let world = world(None).await;
    let mut client = StatusClient::new(world.channel.clone());
    let request = |service: &str| wire::ListPersistenceRequest { backend_service: service.to_owned() };
    let entries = client.list_persistence(request("web")).await.expect("answers").into_inner().entries;
    let expected = wire::PersistenceEntry {
        backend_service: "web".to_owned(),
        vip: "10.0.0.10".to_owned(),
        client: "10.9.0.5".to_owned(),
        server_group: "servers".to_owned(),
        server: "a".to_owned(),
        address: "10.1.0.11".to_owned(),
        port: 8080,
        connections: 2,
        remaining: Some(prost_types::Duration { seconds: 1440, nanos: 0 }),
    };
    assert_eq!(entries[0], expected);
    assert_eq!((entries[1].server.as_str(), entries[1].port), ("", 0), "a server that is gone");
    let all = client.list_persistence(request("")).await.expect("answers").into_inner().entries;
    assert_eq!(all, entries);
    assert_eq!(
        refused(client.list_persistence(request("tea")).await),
        (Code::NotFound, "backend service tea does not exist".to_owned())
    );
    let (code, message) = refused(client.list_persistence(request("T")).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("backend_service: \"T\" is no name"), "{message}");
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let world = world(None).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(world.channel.clone());
    for service in ["", "nlb.v1.LoadBalancers", "nlb.v1.Manifests", "nlb.v1.Status"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.expect(service).into_inner();
        assert_eq!(answer.status, 1, "{service} serves");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(world.channel.clone());
    let mut answers =
        client.server_reflection_info(tokio_stream::once(request)).await.expect("answers").into_inner();
    let answer = answers.message().await.expect("no error").expect("one").message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["nlb.v1.LoadBalancers", "nlb.v1.Listeners", "nlb.v1.Status", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test]
async fn shutdown_ends_the_api() {
    let world = world(None).await;
    world.shutdown.cancel();
    let served = tokio::time::timeout(Duration::from_secs(10), world.served).await.expect("it ends");
    served.expect("no panic").expect("no error");
}
