//! nlb-agent in the balancer's namespace of a world.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    ctl::{Ctl, binary},
    wait,
    world::{Process, World},
};

/// Where the kernel's objects are pinned; each agent under test has a directory below.
pub const BPFFS: &str = "/sys/fs/bpf";

const PATIENCE: Duration = Duration::from_secs(20);

/// An agent with a configuration, a state directory, a socket and a bpffs directory of its own. When this is
/// dropped the agent is killed and what it pinned is removed.
#[derive(Debug)]
pub struct Agent<'w> {
    world: &'w World,
    ctl: Ctl,
    bpffs: PathBuf,
    process: Option<Process>,
}

impl<'w> Agent<'w> {
    /// Starts an agent that applies `manifest` whenever it starts, unless that is empty, and waits until it answers.
    ///
    /// # Errors
    /// The binaries are not built, or the agent does not come up.
    pub fn start(world: &'w World, manifest: &str) -> Result<Self> {
        Self::start_with(world, manifest, "")
    }

    /// As [`Agent::start`], with further lines of configuration.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_with(world: &'w World, manifest: &str, further: &str) -> Result<Self> {
        let dir = world.dir();
        let bpffs = Path::new(BPFFS).join(world.name());
        let write = |file: &str, text: &str| {
            let file = dir.join(file);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write("shop.yaml", manifest)?;
        let manifests =
            if manifest.is_empty() { String::new() } else { format!("{}/shop.yaml", dir.display()) };
        write("agent.yaml", &(configuration(world, &bpffs, &manifests) + further))?;
        let ctl = Ctl::new(dir.join("agent.sock"))?;
        let mut agent = Self { world, ctl, bpffs, process: None };
        agent.restart()?;
        Ok(agent)
    }

    /// nlbctl, with this agent's socket.
    pub fn ctl(&self) -> &Ctl {
        &self.ctl
    }

    /// The command line that starts this agent, to be run in the balancer's namespace.
    ///
    /// # Errors
    /// The binary is not there.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary("nlb-agent")?);
        command.arg("--config").arg(self.world.dir().join("agent.yaml"));
        Ok(command)
    }

    /// Starts the agent again; the one that runs, if any, is killed first.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let log = self.world.dir().join("agent.log");
        let mut process = self.world.balancer.spawn(&mut self.command()?, &log)?;
        let answers = wait::until("the agent to answer", PATIENCE, || {
            (process.ended().is_some() || self.ctl.backends().is_ok()).then_some(())
        });
        if let Some(status) = process.ended() {
            bail!("the agent ended at once: {status}:\n{}", process.log_tail());
        }
        answers.with_context(|| format!("its log:\n{}", process.log_tail()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills the agent without warning; what it pinned stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks the agent to end, and waits for it; what it pinned stays.
    ///
    /// # Errors
    /// It does not end, or not with status 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.stop(PATIENCE)?;
        if !status.success() {
            bail!("the agent ended with {status}:\n{}", process.log_tail());
        }
        Ok(())
    }

    /// What the agent has printed, in all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.world.dir().join("agent.log")).unwrap_or_default()
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        self.kill();
        // Unpinning ends the links, and with them the datapath.
        let _ = fs::remove_dir_all(&self.bpffs);
    }
}

fn configuration(world: &World, bpffs: &Path, manifests: &str) -> String {
    let (dir, bpffs, interfaces) = (world.dir().display(), bpffs.display(), world.interfaces().join(", "));
    format!(
        "\
interfaces: [{interfaces}]
xdp_mode: driver
state_dir: {dir}/state
bpffs: {bpffs}
manifests: [{manifests}]
api:
  unix: {dir}/agent.sock
http: 127.0.0.1:9464
"
    )
}
