//! clippy and rustfmt: the host's, and the eBPF compiler's own clippy.

use super::{
    apt,
    compiler::{self, Toolchain},
    item::Item,
};
use crate::cargo::{self, cargo, output, program};

const PACKAGE: &str = "rust-web-clippy";

/// Finds or installs what `cargo xtask lint` calls.
pub(super) fn prepare(toolchain: Option<Toolchain>) -> Vec<Item> {
    let mut items = vec![component("rustfmt", "fmt"), component("clippy", "clippy")];
    items.extend(toolchain.map(ebpf));
    items
}

fn component(name: &'static str, subcommand: &str) -> Item {
    let version = || output(&mut cargo([subcommand, "--version"]));
    if let Ok(version) = version() {
        return Item::found(name, version);
    }
    let mut add = program("rustup");
    add.args(["component", "add", name]);
    match output(&mut add).and_then(|_| version()) {
        Ok(version) => Item::did(name, format!("{}: {version}", cargo::shown(&add))),
        Err(error) => Item::missing(name, format!("{error:#}"), cargo::shown(&add)),
    }
}

fn ebpf(toolchain: Toolchain) -> Item {
    const NAME: &str = "eBPF clippy";
    let file = compiler::sysroot(toolchain).map(|sysroot| sysroot.join("bin/cargo-clippy"));
    if let Some(file) = file.filter(|file| file.is_file()) {
        return Item::found(NAME, file.display().to_string());
    }
    match toolchain {
        Toolchain::Bpf => match apt::install(&[PACKAGE]) {
            Ok(()) => Item::did(NAME, format!("installed {PACKAGE}")),
            Err(apt::Refused { why, remedy }) => Item::missing(NAME, why, remedy),
        },
        Toolchain::Nightly => {
            let mut add = program("rustup");
            add.args(["component", "add", "clippy", "--toolchain", toolchain.name()]);
            match output(&mut add) {
                Ok(_) => Item::did(NAME, cargo::shown(&add)),
                Err(error) => Item::missing(NAME, format!("{error:#}"), cargo::shown(&add)),
            }
        }
    }
}
