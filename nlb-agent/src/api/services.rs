//! The services, each a thin dress over [`Desired`] or the reconciler's status.

use nlb_proto::v1::{
    self as wire, backend_services_server::BackendServices, listeners_server::Listeners,
    load_balancers_server::LoadBalancers, manifests_server::Manifests,
    security_groups_server::SecurityGroups, server_groups_server::ServerGroups,
    status_server::Status as StatusService,
};
use tonic::{Request, Response, Status};

use super::{
    apply::{self, AppliedChange},
    convert::{
        self, Invalid, WireEnum as _, any_draft,
        invalid::{optional, required},
    },
    desired::Desired,
    error::ApiError,
};
use crate::{
    config::manifest::{self, Manifest},
    model::{AdminState, Draft, Name, ServerGroup},
    reconcile,
};

type Answer<T> = Result<Response<T>, Status>;

/// Implements the service of a kind: the five methods that all kinds have, and `extra` ones.
macro_rules! crud_service {
    (
        $service:ident, $message:ident as $field:ident,
        $create:ident($create_request:ident), $get:ident,
        $list:ident -> $list_response:ident { $plural:ident },
        $update:ident($update_request:ident), $delete:ident
        $(, $extra:item)*
    ) => {
        #[tonic::async_trait]
        impl $service for Desired {
            async fn $create(&self, request: Request<wire::$create_request>) -> Answer<wire::$message> {
                let wire::$create_request { $field } = request.into_inner();
                Ok(Response::new(self.create($field, stringify!($field)).await?))
            }

            async fn $get(&self, request: Request<wire::GetRequest>) -> Answer<wire::$message> {
                Ok(Response::new(self.get(request.get_ref())?))
            }

            async fn $list(&self, _: Request<wire::ListRequest>) -> Answer<wire::$list_response> {
                Ok(Response::new(wire::$list_response { $plural: self.list() }))
            }

            async fn $update(&self, request: Request<wire::$update_request>) -> Answer<wire::$message> {
                let wire::$update_request { $field, update_mask } = request.into_inner();
                Ok(Response::new(self.update($field, update_mask, stringify!($field)).await?))
            }

            async fn $delete(&self, request: Request<wire::DeleteRequest>) -> Answer<wire::DeleteResponse> {
                Ok(Response::new(Desired::delete::<wire::$message>(self, request.into_inner()).await?))
            }

            $($extra)*
        }
    };
}

crud_service!(
    LoadBalancers, LoadBalancer as load_balancer,
    create_load_balancer(CreateLoadBalancerRequest), get_load_balancer,
    list_load_balancers -> ListLoadBalancersResponse { load_balancers },
    update_load_balancer(UpdateLoadBalancerRequest), delete_load_balancer
);

crud_service!(
    BackendServices, BackendService as backend_service,
    create_backend_service(CreateBackendServiceRequest), get_backend_service,
    list_backend_services -> ListBackendServicesResponse { backend_services },
    update_backend_service(UpdateBackendServiceRequest), delete_backend_service
);

crud_service!(
    Listeners, Listener as listener,
    create_listener(CreateListenerRequest), get_listener,
    list_listeners -> ListListenersResponse { listeners },
    update_listener(UpdateListenerRequest), delete_listener
);

crud_service!(
    SecurityGroups, SecurityGroup as security_group,
    create_security_group(CreateSecurityGroupRequest), get_security_group,
    list_security_groups -> ListSecurityGroupsResponse { security_groups },
    update_security_group(UpdateSecurityGroupRequest), delete_security_group
);

crud_service!(
    ServerGroups, ServerGroup as server_group,
    create_server_group(CreateServerGroupRequest), get_server_group,
    list_server_groups -> ListServerGroupsResponse { server_groups },
    update_server_group(UpdateServerGroupRequest), delete_server_group,
    async fn set_server_state(
        &self,
        request: Request<wire::SetServerStateRequest>,
    ) -> Answer<wire::ServerGroup> {
        Ok(Response::new(set_server_state(self, request.into_inner()).await?))
    }
);

async fn set_server_state(
    desired: &Desired,
    request: wire::SetServerStateRequest,
) -> Result<wire::ServerGroup, ApiError> {
    let wire::SetServerStateRequest { server_group, server, admin_state } = request;
    let group: Name = required("server_group", &server_group)?;
    let server: Name = required("server", &server)?;
    let admin_state: AdminState = convert::WireEnum::from_wire("admin_state", admin_state)?
        .ok_or_else(|| Invalid::Missing { field: "admin_state".to_owned() })?;
    desired
        .commit(move |state, now| {
            let stored = state.get::<ServerGroup>(&group)?;
            let mut spec = stored.spec.clone();
            let Some(found) = spec.servers.iter_mut().find(|candidate| candidate.name == server) else {
                return Err(ApiError::NoServer { group, server });
            };
            found.admin_state = Some(admin_state);
            let meta = &stored.meta;
            let (description, labels) = (meta.description.clone(), meta.labels.clone());
            state.update(Draft { name: group.clone(), description, labels, spec }, None, now)?;
            Ok(convert::Wire::from_stored(&group, state.get(&group)?))
        })
        .await
}

#[tonic::async_trait]
impl Manifests for Desired {
    async fn apply(&self, request: Request<wire::ApplyRequest>) -> Answer<wire::ApplyResponse> {
        let described = described(request.into_inner())?;
        let changes = self.write(move |store| Ok(apply::apply(store, described)?)).await?;
        let changes = changes.into_iter().map(|AppliedChange { kind, name, change }| wire::Change {
            kind: kind.to_wire(),
            name: name.into(),
            action: change.to_wire(),
        });
        Ok(Response::new(wire::ApplyResponse { changes: changes.collect() }))
    }
}

/// The resources of a request, those in manifests last.
fn described(request: wire::ApplyRequest) -> Result<Vec<Manifest>, ApiError> {
    let wire::ApplyRequest { resources, manifests } = request;
    let mut described = Vec::new();
    for (index, resource) in resources.into_iter().enumerate() {
        described
            .push(Manifest { origin: format!("resources[{index}]"), draft: any_draft(resource, index)? });
    }
    for (index, wire::Manifest { file, yaml }) in manifests.into_iter().enumerate() {
        let file = if file.is_empty() { format!("manifests[{index}]") } else { file };
        described.append(&mut manifest::parse(&file, &yaml)?);
    }
    Ok(described)
}

#[tonic::async_trait]
impl StatusService for reconcile::Handle {
    async fn list_backends(
        &self,
        _: Request<wire::ListBackendsRequest>,
    ) -> Answer<wire::ListBackendsResponse> {
        let status = self.status().await.ok_or(ApiError::ShuttingDown)?;
        let backends = status.backends.into_iter().map(convert::backend).collect();
        Ok(Response::new(wire::ListBackendsResponse { backends }))
    }

    async fn get_datapath_stats(
        &self,
        _: Request<wire::GetDatapathStatsRequest>,
    ) -> Answer<wire::DatapathStats> {
        let status = self.status().await.ok_or(ApiError::ShuttingDown)?;
        Ok(Response::new(wire::DatapathStats {
            verdicts: status.verdicts.iter().map(convert::verdict).collect(),
            interfaces: status.interfaces.into_iter().map(convert::interface).collect(),
            events: status.events.iter().map(convert::event).collect(),
            tables: status.tables.iter().map(convert::table).collect(),
            snat_addresses: status.snats.iter().map(convert::snat).collect(),
        }))
    }

    async fn list_persistence(
        &self,
        request: Request<wire::ListPersistenceRequest>,
    ) -> Answer<wire::ListPersistenceResponse> {
        let wire::ListPersistenceRequest { backend_service } = request.into_inner();
        let service = optional("backend_service", &backend_service).map_err(ApiError::from)?;
        let entries = self.persistence(service).await.map_err(ApiError::from)?;
        let entries = entries.into_iter().map(convert::persistence).collect();
        Ok(Response::new(wire::ListPersistenceResponse { entries }))
    }
}
