use std::{path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use nlb_proto::v1::{
    backend_services_client::BackendServicesClient, listeners_client::ListenersClient,
    load_balancers_client::LoadBalancersClient, manifests_client::ManifestsClient,
    security_groups_client::SecurityGroupsClient, server_groups_client::ServerGroupsClient,
    status_client::StatusClient,
};
use tokio::net::UnixStream;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint, Uri},
};

use super::error::Error;

/// How long the agent may take for an answer; it waits itself until the datapath is written.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room for the answer about some hundred thousand backends.
const MAX_ANSWER: usize = 64 << 20;

/// The agent behind a unix socket.
pub(super) struct Agent {
    socket: PathBuf,
    channel: Channel,
}

impl Agent {
    /// The agent at `socket`, which is connected to with the first call.
    pub(super) fn at(socket: PathBuf) -> Self {
        let path = socket.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // gRPC wants an authority; behind a unix socket its value means nothing.
        let channel =
            Endpoint::from_static("http://localhost").timeout(PATIENCE).connect_with_connector_lazy(connect);
        Self { socket, channel }
    }

    /// Waits for the answer to a call made with one of the clients below.
    ///
    /// # Errors
    /// No agent, no answer, or the agent's refusal.
    pub(super) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        let answer = call.await.map_err(|status| Error::from_status(&status, &self.socket, PATIENCE))?;
        Ok(answer.into_inner())
    }

    pub(super) fn load_balancers(&self) -> LoadBalancersClient<Channel> {
        LoadBalancersClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn listeners(&self) -> ListenersClient<Channel> {
        ListenersClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn backend_services(&self) -> BackendServicesClient<Channel> {
        BackendServicesClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn server_groups(&self) -> ServerGroupsClient<Channel> {
        ServerGroupsClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn security_groups(&self) -> SecurityGroupsClient<Channel> {
        SecurityGroupsClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn manifests(&self) -> ManifestsClient<Channel> {
        ManifestsClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn status(&self) -> StatusClient<Channel> {
        StatusClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }
}
