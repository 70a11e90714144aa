//! The eBPF compiler: a distribution's rustc with a ready-made `core` for `bpfel-unknown-none`, or a
//! nightly rustc with the sources of `core`.

use std::{fmt, path::PathBuf};

use super::{apt, item::Item};
use crate::cargo::{self, output, program};

/// The target triple of the datapath.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

const NAME: &str = "eBPF compiler";
/// Debian's compiler and its ready-made `core`; the prefix they are installed under.
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const PREFIX: &str = "/usr";
/// What `Cargo.toml` asks for as `rust-version`.
const OLDEST: (u32, u32) = (1, 95);

/// A rustup toolchain that can build for [`TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The distribution's compiler, linked into rustup as `bpf`: `core` is ready-made.
    Bpf,
    /// Nightly, which builds `core` from `rust-src`.
    Nightly,
}

impl Toolchain {
    /// Its name in rustup, and the value of `NLB_BPF_TOOLCHAIN`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Nightly => "nightly",
        }
    }

    fn core(self) -> &'static str {
        match self {
            Self::Bpf => "ready-made core",
            Self::Nightly => "core from rust-src",
        }
    }
}

/// A compiler's own account of itself.
pub(super) struct Version {
    major: u32,
    minor: u32,
    release: String,
    /// The major version of its LLVM.
    pub(super) llvm: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rustc {}, LLVM {}", self.release, self.llvm)
    }
}

/// Finds a way to compile for [`TARGET`], or installs Debian's.
pub(super) fn prepare() -> (Item, Option<Toolchain>) {
    if cargo::find("rustup").is_none() {
        let remedy = "curl https://sh.rustup.rs -sSf | sh";
        return (Item::missing(NAME, "no rustup on this machine", remedy), None);
    }
    for toolchain in [Toolchain::Bpf, Toolchain::Nightly] {
        if let Some(version) = usable(toolchain) {
            let what = format!("rustup toolchain `{}`: {version}, {}", toolchain.name(), toolchain.core());
            return (Item::found(NAME, what), Some(toolchain));
        }
    }
    match install() {
        Ok(did) => (Item::did(NAME, did), Some(Toolchain::Bpf)),
        Err(apt::Refused { why, remedy }) => {
            let nightly = "rustup toolchain install nightly --component rust-src";
            (Item::missing(NAME, why, format!("{remedy}   or: {nightly}")), None)
        }
    }
}

/// Its version, if `toolchain` is there, is new enough and has what it makes `core` from.
fn usable(toolchain: Toolchain) -> Option<Version> {
    let version = version(toolchain)?;
    let sysroot = sysroot(toolchain)?;
    let rustlib = sysroot.join("lib/rustlib");
    let has_core = match toolchain {
        Toolchain::Bpf => rustlib.join(TARGET).join("lib").is_dir(),
        Toolchain::Nightly => rustlib.join("src/rust/library/core").is_dir(),
    };
    let new_enough = (version.major, version.minor) >= OLDEST;
    // rustup lends another toolchain's cargo to a linked one without its own, and that one may not know
    // how to talk to this compiler.
    let has_cargo = sysroot.join("bin/cargo").is_file();
    (has_core && new_enough && has_cargo).then_some(version)
}

/// Where the toolchain is installed; nothing if there is no such toolchain.
pub(super) fn sysroot(toolchain: Toolchain) -> Option<PathBuf> {
    let sysroot = output(program("rustup").args(["run", toolchain.name(), "rustc", "--print", "sysroot"]));
    sysroot.ok().map(PathBuf::from)
}

/// What the toolchain's compiler says about itself; nothing if there is no such toolchain.
pub(super) fn version(toolchain: Toolchain) -> Option<Version> {
    let text = output(program("rustup").args(["run", toolchain.name(), "rustc", "-vV"])).ok()?;
    parse_version(&text)
}

fn parse_version(text: &str) -> Option<Version> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:")?;
    let mut numbers = release.split('.').map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return None };
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some(Version { major, minor, release: release.to_owned(), llvm })
}

/// Installs Debian's compiler where it is not yet, and makes it known to rustup as `bpf`.
fn install() -> Result<String, apt::Refused> {
    let prefix = PathBuf::from(PREFIX);
    let here = ["bin/rustc", "bin/cargo", "lib/rustlib/bpfel-unknown-none"].map(|file| prefix.join(file));
    let mut did = Vec::new();
    if !here.iter().all(|file| file.exists()) {
        apt::install(PACKAGES)?;
        did.push(format!("installed {}", PACKAGES.join(" ")));
    }
    let link = ["toolchain", "link", Toolchain::Bpf.name(), PREFIX];
    let remedy = format!("rustup {}", link.join(" "));
    output(program("rustup").args(link))
        .map_err(|error| apt::Refused { why: format!("{error:#}"), remedy: remedy.clone() })?;
    did.push(remedy);
    match usable(Toolchain::Bpf) {
        Some(version) => Ok(format!("{}: {version}", did.join(", "))),
        None => Err(apt::Refused {
            why: format!(
                "{PREFIX}/bin/rustc is older than {}.{} or has no core for {TARGET}",
                OLDEST.0, OLDEST.1
            ),
            remedy: format!(
                "apt-get install --no-install-recommends {} (of a newer Debian)",
                PACKAGES.join(" ")
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn a_compilers_account_of_itself_is_understood() {
        let rows = [
            ("rustc 1.96.0 (x)\nrelease: 1.96.0\nLLVM version: 22.1.8", Some((1, 96, 22))),
            ("release: 1.97.0-nightly\nhost: x\nLLVM version: 23.0", Some((1, 97, 23))),
            ("release: 1.96.0", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let version = parse_version(text).map(|version| (version.major, version.minor, version.llvm));
            assert_eq!(version, expected, "{text:?}");
        }
    }
}
