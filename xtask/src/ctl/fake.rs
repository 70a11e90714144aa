//! An agent for tests: it keeps what it is asked and answers what it is told to.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use nlb_proto::v1::{self as pb, change::Action, resource};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, async_trait, transport::Server};

/// What the fake agent holds; shared with the test.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// The requests it received, in the order of their arrival.
    pub(super) requests: Vec<String>,
    /// The manifests it received.
    pub(super) manifests: Vec<pb::Manifest>,
    /// The resources it has.
    pub(super) resources: Vec<resource::Resource>,
    /// The answers to `ListBackends`; the last one is given again and again.
    pub(super) backends: VecDeque<Vec<pb::Backend>>,
    /// The answer to `ListPersistence`.
    pub(super) persistence: Vec<pb::PersistenceEntry>,
    /// The answer to `GetDatapathStats`.
    pub(super) stats: pb::DatapathStats,
    /// What it refuses every write with.
    pub(super) refusal: Option<Status>,
}

/// A running fake agent; it ends with the test's runtime.
pub(super) struct FakeAgent {
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl FakeAgent {
    /// Serves `script` on a socket of its own.
    pub(super) fn start(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let script = Arc::new(Mutex::new(script));
        let service = Service { script: script.clone() };
        tokio::spawn(
            Server::builder()
                .add_service(pb::load_balancers_server::LoadBalancersServer::new(service.clone()))
                .add_service(pb::listeners_server::ListenersServer::new(service.clone()))
                .add_service(pb::backend_services_server::BackendServicesServer::new(service.clone()))
                .add_service(pb::server_groups_server::ServerGroupsServer::new(service.clone()))
                .add_service(pb::security_groups_server::SecurityGroupsServer::new(service.clone()))
                .add_service(pb::manifests_server::ManifestsServer::new(service.clone()))
                .add_service(pb::status_server::StatusServer::new(service))
                .serve_with_incoming(UnixListenerStream::new(listener)),
        );
        Self { script, socket, _directory: directory }
    }

    /// The requests received so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.script.lock().unwrap().requests.clone()
    }
}

#[derive(Clone)]
struct Service {
    script: Arc<Mutex<Script>>,
}

impl Service {
    fn write<T>(&self, request: String, answer: T) -> Result<Response<T>, Status> {
        let mut script = self.script.lock().unwrap();
        script.requests.push(request);
        script.refusal.clone().map_or(Ok(Response::new(answer)), Err)
    }

    fn delete(
        &self,
        kind: &str,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let pb::DeleteRequest { name, revision, cascade } = request.into_inner();
        let deleted = vec![format!("{kind}/{name}")];
        self.write(
            format!("delete {kind}/{name} revision={revision} cascade={cascade}"),
            pb::DeleteResponse { deleted },
        )
    }
}

/// One kind's service. It reads and deletes; creating and updating is done by `apply`.
macro_rules! kind {
    ($module:ident::$service:ident, $resource:ident, $word:literal,
     $create:ident($create_request:ident), $get:ident, $list:ident -> $listed:ident { $field:ident },
     $update:ident($update_request:ident), $delete:ident; $($more:tt)*) => {
        impl Service {
            fn $field(&self) -> Vec<pb::$resource> {
                let pick = |resource: &resource::Resource| match resource {
                    resource::Resource::$resource(own) => Some(own.clone()),
                    _ => None,
                };
                self.script.lock().unwrap().resources.iter().filter_map(pick).collect()
            }
        }

        #[async_trait]
        impl pb::$module::$service for Service {
            async fn $create(&self, _: Request<pb::$create_request>) -> Result<Response<pb::$resource>, Status> {
                Err(Status::unimplemented("the tool does not ask for this"))
            }

            async fn $get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::$resource>, Status> {
                let name = request.into_inner().name;
                let found = self.$field().into_iter().find(|resource| resource.name == name);
                found.map(Response::new).ok_or_else(|| Status::not_found(format!("there is no {} {name}", $word)))
            }

            async fn $list(&self, _: Request<pb::ListRequest>) -> Result<Response<pb::$listed>, Status> {
                Ok(Response::new(pb::$listed { $field: self.$field() }))
            }

            async fn $update(&self, _: Request<pb::$update_request>) -> Result<Response<pb::$resource>, Status> {
                Err(Status::unimplemented("the tool does not ask for this"))
            }

            async fn $delete(
                &self,
                request: Request<pb::DeleteRequest>,
            ) -> Result<Response<pb::DeleteResponse>, Status> {
                self.delete($word, request)
            }

            $($more)*
        }
    };
}

kind! {
    load_balancers_server::LoadBalancers, LoadBalancer, "load-balancer",
    create_load_balancer(CreateLoadBalancerRequest), get_load_balancer,
    list_load_balancers -> ListLoadBalancersResponse { load_balancers },
    update_load_balancer(UpdateLoadBalancerRequest), delete_load_balancer;
}

kind! {
    listeners_server::Listeners, Listener, "listener",
    create_listener(CreateListenerRequest), get_listener,
    list_listeners -> ListListenersResponse { listeners },
    update_listener(UpdateListenerRequest), delete_listener;
}

kind! {
    backend_services_server::BackendServices, BackendService, "backend-service",
    create_backend_service(CreateBackendServiceRequest), get_backend_service,
    list_backend_services -> ListBackendServicesResponse { backend_services },
    update_backend_service(UpdateBackendServiceRequest), delete_backend_service;
}

kind! {
    server_groups_server::ServerGroups, ServerGroup, "server-group",
    create_server_group(CreateServerGroupRequest), get_server_group,
    list_server_groups -> ListServerGroupsResponse { server_groups },
    update_server_group(UpdateServerGroupRequest), delete_server_group;

    async fn set_server_state(
        &self,
        request: Request<pb::SetServerStateRequest>,
    ) -> Result<Response<pb::ServerGroup>, Status> {
        let request = request.into_inner();
        let state = request.admin_state().as_str_name();
        let line = format!("set {}/{} {state}", request.server_group, request.server);
        self.write(line, pb::ServerGroup::default())
    }
}

kind! {
    security_groups_server::SecurityGroups, SecurityGroup, "security-group",
    create_security_group(CreateSecurityGroupRequest), get_security_group,
    list_security_groups -> ListSecurityGroupsResponse { security_groups },
    update_security_group(UpdateSecurityGroupRequest), delete_security_group;
}

#[async_trait]
impl pb::manifests_server::Manifests for Service {
    async fn apply(&self, request: Request<pb::ApplyRequest>) -> Result<Response<pb::ApplyResponse>, Status> {
        let manifests = request.into_inner().manifests;
        // As many changes as there are documents; each with an action of its own.
        let actions = [Action::Created, Action::Updated, Action::Unchanged];
        let documents =
            manifests.iter().flat_map(|manifest| manifest.yaml.split("---")).filter(|yaml| !yaml.is_empty());
        let changes = documents.zip(actions.iter().cycle()).map(|(_, action)| pb::Change {
            kind: pb::Kind::BackendService.into(),
            name: "shop".to_owned(),
            action: (*action).into(),
        });
        let answer = pb::ApplyResponse { changes: changes.collect() };
        self.script.lock().unwrap().manifests.clone_from(&manifests);
        self.write(format!("apply {}", manifests.len()), answer)
    }
}

#[async_trait]
impl pb::status_server::Status for Service {
    async fn list_backends(
        &self,
        _: Request<pb::ListBackendsRequest>,
    ) -> Result<Response<pb::ListBackendsResponse>, Status> {
        let mut script = self.script.lock().unwrap();
        let backends = match script.backends.len() {
            0 | 1 => script.backends.front().cloned(),
            _ => script.backends.pop_front(),
        };
        Ok(Response::new(pb::ListBackendsResponse { backends: backends.unwrap_or_default() }))
    }

    async fn get_datapath_stats(
        &self,
        _: Request<pb::GetDatapathStatsRequest>,
    ) -> Result<Response<pb::DatapathStats>, Status> {
        Ok(Response::new(self.script.lock().unwrap().stats.clone()))
    }

    async fn list_persistence(
        &self,
        request: Request<pb::ListPersistenceRequest>,
    ) -> Result<Response<pb::ListPersistenceResponse>, Status> {
        let pb::ListPersistenceRequest { backend_service } = request.into_inner();
        let mut script = self.script.lock().unwrap();
        script.requests.push(format!("persistence {backend_service:?}"));
        Ok(Response::new(pb::ListPersistenceResponse { entries: script.persistence.clone() }))
    }
}
