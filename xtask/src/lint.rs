//! `cargo xtask lint`: rustfmt and clippy, with every warning an error.

use anyhow::Result;
use nlb_ebpf_build::{TOOLCHAIN_VARIABLE, UNSTABLE_FEATURES_FOR};

use crate::{
    cargo::{cargo, program, run},
    setup::{self, Level, TARGET, Toolchain},
};

/// `cargo xtask lint`.
///
/// # Errors
/// Code that is not formatted, or that a linter warns about.
pub(crate) fn run_lint() -> Result<()> {
    let toolchain = setup::ensure(Level::Lint)?;
    println!("rustfmt");
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    println!("clippy, host crates");
    let host = ["clippy", "--release", "--locked", "--all-targets", "--", "--deny", "warnings"];
    run(cargo(host).env(TOOLCHAIN_VARIABLE, toolchain.name()))?;
    println!("clippy, nlb-ebpf");
    ebpf(toolchain)
}

fn ebpf(toolchain: Toolchain) -> Result<()> {
    let mut command = program("rustup");
    command.args(["run", toolchain.name(), "cargo", "clippy", "--release", "--locked"]);
    command.args(["--package", "nlb-ebpf", "--target", TARGET]);
    match toolchain {
        Toolchain::Bpf => command.env("RUSTC_BOOTSTRAP", UNSTABLE_FEATURES_FOR),
        Toolchain::Nightly => command.args(["-Z", "build-std=core"]),
    };
    run(command.args(["--", "--deny", "warnings"]))
}
