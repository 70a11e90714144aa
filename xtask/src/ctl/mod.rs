//! The operator's tool: `nlbctl`, which is also `cargo xtask ctl`.
//!
//! One file per noun or verb. A command asks the agent through [`agent::Agent`] and shows the answer on a
//! [`screen::Screen`]; what both sides say about resources is the manifests' spelling ([`manifest`]).
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage. A failure is one sentence on standard error.

mod agent;
mod apply;
mod backends;
mod delete;
mod describe;
mod error;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fixture;
mod get;
mod kind;
mod manifest;
mod persistence;
mod screen;
mod server;
mod stats;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use self::{agent::Agent, error::Error, screen::Screen};

/// The command line of the operator's tool.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agent's unix socket.
    #[arg(
        long,
        value_name = "PATH",
        env = "NLB_SOCKET",
        default_value = "/run/nlb/agent.sock",
        global = true
    )]
    socket: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create or replace the resources of manifests, all of them or none.
    Apply(apply::Args),
    /// List resources, or show one.
    Get(get::Args),
    /// Show everything about one resource.
    Describe(describe::Args),
    /// Delete a resource.
    Delete(delete::Args),
    /// Show the servers as the datapath sees them: health, draining, counters.
    Backends(backends::Args),
    /// Show which server a client comes back to, and for how long yet.
    Persistence(persistence::Args),
    /// Take a server out of service and put it back.
    #[command(subcommand)]
    Server(server::Command),
    /// Show what became of the packets, how full the tables are, and where the datapath is attached.
    Stats(stats::Args),
}

/// Carries out a command and says how it went; not to be called from asynchronous code.
pub fn run(args: Args) -> ExitCode {
    let mut stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)
        .and_then(|runtime| runtime.block_on(execute(args, &mut Screen::new(&mut stdout, terminal))));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough, as in `nlbctl get listeners | head`.
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is nobody to tell; the exit status still does.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(args: Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let Args { socket, command } = args;
    let agent = Agent::at(socket);
    match command {
        Command::Apply(args) => apply::run(&agent, &args, screen).await,
        Command::Get(args) => get::run(&agent, &args, screen).await,
        Command::Describe(args) => describe::run(&agent, &args, screen).await,
        Command::Delete(args) => delete::run(&agent, args, screen).await,
        Command::Backends(args) => backends::run(&agent, &args, screen).await,
        Command::Persistence(args) => persistence::run(&agent, &args, screen).await,
        Command::Server(command) => server::run(&agent, command, screen).await,
        Command::Stats(args) => stats::run(&agent, &args, screen).await,
    }
}
