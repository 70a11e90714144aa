//! One network namespace.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::process::Process;

/// Where `ip netns` keeps the names of namespaces.
pub(super) const DIRECTORY: &str = "/run/netns";

/// A network namespace that is deleted when this is dropped.
///
/// Nothing is run by `ip netns exec`: that gives its command a private /sys, where pinned eBPF objects would die
/// with it. Threads enter the namespace instead, and their children are born there.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn create(name: String) -> Result<Self> {
        ip(&["netns", "add", &name], "")?;
        let namespace = Self { name };
        namespace.configure("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as in `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn file(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Moves the calling thread into the namespace, for the rest of its life.
    ///
    /// # Errors
    /// The namespace is gone, or we are not root.
    pub fn enter(&self) -> Result<()> {
        let file = self.file();
        let handle = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        setns(handle, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", file.display()))
    }

    /// What `work` returns when it is done in the namespace.
    ///
    /// # Errors
    /// As [`Namespace::enter`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `command` here; what it prints is appended to `log`.
    ///
    /// # Errors
    /// As [`Namespace::enter`], or the program cannot be started, or the log cannot be written.
    pub fn spawn(&self, command: &mut Command, log: &Path) -> Result<Process> {
        self.run(|| Process::spawn(command, log))?
    }

    /// What `command` prints when it is run here.
    ///
    /// # Errors
    /// As [`Namespace::enter`], or the program cannot be started, or it fails; what it says is in the message.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        let output = self.run(|| command.output())?.with_context(|| format!("cannot start {command:?}"))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{command:?} in {}: {}: {}", self.name, output.status, stderr.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Carries out `ip` commands, one a line.
    ///
    /// # Errors
    /// One of them fails.
    pub fn configure(&self, commands: &str) -> Result<()> {
        ip(&["-netns", &self.name, "-batch", "-"], commands).with_context(|| format!("in {}", self.name))
    }

    /// Sets a kernel parameter below `/proc/sys/net`.
    ///
    /// # Errors
    /// There is no such parameter, or it does not take the value.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys/net").join(parameter);
        let written = self.run(|| fs::write(&file, value))?;
        written.with_context(|| format!("cannot write {value} to {} in {}", file.display(), self.name))
    }

    /// How many TCP segments were sent twice from here: 0 means that none was lost.
    ///
    /// # Errors
    /// As [`Namespace::enter`], or `/proc` does not tell.
    pub fn tcp_retransmissions(&self) -> Result<u64> {
        let table = self.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        retransmissions(&table).context("/proc/net/snmp has no RetransSegs")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A destructor has nobody to tell; what stays is found by the next world.
        let _ = ip(&["netns", "delete", &self.name], "");
    }
}

/// The table has a line of names and a line of values for each protocol.
fn retransmissions(table: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let column = names.split(' ').position(|name| name == "RetransSegs")?;
    values.split(' ').nth(column)?.parse().ok()
}

pub(super) fn ip(args: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ip")?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // ip stops reading at the first command that fails; its own words are the better error.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("cannot wait for ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::retransmissions;

    #[test]
    fn retransmissions_are_found_by_the_name_of_their_column() {
        let table = "Ip: A\nIp: 1\nTcp: InSegs OutSegs RetransSegs InErrs\nTcp: 5 6 7 8\nUdp: X\nUdp: 9\n";
        assert_eq!(retransmissions(table), Some(7));
        assert_eq!(retransmissions("Tcp: InSegs\nTcp: 5\n"), None);
    }
}
