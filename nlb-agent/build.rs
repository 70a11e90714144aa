//! Compiles nlb-ebpf and leaves the object in `OUT_DIR`, from where the agent embeds it.
//!
//! Not with aya-build: it sets the compiler's flags itself and leaves no room for `target-cpu`, without which the
//! back end has neither 32-bit compare-and-swap nor 32-bit jumps.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

/// Names the rustup toolchain to use.
const TOOLCHAIN_VARIABLE: &str = "NLB_BPF_TOOLCHAIN";
/// A distribution's compiler with a ready-made `core` for BPF, linked by `cargo xtask setup`.
const LINKED: &str = "bpf";
/// The ordinary way: nightly with rust-src.
const NIGHTLY: &str = "nightly";

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    for path in ["../nlb-ebpf", "../nlb-common/src", "../nlb-common/Cargo.toml", "../Cargo.lock"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let toolchain = match env::var(TOOLCHAIN_VARIABLE) {
        Ok(named) => named,
        Err(_) => find_toolchain()?.to_owned(),
    };
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let object = build(&toolchain, &out_dir.join("ebpf"))?;
    std::fs::copy(&object, out_dir.join("nlb-ebpf.o"))
        .with_context(|| format!("copy {}", object.display()))?;
    Ok(())
}

/// The linked toolchain where there is one, else nightly if it can build `core`.
fn find_toolchain() -> anyhow::Result<&'static str> {
    if rustc(LINKED, &["--version"]).is_some() {
        return Ok(LINKED);
    }
    let sysroot = rustc(NIGHTLY, &["--print", "sysroot"]).unwrap_or_default();
    let has_source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir();
    ensure!(has_source, "no compiler for eBPF: run `cargo xtask setup`");
    Ok(NIGHTLY)
}

/// What a toolchain's compiler prints; `None` if there is no such toolchain.
fn rustc(toolchain: &str, args: &[&str]) -> Option<String> {
    let output = Command::new("rustup").args(["run", toolchain, "rustc"]).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs cargo for the BPF target; the path of the object.
fn build(toolchain: &str, target_dir: &Path) -> anyhow::Result<PathBuf> {
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").context("cargo sets CARGO_CFG_TARGET_ENDIAN")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("cargo sets CARGO_CFG_TARGET_ARCH")?;
    let target = if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let flags = [
        &format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Ctarget-cpu=v3",
    ];

    let mut cargo = Command::new("rustup");
    cargo
        .args(["run", toolchain, "cargo", "build", "--release", "--package", "nlb-ebpf", "--target", target])
        .arg("--target-dir")
        .arg(target_dir)
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
        // A stable compiler: aya-ebpf and our program each need a feature gate opened.
        cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf,nlb");
    }
    let output = cargo.output().context("run rustup: is it installed?")?;
    ensure!(
        output.status.success(),
        "the eBPF build failed; `cargo xtask setup` checks the tools\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(target_dir.join(target).join("release/nlb"))
}
