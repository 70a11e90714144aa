use nlb_proto::v1::{self as pb, ListPersistenceRequest};
use serde::Serialize;

use super::{
    agent::Agent,
    error::Error,
    manifest::{address_text, seconds_up},
    screen::{Column, Format, Screen},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only the entries of this backend service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// How to write them.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Which server a client comes back to.
#[derive(Debug, Serialize)]
struct Entry {
    backend_service: String,
    vip: String,
    client: String,
    server_group: String,
    server: String,
    address: String,
    port: u32,
    connections: u32,
    remaining_seconds: u64,
}

/// Shows the persistence entries.
pub(super) async fn run(agent: &Agent, args: &Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let request = ListPersistenceRequest { backend_service: args.service.clone().unwrap_or_default() };
    let answer = agent.answer(agent.status().list_persistence(request)).await?;
    let entries: Vec<Entry> = answer.entries.into_iter().map(Entry::from).collect();
    match args.output {
        Format::Table | Format::Wide if entries.is_empty() => screen.line("no persistence entries"),
        Format::Table | Format::Wide => {
            screen.table(&entries.iter().map(Entry::columns).collect::<Vec<_>>(), args.output == Format::Wide)
        }
        Format::Json => screen.json(&entries),
        Format::Yaml => screen.yaml(&entries),
    }
}

impl Entry {
    /// The row of a table.
    fn columns(&self) -> Vec<Column> {
        // A server that is gone has no name any more: the client's next connection gets another one.
        let is_gone = self.server.is_empty();
        let server =
            if is_gone { "gone".to_owned() } else { format!("{}/{}", self.server_group, self.server) };
        let address = if is_gone { String::new() } else { address_text(&self.address, self.port) };
        vec![
            Column::new("SERVICE", &self.backend_service),
            Column::new("VIP", &self.vip),
            Column::new("CLIENT", &self.client),
            Column::new("SERVER", server),
            Column::wide("ADDRESS", address),
            Column::new("CONNECTIONS", self.connections),
            Column::new("REMAINING", format!("{}s", self.remaining_seconds)),
        ]
    }
}

impl From<pb::PersistenceEntry> for Entry {
    fn from(wire: pb::PersistenceEntry) -> Self {
        let pb::PersistenceEntry {
            backend_service,
            vip,
            client,
            server_group,
            server,
            address,
            port,
            connections,
            remaining,
        } = wire;
        Self {
            backend_service,
            vip,
            client,
            server_group,
            server,
            address,
            port,
            connections,
            remaining_seconds: remaining.map_or(0, seconds_up),
        }
    }
}
