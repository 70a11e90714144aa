//! Compiles `nlb/v1/*.proto` with protox (no `protoc` to install) into Rust code and a descriptor set.

use std::{env, fs, path::PathBuf};

use anyhow::Context as _;
use prost::Message as _;

fn main() -> anyhow::Result<()> {
    let files = ["nlb/v1/resources.proto", "nlb/v1/service.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."]).context("compile proto/nlb/v1")?;
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    fs::write(out_dir.join("nlb_v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
