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
    world::{Namespace, Process, World},
};

/// Where the kernel's objects are pinned; each agent under test has a directory below.
pub const BPFFS: &str = "/sys/fs/bpf";

const PATIENCE: Duration = Duration::from_secs(20);

/// An agent with a configuration, a state directory, a socket and a bpffs directory of its own. When this is
/// dropped the agent is killed and what it pinned is removed.
#[derive(Debug)]
pub struct Agent<'w> {
    namespace: &'w Namespace,
    dir: PathBuf,
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
        Self::start_at(world, (&world.balancer, ""), manifest, further)
    }

    /// As [`Agent::start`], on the second balancer of a shared link.
    ///
    /// # Errors
    /// As [`Agent::start`], or there is none.
    pub fn start_standby(world: &'w World, manifest: &str) -> Result<Self> {
        let shared = world.shared.as_ref().context("this world has no second balancer")?;
        Self::start_at(world, (&shared.standby, "standby"), manifest, "")
    }

    /// At a place with a name.
    fn start_at(
        world: &'w World,
        (namespace, place): (&'w Namespace, &str),
        manifest: &str,
        further: &str,
    ) -> Result<Self> {
        let dir = world.dir().join(place);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let bpffs = Path::new(BPFFS).join(format!("{}{place}", world.name()));
        let write = |file: &str, text: &str| {
            let file = dir.join(file);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
        };
        write("shop.yaml", manifest)?;
        let manifests =
            if manifest.is_empty() { String::new() } else { format!("{}/shop.yaml", dir.display()) };
        write("agent.yaml", &(configuration(&dir, &world.interfaces(), &bpffs, &manifests) + further))?;
        let ctl = Ctl::new(dir.join("agent.sock"))?;
        let mut agent = Self { namespace, dir, ctl, bpffs, process: None };
        agent.restart()?;
        Ok(agent)
    }

    /// nlbctl, with this agent's socket.
    pub fn ctl(&self) -> &Ctl {
        &self.ctl
    }

    /// The command line that starts this agent, to be run in its balancer's namespace.
    ///
    /// # Errors
    /// The binary is not there.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary("nlb-agent")?);
        command.arg("--config").arg(self.dir.join("agent.yaml"));
        Ok(command)
    }

    /// Starts the agent again; the one that runs, if any, is killed first.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let log = self.dir.join("agent.log");
        let mut process = self.namespace.spawn(&mut self.command()?, &log)?;
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
        fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        self.kill();
        // Unpinning ends the links, and with them the datapath.
        let _ = fs::remove_dir_all(&self.bpffs);
    }
}

fn configuration(dir: &Path, interfaces: &[&str], bpffs: &Path, manifests: &str) -> String {
    let (dir, bpffs, interfaces) = (dir.display(), bpffs.display(), interfaces.join(", "));
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
