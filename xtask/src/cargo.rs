//! Cargo and other programs as children: what they inherit, and how their failure is told.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// Variables that `cargo run` and rustup's proxies set for *this* process. A child cargo that inherited
/// them would build with our toolchain instead of the one it is told to use, and every build script
/// that watches one of them would run again.
const INHERITED: &[&str] = &["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "RUST_RECURSION_COUNT"];
const INHERITED_PREFIXES: &[&str] = &["CARGO_BIN_", "CARGO_MANIFEST_", "CARGO_PKG_", "RUSTUP_TOOLCHAIN"];

/// The root directory of the workspace this tool was built from.
pub(crate) fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member lies one level below the workspace root")
}

/// `program`, to be run in the workspace root without what cargo and rustup told this process.
pub(crate) fn program(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let prefixed = INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if prefixed || INHERITED.contains(&name.as_ref()) {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// `cargo` with `args`, by the machine's default toolchain.
pub(crate) fn cargo<I>(args: I) -> Command
where
    I: IntoIterator<Item: AsRef<OsStr>>,
{
    let mut command = program("cargo");
    command.args(args);
    command
}

/// Runs `command` with our terminal.
///
/// # Errors
/// It cannot be started, or ends with anything but status 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// What `command` prints on its standard output, without the white space around it.
///
/// # Errors
/// It cannot be started, or ends with anything but status 0; its standard error is part of the message.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}: {}", shown(command), output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The directory cargo builds this workspace into.
///
/// # Errors
/// `cargo metadata` fails.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let json = output(&mut cargo(["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&json).context("`cargo metadata` printed something that is no JSON")?;
    let dir = metadata["target_directory"].as_str().context("`cargo metadata` names no target_directory")?;
    Ok(PathBuf::from(dir))
}

/// Where `program` is found: the directories of `PATH`, then the ones for the administrator, which are not in
/// everyone's `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administrators).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// `command` as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
