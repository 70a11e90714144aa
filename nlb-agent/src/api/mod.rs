//! The gRPC interface: shows and changes the desired state, and shows what the datapath does.
//!
//! A handler never touches the datapath. It commits to the store and waits for the reconciler.

mod apply;
mod convert;
mod desired;
mod error;
mod services;
mod socket;

use std::time::Duration;

use nlb_proto::v1::{
    self as wire, backend_services_server::BackendServicesServer, listeners_server::ListenersServer,
    load_balancers_server::LoadBalancersServer, manifests_server::ManifestsServer,
    security_groups_server::SecurityGroupsServer, server_groups_server::ServerGroupsServer,
    status_server::StatusServer,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use self::desired::Desired;
pub use self::{
    apply::{AppliedChange, ApplyError, apply},
    socket::{BindError, bind},
};
use crate::{reconcile, store::Store};

/// How long requests under way may take when the agent shuts down.
const GRACE: Duration = Duration::from_secs(5);

/// The API ended, and not because it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server failed.
    #[error("the API failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The description of the services is no such thing.
    #[error("the API cannot describe itself: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves the API, with reflection and health, until `shutdown`; requests under way are finished.
///
/// # Errors
/// The server failed.
pub async fn serve(
    listener: UnixListener,
    store: Store,
    reconciler: reconcile::Handle,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let desired = Desired { store, reconciler: reconciler.clone() };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<LoadBalancersServer<Desired>>().await;
    health.set_serving::<ServerGroupsServer<Desired>>().await;
    health.set_serving::<BackendServicesServer<Desired>>().await;
    health.set_serving::<ListenersServer<Desired>>().await;
    health.set_serving::<SecurityGroupsServer<Desired>>().await;
    health.set_serving::<ManifestsServer<Desired>>().await;
    health.set_serving::<StatusServer<reconcile::Handle>>().await;

    let serving = Server::builder()
        .add_service(LoadBalancersServer::new(desired.clone()))
        .add_service(ServerGroupsServer::new(desired.clone()))
        .add_service(BackendServicesServer::new(desired.clone()))
        .add_service(ListenersServer::new(desired.clone()))
        .add_service(SecurityGroupsServer::new(desired.clone()))
        .add_service(ManifestsServer::new(desired))
        .add_service(StatusServer::new(reconciler))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown.clone().cancelled_owned());
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => Ok(served?),
        // Somebody watches something that never ends, such as health.
        () = too_long => Ok(()),
    }
}

#[cfg(test)]
mod tests;
