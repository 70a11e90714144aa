//! The file system that a kernel boots with: busybox, the test binary, and what its tests call and read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{cpio::Archive, package::Kernel, report::MARK};
use crate::cargo::{self, output, program, workspace_root};

/// Where the test binary lies.
const TESTS: &str = "/bin/kernel-tests";
/// Packets of the random history, a million elsewhere: each takes some twenty times as long here.
const STEPS: u32 = 50_000;
/// Captures of real traffic that some tests run on, as the tests name the directory.
const CAPTURES: &str = "tests/../../shared/captures";

/// The archive for `kernel`, which runs `tests` with these arguments and then ends the machine.
///
/// # Errors
/// A file cannot be read, a program is not on this host.
pub(super) fn build(kernel: &Kernel, tests: &Path, args: &[String]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["/dev", "/proc", "/sys", "/tmp"] {
        archive.directory(directory);
    }
    let mut libraries = vec![add_program(&mut archive, TESTS, tests)?];
    for name in ["busybox", "ip"] {
        let file =
            cargo::find(name).with_context(|| format!("no {name}; `cargo xtask setup` installs it"))?;
        libraries.push(add_program(&mut archive, &format!("/bin/{name}"), &file)?);
    }
    let libraries: BTreeSet<PathBuf> = libraries.into_iter().flatten().collect();
    for library in &libraries {
        archive.file(library, 0o755, &read(library)?);
    }
    // The host's loader has a cache that tells it where they are; here it must be told.
    let directories: BTreeSet<_> = libraries.iter().filter_map(|library| library.parent()).collect();
    let directories: Vec<_> = directories.into_iter().map(Path::to_string_lossy).collect();
    let module = kernel.veth.file_name().unwrap_or_default().to_string_lossy();
    archive.file(format!("/{module}"), 0o644, &read(&kernel.veth)?);
    add_captures(&mut archive)?;
    archive.file("/init", 0o755, init(&module, &directories.join(":"), args).as_bytes());
    Ok(archive.finish())
}

/// What the kernel starts first. `poweroff -f` ends the machine, and so does a panic if this script ends.
fn init(module: &str, libraries: &str, args: &[String]) -> String {
    let args = args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" ");
    format!(
        "#!/bin/busybox sh
export PATH=/bin LD_LIBRARY_PATH={libraries} NLB_TEST_STEPS={STEPS}
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t tmpfs tmp /tmp
busybox ip link set lo up
case {module} in
*.xz) busybox xzcat /{module} >/veth.ko ;;
esac
busybox insmod /veth.ko
{TESTS} {args} 2>&1
status=$?
# Whatever was printed last, this begins a line.
echo
echo {MARK} exit $status
busybox poweroff -f
"
    )
}

/// One word of a shell's command, whatever is in it.
fn quoted(arg: &str) -> String {
    format!("'{}'", arg.replace('\'', r"'\''"))
}

/// Adds a program; returns the libraries that it needs.
fn add_program(archive: &mut Archive, path: &str, file: &Path) -> Result<Vec<PathBuf>> {
    archive.file(path, 0o755, &read(file)?);
    // It fails about a program that needs none.
    let told = output(program("ldd").arg(file)).unwrap_or_default();
    ensure!(!told.contains("not found"), "{} lacks libraries on this host: {told}", file.display());
    Ok(libraries(&told).into_iter().map(PathBuf::from).collect())
}

/// The libraries that ldd tells of: `name => path (address)`, and the loader, `path (address)`.
fn libraries(told: &str) -> Vec<&str> {
    let paths = told.lines().map(|line| line.split_once(" => ").map_or(line, |(_, path)| path).trim());
    paths.filter(|path| path.starts_with('/')).filter_map(|path| path.split(" (").next()).collect()
}

/// Adds the captures, where the tests will look for them. Where there are none, the tests say that they skip.
fn add_captures(archive: &mut Archive) -> Result<()> {
    let directory = workspace_root().join(CAPTURES);
    let Ok(entries) = directory.read_dir() else { return Ok(()) };
    // Its path leads through this one.
    archive.directory(workspace_root().join("tests"));
    for file in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        archive.file(&file, 0o644, &read(&file)?);
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{init, libraries};

    #[test]
    fn init_is_a_shell_script_that_runs_the_tests_with_their_arguments_and_says_how_they_ended() {
        let args = ["--test-threads=1", "load"].map(str::to_owned);
        let script = init("veth.ko.xz", "/lib:/lib64", &args);
        let lines: Vec<_> = script.lines().collect();
        assert_eq!(lines[0], "#!/bin/busybox sh");
        let tests = lines.iter().position(|line| *line == "/bin/kernel-tests '--test-threads=1' 'load' 2>&1");
        let end = lines.iter().position(|line| *line == "echo nlb-kernels: exit $status");
        assert!(tests.unwrap() < end.unwrap(), "{script}");
        assert!(script.contains(" LD_LIBRARY_PATH=/lib:/lib64 "), "{script}");
        let status = Command::new("sh").args(["-n", "-c", &script]).stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{script}");
    }

    #[test]
    fn arguments_reach_the_tests_as_they_are() {
        let rows = [("load", "'load'"), ("a b$c", "'a b$c'"), ("it's", r"'it'\''s'"), ("", "''")];
        for (arg, expected) in rows {
            assert_eq!(super::quoted(arg), expected);
            let echo = format!("printf %s {expected}");
            let told = Command::new("sh").args(["-c", &echo]).output().unwrap().stdout;
            assert_eq!(told, arg.as_bytes());
        }
    }

    #[test]
    fn libraries_and_the_loader_are_found_in_what_ldd_tells() {
        let told = "\tlinux-vdso.so.1 (0x00007ffd)
\tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f01)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f03)";
        let expected = [
            "/lib/x86_64-linux-gnu/libmnl.so.0",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(told), expected);
        assert_eq!(libraries("\tstatically linked"), [""; 0]);
        assert_eq!(libraries(""), [""; 0]);
    }
}
