use nlb_proto::v1::{self as pb, AdminState, ListBackendsRequest};
use serde::Serialize;

use super::{
    agent::Agent,
    error::Error,
    manifest::{address_text, seconds_up, spelled},
    screen::{Column, Format, Screen},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How to write them.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A server as a backend service sees it, once for each listener of the service.
#[derive(Debug, Serialize)]
pub(super) struct Backend {
    listener: String,
    pub(super) backend_service: String,
    pub(super) group: String,
    pub(super) server: String,
    pub(super) address: String,
    pub(super) port: u32,
    weight: u32,
    admin_state: Option<String>,
    health: String,
    health_reason: String,
    pub(super) draining: bool,
    pub(super) drain_remaining_seconds: Option<u64>,
    pub(super) active_connections: u64,
    new_connections_total: u64,
    packets_total: u64,
    bytes_total: u64,
    removed: bool,
}

/// Shows the backends.
pub(super) async fn run(agent: &Agent, args: &Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let backends = list(agent).await?;
    match args.output {
        Format::Table | Format::Wide if backends.is_empty() => screen.line("no backends"),
        Format::Table | Format::Wide => screen
            .table(&backends.iter().map(Backend::columns).collect::<Vec<_>>(), args.output == Format::Wide),
        Format::Json => screen.json(&backends),
        Format::Yaml => screen.yaml(&backends),
    }
}

/// All backends.
pub(super) async fn list(agent: &Agent) -> Result<Vec<Backend>, Error> {
    let answer = agent.answer(agent.status().list_backends(ListBackendsRequest {})).await?;
    Ok(answer.backends.into_iter().map(Backend::from).collect())
}

impl Backend {
    /// The row of a table.
    pub(super) fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("LISTENER", &self.listener),
            Column::new("SERVICE", &self.backend_service),
            Column::new("SERVER", format!("{}/{}", self.group, self.server)),
            Column::new("ADDRESS", address_text(&self.address, self.port)),
            Column::new("WEIGHT", self.weight),
            Column::new("STATE", self.state()),
            Column::new("HEALTH", format!("{} {}", self.health, self.health_reason).trim_end()),
            Column::new("ACTIVE", self.active_connections),
            Column::new("NEW", self.new_connections_total),
            Column::wide("PACKETS", self.packets_total),
            Column::wide("BYTES", self.bytes_total),
        ]
    }

    /// "enabled", "draining 252s", "removed, draining 12s"
    fn state(&self) -> String {
        let draining = self.draining.then(|| match self.drain_remaining_seconds {
            Some(seconds) => format!("draining {seconds}s"),
            None => "draining".to_owned(),
        });
        let state = if self.removed { Some("removed") } else { self.admin_state.as_deref() };
        match (state, draining) {
            (Some("draining"), Some(draining)) | (None, Some(draining)) => draining,
            (Some(state), Some(draining)) => format!("{state}, {draining}"),
            (state, None) => state.unwrap_or_default().to_owned(),
        }
    }
}

impl From<pb::Backend> for Backend {
    fn from(wire: pb::Backend) -> Self {
        let pb::Backend {
            listener,
            backend_service,
            group,
            server,
            address,
            port,
            weight,
            admin_state,
            health,
            health_reason,
            draining,
            drain_remaining,
            active_connections,
            new_connections_total,
            packets_total,
            bytes_total,
            removed,
        } = wire;
        Self {
            listener,
            backend_service,
            group,
            server,
            address,
            port,
            weight,
            admin_state: spelled(admin_state, AdminState::as_str_name),
            health,
            health_reason,
            draining,
            drain_remaining_seconds: drain_remaining.map(seconds_up),
            active_connections,
            new_connections_total,
            packets_total,
            bytes_total,
            removed,
        }
    }
}
