//! Compiles nlb-ebpf and leaves the object in `OUT_DIR`, from where the agent embeds it.

use std::{env, path::PathBuf};

use anyhow::Context as _;
use nlb_ebpf_build::{Machine, TOOLCHAIN_VARIABLE, compile, toolchain};

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    for path in ["../nlb-ebpf", "../nlb-common/src", "../nlb-common/Cargo.toml", "../Cargo.lock"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").context("cargo sets CARGO_CFG_TARGET_ENDIAN")?;
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("cargo sets CARGO_CFG_TARGET_ARCH")?;
    let machine = Machine { arch: &arch, endian: &endian };
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let object = compile(&toolchain()?, machine, "nlb", &out_dir.join("ebpf"))?;
    std::fs::copy(&object, out_dir.join("nlb-ebpf.o"))
        .with_context(|| format!("copy {}", object.display()))?;
    Ok(())
}
