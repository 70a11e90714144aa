//! `cargo xtask bench`: what a packet costs in the datapath, next to what it costs elsewhere.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use nlb_ebpf_build::{Machine, TOOLCHAIN_VARIABLE, compile};

use crate::{
    cargo::{self, cargo, run},
    setup::{self, Level},
};

/// The command's arguments.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Write what is printed to a file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measurements of each scenario, at least 7
    #[arg(long, value_name = "N", default_value_t = 11)]
    rounds: u32,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// `cargo xtask bench`.
///
/// # Errors
/// Something is missing, a packet does not meet the fate it should, or a program cannot be loaded.
pub(crate) fn run_bench(args: &Args) -> Result<()> {
    let toolchain = setup::ensure(Level::Build)?;
    let target_dir = cargo::target_dir()?.join("ebpf");
    let object = compile(toolchain.name(), Machine::HERE, "nlb-bench", &target_dir)?;

    let Args { json, rounds, filter } = args;
    let mut command = cargo(["bench", "--locked", "--bench", "datapath", "--"]);
    command.env(TOOLCHAIN_VARIABLE, toolchain.name()).arg("--object").arg(object);
    command.arg("--rounds").arg(rounds.to_string());
    if let Some(filter) = filter {
        command.arg("--filter").arg(filter);
    }
    if let Some(json) = json {
        // The benchmark runs in a directory of its own.
        command.arg("--json").arg(absolute(json)?);
    }
    run(&mut command)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}
