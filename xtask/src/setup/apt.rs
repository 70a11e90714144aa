//! Debian packages: installed without questions and without starting or enabling any service.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, anyhow};

use crate::cargo;

/// What starts and enables services when a package that has one is installed. Harmless stand-ins for
/// them come first in the `PATH` of the packages' scripts: the tests want nginx's binary, not a
/// web server on the host; and nothing of this stays behind.
const SERVICE_TOOLS: &[&str] = &["deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "update-rc.d"];
const DPKG_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why packages were not installed, and what to type.
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) remedy: String,
}

/// Installs `packages`, without what they merely recommend.
///
/// # Errors
/// There is no apt, no right to use it, or it fails.
pub(super) fn install(packages: &[&str]) -> Result<(), Refused> {
    let names = packages.join(" ");
    let remedy = format!("apt-get install --no-install-recommends {names}");
    if cargo::find("apt-get").is_none() {
        let remedy = format!("your package manager's command for what Debian calls: {names}");
        return Err(Refused { why: "no apt-get on this machine".to_owned(), remedy });
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Refused { why: "only root can install it".to_owned(), remedy: format!("sudo {remedy}") });
    }
    println!("...      installing {names}");
    try_install(packages).map_err(|error| Refused { why: format!("{error:#}"), remedy })
}

fn try_install(packages: &[&str]) -> Result<()> {
    let stand_ins = tempfile::tempdir().context("cannot make a temporary directory")?;
    for tool in SERVICE_TOOLS {
        let file = stand_ins.path().join(tool);
        fs::write(&file, "#!/bin/sh\nexit 0\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", file.display()))?;
    }
    let dpkg_path = format!("DPkg::Path={}:{DPKG_PATH}", stand_ins.path().display());
    let install =
        || apt_get(&["install", "--yes", "--quiet", "--no-install-recommends", "-o", &dpkg_path], packages);
    // A fresh machine has no package lists, an old one lists packages that are gone.
    install().or_else(|_| apt_get(&["update", "--quiet"], &[]).and_then(|()| install()))
}

fn apt_get(args: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = cargo::program("apt-get");
    // Another apt at work (unattended upgrades) is waited for.
    command.args(["-o", "DPkg::Lock::Timeout=300"]).args(args).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    let output = command.output().context("cannot start apt-get")?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr.lines().rfind(|line| line.starts_with("E:")).unwrap_or("it gave no reason");
    Err(anyhow!("apt-get {} failed: {}", args[0], reason.trim_start_matches("E: ")))
}
