//! nlb's developer tool, `cargo xtask`: sets the machine up, builds, checks, tests, measures and demonstrates.

mod bench;
mod build;
mod cargo;
mod demo;
mod lint;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::ctl;

/// nlb's developer tool.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or install what building and testing need
    Setup(setup::Args),
    /// Build nlb-agent, nlbctl and xtask into target/release
    Build,
    /// Check the formatting and run clippy, every warning an error
    Lint,
    /// Run the tests, in tiers
    Test(test::Args),
    /// Balance real connections in a world of network namespaces
    Demo(demo::Args),
    /// Measure what a packet costs in the datapath
    Bench(bench::Args),
    /// The operator's tool, which is also a binary of its own, nlbctl
    Ctl(ctl::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Build => build::run_build(),
        Command::Lint => lint::run_lint(),
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run_bench(&args),
        Command::Ctl(args) => return ctl::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
