//! The operator's tool, nlbctl, as a user calls it.

mod stats;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

pub use self::stats::Stats;
use crate::wait;

/// Overrides where the binaries under test are looked for.
const BINARIES_VARIABLE: &str = "NLB_BIN_DIR";

/// Where the binaries under test are: in the directory that `NLB_BIN_DIR` names, or in `release` of the target directory
/// that this very program was built into.
///
/// # Errors
/// This program lies in no target directory.
pub fn binaries() -> Result<PathBuf> {
    if let Some(directory) = env::var_os(BINARIES_VARIABLE) {
        return Ok(PathBuf::from(directory));
    }
    let own = env::current_exe().context("cannot tell where this program lies")?;
    let profiles = ["release", "debug"].map(|profile| Some(OsStr::new(profile)));
    let profile = own.ancestors().find(|directory| profiles.contains(&directory.file_name()));
    let target = profile.and_then(Path::parent);
    Ok(target.with_context(|| format!("{} lies in no target directory", own.display()))?.join("release"))
}

/// The binary `name` of [`binaries`].
///
/// # Errors
/// It is not there.
pub fn binary(name: &str) -> Result<PathBuf> {
    let file = binaries()?.join(name);
    if !file.is_file() {
        bail!("{} is not there: run `cargo xtask build`, or set {BINARIES_VARIABLE}", file.display());
    }
    Ok(file)
}

/// nlbctl, with the socket of one agent.
#[derive(Clone, Debug)]
pub struct Ctl {
    binary: PathBuf,
    socket: PathBuf,
}

/// A line of `nlbctl backends -o json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Backend {
    /// The listener's name.
    pub listener: String,
    /// The backend service's name.
    pub backend_service: String,
    /// The server group's name.
    pub group: String,
    /// The server's name.
    pub server: String,
    /// The server's address.
    pub address: String,
    /// The server's port.
    pub port: u16,
    /// As configured.
    pub weight: u32,
    /// "enabled", "draining", "disabled"
    pub admin_state: Option<String>,
    /// "healthy", "unhealthy", "unknown", "n/a"
    pub health: String,
    /// Why it is unhealthy.
    pub health_reason: String,
    /// Whether established connections run out their draining time.
    pub draining: bool,
    /// What is left of it.
    pub drain_remaining_seconds: Option<u64>,
    /// Half-open and established connections.
    pub active_connections: u64,
    /// Connections ever given to it.
    pub new_connections_total: u64,
    /// Of both directions.
    pub packets_total: u64,
    /// Of both directions.
    pub bytes_total: u64,
}

/// A line of `nlbctl persistence -o json`.
#[derive(Clone, Debug, Deserialize)]
pub struct PersistenceEntry {
    /// The backend service's name.
    pub backend_service: String,
    /// The VIP.
    pub vip: IpAddr,
    /// The client.
    pub client: IpAddr,
    /// The server's name; empty: it was removed.
    pub server: String,
    /// The client's open connections.
    pub connections: u32,
    /// How long the entry will live if none is open from now on.
    pub remaining_seconds: u64,
}

impl Ctl {
    /// nlbctl for the agent that listens at `socket`.
    ///
    /// # Errors
    /// The binary is not there.
    pub fn new(socket: PathBuf) -> Result<Self> {
        Ok(Self { binary: binary("nlbctl")?, socket })
    }

    /// Runs nlbctl, whatever comes of it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut child = Command::new(&self.binary)
            .arg("--socket")
            .arg(&self.socket)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A command that fails early does not read its input; its own words are the better error.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().context("cannot wait for nlbctl")
    }

    /// Runs nlbctl, which must succeed; returns what it prints.
    ///
    /// # Errors
    /// It fails; what it says is in the message.
    pub fn done(&self, args: &[&str], input: &str) -> Result<String> {
        let output = self.run(args, input)?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("nlbctl {}: {}: {}", args.join(" "), output.status, stderr.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// As [`Ctl::done`].
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.done(&["apply", "-f", "-"], manifest)
    }

    /// The servers as the datapath sees them.
    ///
    /// # Errors
    /// As [`Ctl::done`], or the output is not as expected.
    pub fn backends(&self) -> Result<Vec<Backend>> {
        let json = self.done(&["backends", "--output", "json"], "")?;
        serde_json::from_str(&json).with_context(|| format!("nlbctl backends printed {json}"))
    }

    /// Waits until `health` is what all backends of the server are in.
    ///
    /// # Errors
    /// That does not come about within `patience`; what the backends are in is in the message.
    pub fn await_health(&self, server: &str, health: &str, patience: Duration) -> Result<()> {
        self.await_backends(&format!("server {server} to be {health}"), patience, |backends| {
            let mut own = backends.iter().filter(|backend| backend.server == server).peekable();
            own.peek().is_some() && own.all(|backend| backend.health == health)
        })
    }

    /// Waits until all backends are healthy, of which there must be at least one.
    ///
    /// # Errors
    /// As [`Ctl::await_health`].
    pub fn await_healthy(&self, patience: Duration) -> Result<()> {
        self.await_backends("all servers to be healthy", patience, |backends| {
            !backends.is_empty() && backends.iter().all(|backend| backend.health == "healthy")
        })
    }

    /// Waits until the backends satisfy `condition`.
    ///
    /// # Errors
    /// As [`Ctl::await_health`].
    pub fn await_backends(
        &self,
        what: &str,
        patience: Duration,
        condition: impl Fn(&[Backend]) -> bool,
    ) -> Result<()> {
        let satisfied = || self.backends().is_ok_and(|backends| condition(&backends));
        wait::until(what, patience, || satisfied().then_some(()))
            .with_context(|| format!("the backends are {:#?}", self.backends()))
    }

    /// The counters and tables of the datapath.
    ///
    /// # Errors
    /// As [`Ctl::done`], or the output is not as expected.
    pub fn stats(&self) -> Result<Stats> {
        let json = self.done(&["stats", "--output", "json"], "")?;
        Stats::parse(&json).with_context(|| format!("nlbctl stats printed {json}"))
    }

    /// The packet counters of the datapath that are not 0, by the name of the verdict.
    ///
    /// # Errors
    /// As [`Ctl::stats`].
    pub fn verdicts(&self) -> Result<BTreeMap<String, u64>> {
        Ok(self.stats()?.verdicts.into_iter().filter(|(_, packets)| *packets > 0).collect())
    }

    /// Which server each client comes back to.
    ///
    /// # Errors
    /// As [`Ctl::done`], or the output is not as expected.
    pub fn persistence(&self) -> Result<Vec<PersistenceEntry>> {
        let json = self.done(&["persistence", "--output", "json"], "")?;
        serde_json::from_str(&json).with_context(|| format!("nlbctl persistence printed {json}"))
    }
}
