//! What the running kernel must offer, and the rights to use it.

use std::{fs, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
    unistd::geteuid,
};

use super::item::Item;

/// The oldest kernel nlb is tested on.
const OLDEST: (u32, u32) = (6, 1);
const BTF: &str = "/sys/kernel/btf/vmlinux";
const BPFFS: &str = "/sys/fs/bpf";

/// Checks the kernel and our rights; mounts bpffs.
pub(super) fn prepare() -> Vec<Item> {
    vec![root(), release(), btf(), bpffs()]
}

fn root() -> Item {
    const NAME: &str = "root";
    if geteuid().is_root() {
        return Item::found(NAME, "we are root");
    }
    let why = "network namespaces and eBPF programs need root";
    Item::missing(NAME, why, "the same command as root (sudo -E env \"PATH=$PATH\" cargo xtask …)")
}

fn release() -> Item {
    const NAME: &str = "kernel";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match parse_release(release) {
        Some(version) if version >= OLDEST => Item::found(NAME, release),
        _ => {
            let (major, minor) = OLDEST;
            let why = format!("Linux {release} is older than {major}.{minor}");
            Item::missing(NAME, why, "apt-get install linux-image-amd64 && reboot")
        }
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn btf() -> Item {
    const NAME: &str = "kernel BTF";
    if Path::new(BTF).exists() {
        return Item::found(NAME, BTF);
    }
    let remedy = "reboot, into a kernel built with CONFIG_DEBUG_INFO_BTF=y";
    Item::missing(NAME, format!("no {BTF}"), remedy)
}

fn bpffs() -> Item {
    const NAME: &str = "bpffs";
    if statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC) {
        return Item::found(NAME, BPFFS);
    }
    match mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), None::<&str>) {
        Ok(()) => Item::did(NAME, format!("mounted it at {BPFFS}")),
        Err(errno) => {
            let why = format!("cannot mount it at {BPFFS}: {}", errno.desc());
            Item::missing(NAME, why, format!("mount -t bpf bpf {BPFFS}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_release;

    #[test]
    fn the_first_two_numbers_of_a_release_count() {
        let rows = [
            ("6.1.0-32-amd64", Some((6, 1))),
            ("6.18.44-fc-v509", Some((6, 18))),
            ("5.15", Some((5, 15))),
            ("7.0-rc1", Some((7, 0))),
            ("", None),
            ("linux", None),
        ];
        for (release, expected) in rows {
            assert_eq!(parse_release(release), expected, "{release:?}");
        }
    }
}
