//! `cargo xtask build`: the binaries one deploys, in the workspace's `target/release`.

use std::path::PathBuf;

use anyhow::Result;
use nlb_ebpf_build::TOOLCHAIN_VARIABLE;

use crate::{
    cargo::{self, cargo, run},
    setup::{self, Level, Toolchain},
};

/// The binaries that are built.
const BINARIES: &[&str] = &["nlb-agent", "nlbctl", "xtask"];

/// `cargo xtask build`.
///
/// # Errors
/// Something the build needs is missing, or the build fails.
pub(crate) fn run_build() -> Result<()> {
    let toolchain = setup::ensure(Level::Build)?;
    let dir = build(toolchain)?;
    for binary in BINARIES {
        println!("built    {}", dir.join(binary).display());
    }
    Ok(())
}

/// Builds everything with `toolchain` for the datapath; returns the directory of the binaries.
///
/// # Errors
/// The build fails; cargo has said why.
pub(crate) fn build(toolchain: Toolchain) -> Result<PathBuf> {
    // No package is selected: the tests are built with the features of the whole workspace as well, and what
    // they share with the binaries is not compiled twice.
    let mut command = cargo(["build", "--release", "--locked"]);
    command.args(BINARIES.iter().flat_map(|binary| ["--bin", binary]));
    run(command.env(TOOLCHAIN_VARIABLE, toolchain.name()))?;
    Ok(cargo::target_dir()?.join("release"))
}
