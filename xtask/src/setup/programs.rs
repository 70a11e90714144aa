//! The programs that worlds of network namespaces and emulated machines are made of.

use super::{apt, item::Item};
use crate::cargo;

/// A program and the Debian package that has it.
type Program = (&'static str, &'static str);

/// What network namespaces need.
pub(super) const WORLDS: &[Program] =
    &[("ip", "iproute2"), ("ethtool", "ethtool"), ("nginx", "nginx"), ("curl", "curl")];

/// What emulated machines need.
pub(super) const EMULATION: &[Program] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("busybox", "busybox-static")];

/// Finds or installs programs, all packages in one go.
pub(super) fn prepare(programs: &[Program]) -> Vec<Item> {
    let (found, absent): (Vec<_>, Vec<_>) =
        programs.iter().partition(|(program, _)| cargo::find(program).is_some());
    let mut items: Vec<Item> = found
        .into_iter()
        .filter_map(|&(program, _)| Some(Item::found(program, cargo::find(program)?.display().to_string())))
        .collect();
    if absent.is_empty() {
        return items;
    }
    let packages: Vec<&str> = absent.iter().map(|(_, package)| *package).collect();
    let installed = apt::install(&packages);
    items.extend(absent.into_iter().map(|&(program, package)| match &installed {
        Ok(()) => Item::did(program, format!("installed {package}")),
        Err(apt::Refused { why, remedy }) => Item::missing(program, why, remedy),
    }));
    items
}
