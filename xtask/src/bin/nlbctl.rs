//! `nlbctl`, the operator's tool.

use std::process::ExitCode;

use clap::Parser;
use xtask::ctl;

/// Tells the nlb agent of this host what to balance, and shows what it does.
#[derive(Parser)]
#[command(name = "nlbctl", version)]
struct Nlbctl {
    #[command(flatten)]
    args: ctl::Args,
}

fn main() -> ExitCode {
    ctl::run(Nlbctl::parse().args)
}
