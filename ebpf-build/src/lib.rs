//! Compiles a binary of nlb-ebpf for the kernel.
//!
//! Not with aya-build: it sets the compiler's flags itself and leaves no room for `target-cpu`, without which the
//! back end has neither 32-bit compare-and-swap nor 32-bit jumps.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// Names the rustup toolchain to use.
pub const TOOLCHAIN_VARIABLE: &str = "NLB_BPF_TOOLCHAIN";
/// A distribution's compiler with a ready-made `core` for BPF, linked by `cargo xtask setup`.
const LINKED: &str = "bpf";
/// The ordinary way: nightly with rust-src.
const NIGHTLY: &str = "nightly";
/// The crates that a stable compiler has to open feature gates for, in `RUSTC_BOOTSTRAP`: aya-ebpf needs one, and the
/// datapath. Names, not `1`: features are opened for the crates that need them only.
pub const UNSTABLE_FEATURES_FOR: &str = "aya_ebpf,nlb,nlb_bench";

/// The machine whose kernel the program is for.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Its architecture, as in `target_arch`.
    pub arch: &'a str,
    /// Its byte order, as in `target_endian`.
    pub endian: &'a str,
}

impl Machine<'static> {
    /// The one this runs on.
    pub const HERE: Self =
        Self { arch: env::consts::ARCH, endian: if cfg!(target_endian = "big") { "big" } else { "little" } };
}

/// The toolchain to compile with: the one that [`TOOLCHAIN_VARIABLE`] names, else the linked one where there is one,
/// else nightly if it can build `core`.
///
/// # Errors
/// There is none.
pub fn toolchain() -> Result<String> {
    if let Ok(named) = env::var(TOOLCHAIN_VARIABLE) {
        return Ok(named);
    }
    if rustc(LINKED, &["--version"]).is_some() {
        return Ok(LINKED.to_owned());
    }
    let sysroot = rustc(NIGHTLY, &["--print", "sysroot"]).unwrap_or_default();
    let has_source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir();
    ensure!(has_source, "no compiler for eBPF: run `cargo xtask setup`");
    Ok(NIGHTLY.to_owned())
}

/// What a toolchain's compiler prints; `None` if there is no such toolchain.
fn rustc(toolchain: &str, args: &[&str]) -> Option<String> {
    let output = Command::new("rustup").args(["run", toolchain, "rustc"]).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Compiles the binary `bin` of nlb-ebpf in `target_dir`; the path of the object.
///
/// # Errors
/// A tool is missing, or the compiler refuses the code: its messages are part of the error.
pub fn compile(toolchain: &str, machine: Machine<'_>, bin: &str, target_dir: &Path) -> Result<PathBuf> {
    let target = if machine.endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let flags = [
        &format!("--cfg=bpf_target_arch=\"{}\"", machine.arch),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Ctarget-cpu=v3",
    ];

    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", toolchain, "cargo", "build", "--release", "--package", "nlb-ebpf", "--bin", bin])
        .args(["--target", target])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // What the outer cargo says about its own compiler is not for the inner one.
    for variable in
        ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC", "CARGO", "RUSTUP_TOOLCHAIN"]
    {
        cargo.env_remove(variable);
    }
    if toolchain.starts_with(NIGHTLY) {
        cargo.args(["-Z", "build-std=core"]);
    } else {
        cargo.env("RUSTC_BOOTSTRAP", UNSTABLE_FEATURES_FOR);
    }
    let output = cargo.output().context("run rustup: is it installed?")?;
    ensure!(
        output.status.success(),
        "the eBPF build failed; `cargo xtask setup` checks the tools\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(target_dir.join(target).join("release").join(bin))
}
