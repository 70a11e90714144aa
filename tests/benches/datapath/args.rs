//! The command line, the same as that of `cargo xtask bench` but for the object.

use std::path::PathBuf;

use clap::Parser;

/// Measures the datapath; run by `cargo xtask bench`.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The compiled nlb-bench
    #[arg(long, value_name = "FILE")]
    pub(crate) object: PathBuf,
    /// Write what is printed to a file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Measurements of each scenario
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(7..))]
    pub(crate) rounds: u32,
    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) filter: String,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}
