use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use nlb_proto::v1::{AdminState, SetServerStateRequest};

use super::{agent::Agent, backends, backends::Backend, error::Error, screen::Screen};

/// How often `--wait` looks.
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// No new connections; established ones go on until the draining time is over.
    Drain(Args),
    /// Back to traffic.
    Enable(Args),
    /// No new connections; established ones end at once.
    Disable(Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which server.
    #[arg(value_name = "GROUP/SERVER")]
    server: ServerName,
    /// Wait until no connection is left or the draining time is over (enable takes effect at once).
    #[arg(long)]
    wait: bool,
}

/// A server of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServerName {
    group: String,
    server: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("write it as GROUP/SERVER, for example shop-servers/a")]
struct InvalidServerName;

impl FromStr for ServerName {
    type Err = InvalidServerName;

    fn from_str(text: &str) -> Result<Self, InvalidServerName> {
        match text.split_once('/') {
            Some((group, server)) if !group.is_empty() && !server.is_empty() && !server.contains('/') => {
                Ok(Self { group: group.to_owned(), server: server.to_owned() })
            }
            _ => Err(InvalidServerName),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, server } = self;
        write!(f, "{group}/{server}")
    }
}

/// Sets a server's admin state.
pub(super) async fn run(agent: &Agent, command: Command, screen: &mut Screen<'_>) -> Result<(), Error> {
    let (admin_state, word, Args { server, wait }) = match command {
        Command::Drain(args) => (AdminState::Draining, "draining", args),
        Command::Enable(args) => (AdminState::Enabled, "enabled", args),
        Command::Disable(args) => (AdminState::Disabled, "disabled", args),
    };
    let request = SetServerStateRequest {
        server_group: server.group.clone(),
        server: server.server.clone(),
        admin_state: admin_state.into(),
    };
    agent.answer(agent.server_groups().set_server_state(request)).await?;
    screen.line(format!("{server} {word}"))?;
    if wait && admin_state != AdminState::Enabled {
        wait_until_left(agent, &server, screen).await
    } else {
        Ok(())
    }
}

/// Shows what is left until nothing is or the draining time is over.
async fn wait_until_left(agent: &Agent, server: &ServerName, screen: &mut Screen<'_>) -> Result<(), Error> {
    let mut shown = None;
    loop {
        let left = Left::of(server, &backends::list(agent).await?);
        if left.is_over() {
            if screen.is_terminal() && shown.is_some() {
                screen.replace_line("")?;
            }
            return screen.line(format!("{server} {}", left.verdict()));
        }
        if screen.is_terminal() {
            screen.replace_line(&format!("{server} {left}"))?;
        } else if shown != Some(left.connections) {
            screen.line(format!("{server} {left}"))?;
        }
        shown = Some(left.connections);
        tokio::time::sleep(POLL).await;
    }
}

/// What stands between a server and rest.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    connections: u64,
    /// The longest time to go; `None` when nothing drains.
    seconds: Option<u64>,
}

impl Left {
    fn of(name: &ServerName, backends: &[Backend]) -> Self {
        // A backend is listed once for each listener of its service; its connections count once.
        let own: BTreeMap<_, _> = backends
            .iter()
            .filter(|backend| backend.group == name.group && backend.server == name.server)
            .map(|backend| ((&backend.backend_service, &backend.address, backend.port), backend))
            .collect();
        let draining = own.values().filter(|backend| backend.draining && backend.active_connections > 0);
        Self {
            connections: own.values().map(|backend| backend.active_connections).sum(),
            seconds: draining.map(|backend| backend.drain_remaining_seconds.unwrap_or(0)).max(),
        }
    }

    fn is_over(&self) -> bool {
        self.connections == 0 || self.seconds.unwrap_or(0) == 0
    }

    fn verdict(&self) -> String {
        match self.connections {
            0 => "has no connections left".to_owned(),
            left => format!("has no time left: {left} connections end now"),
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, seconds } = self;
        write!(f, "connections left: {connections}, time to go: {} s", seconds.unwrap_or(0))
    }
}
