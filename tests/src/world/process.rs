//! A program that runs in a world.

use std::{
    fs::{self, OpenOptions},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::wait;

/// How many lines of a log are shown when a test fails.
const TAIL: usize = 60;

/// A child process in its own process group, killed with its children when this is dropped. If that happens in a
/// panic, the end of its log is shown.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(super) fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().with_context(|| format!("cannot share {}", log.display()))?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id fits its own type"))
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal to the process and its children.
    ///
    /// # Errors
    /// They have ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        killpg(self.group(), signal).with_context(|| format!("cannot send {signal} to {}", self.group()))
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// It is still there after `patience`.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended() {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        let what = format!("the process of {} to end", self.log.display());
        wait::until(&what, patience, || self.ended())
    }

    /// Kills the process and its children without warning, and waits until they are gone.
    pub fn kill(&mut self) {
        // Both fail only where nothing is left to be killed.
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of what it has printed.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- {}\n{}\n---", self.log.display(), self.log_tail());
        }
    }
}
