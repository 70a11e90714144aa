//! `cargo xtask test`: the test tiers, each one cargo call, with a summary at the end.
//!
//! All tiers, and the binaries under test, are built by the release profile and with the features of the whole
//! workspace, so that nothing is compiled twice.

mod count;
mod kernels;

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use nlb_ebpf_build::TOOLCHAIN_VARIABLE;

use self::count::Count;
use crate::{
    build,
    cargo::{cargo, shown, workspace_root},
    setup::{self, Level},
};

/// A set of tests that need the same things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Pure code and what runs in one process; no root
    Unit,
    /// The agent over the fake and the faulty datapath
    Agent,
    /// Test runs of the real program in the kernel
    Kernel,
    /// Namespaces with real servers and clients
    E2e,
    /// The kernel tier on other kernels as well, in emulated machines; takes minutes, and only runs if named
    Kernels,
}

/// The tiers that run if none is named.
const ORDINARY: &[Tier] = &[Tier::Unit, Tier::Agent, Tier::Kernel, Tier::E2e];

/// The command's arguments.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Which tiers to run; all but `kernels` if none is named
    #[arg(value_enum)]
    tiers: Vec<Tier>,
    /// Arguments of the test binaries, such as a part of the names of the tests to run
    #[arg(last = true, value_name = "ARGS")]
    wishes: Vec<String>,
}

/// How a tier went.
struct Outcome {
    tier: Tier,
    count: Count,
    /// Why it failed though no test did.
    trouble: Option<String>,
    took: Duration,
}

/// `cargo xtask test`.
///
/// # Errors
/// Something is missing, a test fails, or a tier ran no test.
pub(crate) fn run(args: &Args) -> Result<()> {
    let tiers = if args.tiers.is_empty() { ORDINARY } else { &args.tiers };
    let outcomes = tiers.iter().map(|tier| tier.run(&args.wishes)).collect::<Result<Vec<_>>>()?;
    let (passed, failed) = summarize(&outcomes);
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        bail!("not all tests passed");
    }
    Ok(())
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Agent => "agent",
            Self::Kernel => "kernel",
            Self::E2e => "e2e",
            Self::Kernels => "kernels",
        }
    }

    /// Runs the tier; an error is about what it needs, not about its tests.
    fn run(self, wishes: &[String]) -> Result<Outcome> {
        println!("--- tier {}", self.name());
        let began = Instant::now();
        let toolchain = setup::ensure(match self {
            Self::Unit => Level::Build,
            Self::Agent | Self::Kernel | Self::E2e => Level::Test,
            Self::Kernels => Level::Kernels,
        })?;
        let mut command = cargo(["test", "--release", "--locked", "--no-fail-fast"]);
        command.env(TOOLCHAIN_VARIABLE, toolchain.name());
        match self {
            Self::Unit => command.args(["--lib", "--bins"]),
            Self::Agent => {
                command.args(integration_tests("nlb-agent")?.iter().flat_map(|name| ["--test", name]))
            }
            Self::Kernel => command.args(["--test", "kernel*"]),
            Self::E2e => command.args(["--test", "e2e*"]).env("NLB_BIN_DIR", build::build(toolchain)?),
            Self::Kernels => {
                let (count, trouble) = kernels::run(toolchain, wishes)?;
                return Ok(Outcome { tier: self, count, trouble, took: began.elapsed() });
            }
        };
        command.arg("--").args(wishes);
        if matches!(self, Self::Kernel | Self::E2e) {
            // Their worlds would take each other's processor time.
            command.arg("--test-threads=1");
        }
        let (count, succeeded) = execute(&mut command)?;
        let trouble = match count {
            Count { passed: 0, failed: 0 } => Some("it ran no test".to_owned()),
            Count { failed: 0, .. } if !succeeded => Some(format!("`{}` failed", shown(&command))),
            Count { .. } => None,
        };
        Ok(Outcome { tier: self, count, trouble, took: began.elapsed() })
    }
}

/// The names of a member's integration tests. Named one by one they can be run without selecting the member, which
/// would build everything below it anew with that member's features alone.
fn integration_tests(member: &str) -> Result<Vec<String>> {
    let directory = workspace_root().join(member).join("tests");
    let entries = directory.read_dir().with_context(|| format!("cannot read {}", directory.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let tests = files.filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<_> =
        tests.filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect();
    if names.is_empty() {
        bail!("{} holds no test", directory.display());
    }
    names.sort();
    Ok(names)
}

/// Runs a `cargo test`, shows what it prints and counts its tests; says whether it succeeded as well.
fn execute(command: &mut Command) -> Result<(Count, bool)> {
    let name = shown(command);
    let context = || format!("cannot run `{name}`");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(context)?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut count = Count::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(context)?;
        let line = String::from_utf8_lossy(&line);
        writeln!(io::stdout(), "{line}").context("cannot write to the standard output")?;
        count.add_line(&line);
    }
    let status = child.wait().with_context(context)?;
    Ok((count, status.success()))
}

/// Prints a line for each tier; returns the sums. A tier that failed without a failed test counts as one.
fn summarize(outcomes: &[Outcome]) -> (usize, usize) {
    println!("\n{:8} {:>7} {:>7} {:>8}", "tier", "passed", "failed", "time");
    let (mut passed, mut failed) = (0, 0);
    for Outcome { tier, count, trouble, took } in outcomes {
        let trouble_line = trouble.as_ref().map(|trouble| format!("  {trouble}")).unwrap_or_default();
        let seconds = took.as_secs_f64();
        println!("{:8} {:>7} {:>7} {seconds:>6.1} s{trouble_line}", tier.name(), count.passed, count.failed);
        passed += count.passed;
        failed += count.failed + usize::from(trouble.is_some());
    }
    (passed, failed)
}
