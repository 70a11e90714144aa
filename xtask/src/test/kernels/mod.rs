//! `cargo xtask test kernels`: the kernel tier on the kernels that nlb supports, Debian's in emulated machines and
//! the host's as it is.
//!
//! It is the binary that the kernel tier runs, not one linked in another way: what it needs of the host comes along.

mod cpio;
mod initramfs;
mod machine;
mod package;
mod report;
mod table;
mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::utsname::uname;
use nlb_ebpf_build::TOOLCHAIN_VARIABLE;

use self::{
    package::Kernel,
    report::Report,
    table::{Row, Table},
    watch::watch,
};
use super::count::Count;
use crate::{
    cargo::{cargo, output, program, target_dir},
    setup::Toolchain,
};

/// The series of Linux whose newest kernel in Debian is tested: those of Debian 12 and 13, both with long support.
const SERIES: [&str; 2] = ["6.1", "6.12"];
/// How long a kernel may take. Emulated, everything is some ten times slower than on the host.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Runs the tests on each kernel and prints a line for each; returns the sums, and what failed other than tests.
/// `wishes` are arguments of the test binary, such as a part of the names of the tests to run.
///
/// # Errors
/// The tests cannot be built.
pub(super) fn run(toolchain: Toolchain, wishes: &[String]) -> Result<(Count, Option<String>)> {
    let tests = build(toolchain)?;
    let directory = target_dir()?.join("kernels");
    let args: Vec<_> = ["--test-threads=1", "--nocapture"]
        .map(str::to_owned)
        .into_iter()
        .chain(wishes.iter().cloned())
        .collect();
    // Alone, so that loading takes as long as it takes.
    let mut rows = vec![timed(host(), "this host", |row| on_the_host(&tests, &args, row))];
    // One by one, for apt works for one at a time.
    let kernels = SERIES.map(|series| (series, package::fetch(series, &directory)));
    thread::scope(|scope| {
        let emulated = kernels.map(|(series, kernel)| {
            let (tests, args, directory) = (&tests, &args, &directory);
            scope.spawn(move || {
                timed(series.to_owned(), "emulated", |row| emulated(&kernel?, tests, args, directory, row))
            })
        });
        rows.extend(emulated.into_iter().map(|thread| thread.join().expect("it does not panic")));
    });
    let table = Table(&rows);
    print!("\n{table}");
    Ok((table.count(), table.trouble()))
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

/// The row of a kernel, filled by `work`.
fn timed(kernel: String, place: &'static str, work: impl FnOnce(&mut Row) -> Result<()>) -> Row {
    println!("--- kernel {kernel} ({place})");
    let began = Instant::now();
    let mut row = Row { kernel, place, report: Report::default(), trouble: None, took: Duration::ZERO };
    row.trouble = match work(&mut row) {
        Ok(()) => row.report.trouble(),
        Err(error) => Some(format!("{error:#}")),
    };
    row.took = began.elapsed();
    row
}

fn emulated(kernel: &Kernel, tests: &Path, args: &[String], directory: &Path, row: &mut Row) -> Result<()> {
    row.kernel.clone_from(&kernel.release);
    let archive = initramfs::build(kernel, tests, args)?;
    let initramfs = directory.join(format!("{}.cpio", kernel.release));
    fs::write(&initramfs, archive).with_context(|| format!("cannot write {}", initramfs.display()))?;
    let ended = machine::boot(kernel, &initramfs, LIMIT, |line| show(&kernel.release, line, &mut row.report));
    // As large as the tests are, and made anew each time.
    fs::remove_file(&initramfs).with_context(|| format!("cannot remove {}", initramfs.display()))?;
    ended
}

fn on_the_host(tests: &Path, args: &[String], row: &mut Row) -> Result<()> {
    let Row { kernel, report, .. } = row;
    let status = watch(program(tests).args(args), LIMIT, |line| show(kernel, line, report))?;
    report.status = status.code();
    if report.status.is_none() {
        bail!("the tests were ended: {status}");
    }
    Ok(())
}

/// The host's kernel.
fn host() -> String {
    uname().map_or_else(|_| "unknown".to_owned(), |name| name.release().to_string_lossy().into_owned())
}

/// Several kernels talk at once: their lines say whose they are.
fn show(kernel: &str, line: &str, report: &mut Report) {
    println!("{kernel}: {line}");
    report.add_line(line);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::executable;

    #[test]
    fn the_test_binary_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"nlb_tests"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"nlb-agent"},"executable":"/t/release/nlb-agent"}
no JSON
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel"},"executable":"/t/release/deps/kernel-0a1b"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages).as_deref(), Some(Path::new("/t/release/deps/kernel-0a1b")));
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
