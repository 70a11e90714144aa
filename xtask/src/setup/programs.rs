//! The programs that worlds of network namespaces are made of.

use super::{apt, item::Item};
use crate::cargo;

/// A program and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] =
    &[("ip", "iproute2"), ("ethtool", "ethtool"), ("nginx", "nginx"), ("curl", "curl")];

/// Finds or installs the programs, all packages in one go.
pub(super) fn prepare() -> Vec<Item> {
    let (found, absent): (Vec<_>, Vec<_>) =
        PROGRAMS.iter().partition(|(program, _)| cargo::find(program).is_some());
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
