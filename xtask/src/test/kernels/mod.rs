//! `cargo xtask test kernels`: the kernel tier on the kernels that nlb supports, Debian's in emulated machines and
//! the host's as it is.
//!
//! It is the binary that the kernel tier runs, not one linked in another way: what it needs of the host comes along.

mod cpio;
mod initramfs;
mod machine;
mod package;
mod report;
mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nlb_ebpf_build::TOOLCHAIN_VARIABLE;

use self::{report::Report, watch::watch};
use super::count::Count;
use crate::{
    cargo::{cargo, output, program, target_dir},
    setup::Toolchain,
};

/// The series of Linux whose newest kernel in Debian is tested: those of Debian 12 and 13, both with long support.
const SERIES: &[&str] = &["6.1", "6.12"];
/// How long a kernel may take. Emulated, everything is some twenty times slower than on the host.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// How it went on a kernel.
struct Row {
    kernel: String,
    place: &'static str,
    report: Report,
    /// Why it failed though no test did.
    trouble: Option<String>,
    took: Duration,
}

/// Runs the tests on each kernel and prints a line for each; returns the sums, and what failed other than tests.
///
/// # Errors
/// The tests cannot be built.
pub(super) fn run(toolchain: Toolchain) -> Result<(Count, Option<String>)> {
    let tests = build(toolchain)?;
    let directory = target_dir()?.join("kernels");
    let mut rows = Vec::new();
    for series in SERIES {
        rows.push(timed(format!("{series}, of Debian"), "emulated", |row| {
            emulated(series, &tests, &directory, row)
        }));
    }
    let host = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    rows.push(timed(host.trim().to_owned(), "this host", |row| on_the_host(&tests, row)));
    print(&rows);
    let mut sum = Count::default();
    for Row { report, .. } in &rows {
        sum.passed += report.count.passed;
        sum.failed += report.count.failed;
    }
    let trouble = rows.iter().filter_map(|row| Some(format!("{}: {}", row.kernel, row.trouble.as_ref()?)));
    let trouble: Vec<_> = trouble.collect();
    Ok((sum, (!trouble.is_empty()).then(|| trouble.join("; "))))
}

/// Builds the kernel tier's test binary, as the tier itself does; returns its path.
fn build(toolchain: Toolchain) -> Result<PathBuf> {
    let mut command = cargo(["test", "--release", "--locked", "--no-run", "--test", "kernel"]);
    command.arg("--message-format=json-render-diagnostics").env(TOOLCHAIN_VARIABLE, toolchain.name());
    let messages = output(command.stderr(Stdio::inherit()))?;
    executable(&messages).context("cargo built the kernel tier, but names no test binary")
}

/// The test binary that cargo's messages, one JSON object a line, tell of.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut tests = messages.filter(|message| message["target"]["kind"][0] == "test");
    tests.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
}

fn timed(kernel: String, place: &'static str, work: impl FnOnce(&mut Row) -> Result<()>) -> Row {
    println!("--- kernel {kernel} ({place})");
    let began = Instant::now();
    let mut row = Row { kernel, place, report: Report::default(), trouble: None, took: Duration::ZERO };
    let result = work(&mut row);
    row.trouble = match result {
        Ok(()) => row.report.trouble(),
        Err(error) => Some(format!("{error:#}")),
    };
    row.took = began.elapsed();
    row
}

fn arguments() -> Vec<String> {
    ["--test-threads=1", "--nocapture"].map(str::to_owned).to_vec()
}

fn emulated(series: &str, tests: &Path, directory: &Path, row: &mut Row) -> Result<()> {
    let kernel = package::fetch(series, directory)?;
    row.kernel.clone_from(&kernel.release);
    let archive = initramfs::build(&kernel, tests, &arguments())?;
    let initramfs = directory.join(format!("{}.cpio", kernel.release));
    fs::write(&initramfs, archive).with_context(|| format!("cannot write {}", initramfs.display()))?;
    let report = &mut row.report;
    machine::boot(&kernel, &initramfs, LIMIT, |line| show(line, report))
}

fn on_the_host(tests: &Path, row: &mut Row) -> Result<()> {
    let report = &mut row.report;
    let status = watch(program(tests).args(arguments()), LIMIT, |line| show(line, report))?;
    report.status = status.code();
    if report.status.is_none() {
        bail!("the tests were ended: {status}");
    }
    Ok(())
}

fn show(line: &str, report: &mut Report) {
    println!("{line}");
    report.add_line(line);
}

fn print(rows: &[Row]) {
    println!(
        "\n{:24} {:10} {:>7} {:>7} {:>9} {:>14} {:>9}",
        "kernel", "where", "passed", "failed", "verified", "load", "time"
    );
    for Row { kernel, place, report, trouble, took } in rows {
        let unknown = || "-".to_owned();
        let verified = report.verified.map_or_else(unknown, |verified| verified.to_string());
        let load = report.load.clone().unwrap_or_else(unknown);
        let Count { passed, failed } = report.count;
        let seconds = took.as_secs_f64();
        println!("{kernel:24} {place:10} {passed:>7} {failed:>7} {verified:>9} {load:>14} {seconds:>7.1} s");
        for test in &report.failed {
            println!("    failed: {test}");
        }
        for test in &report.skipped {
            println!("    skipped: {test}");
        }
        if let Some(trouble) = trouble {
            println!("    {trouble}");
        }
    }
}
