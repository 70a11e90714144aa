//! bpf-linker, which turns the compiler's bitcode into an eBPF object.

use std::path::{Path, PathBuf};

use super::{
    apt,
    compiler::{self, Toolchain},
    item::Item,
};
use crate::cargo::{self, cargo, output, program};

const NAME: &str = "bpf-linker";
/// The version whose LLVM features [`install`] knows.
const VERSION: &str = "0.13.0";

/// Finds a bpf-linker whose LLVM is at least that of `toolchain`'s compiler, or builds one.
pub(super) fn prepare(toolchain: Toolchain) -> Item {
    let Some(compiler) = compiler::version(toolchain) else {
        return Item::missing(NAME, "the eBPF compiler does not tell its LLVM", "cargo xtask setup");
    };
    if let Some(file) = cargo::find(NAME) {
        match llvm(&file) {
            Some(Llvm::Shared(llvm)) if llvm >= compiler.llvm => {
                return Item::found(NAME, format!("{}, LLVM {llvm}", file.display()));
            }
            Some(Llvm::Unknown) => {
                return Item::found(NAME, format!("{}, of an LLVM that it does not tell", file.display()));
            }
            // Too old for the compiler's bitcode, or it does not run at all.
            Some(Llvm::Shared(_)) | None => {}
        }
    }
    match install(compiler.llvm) {
        Ok(did) => Item::did(NAME, did),
        Err(apt::Refused { why, remedy }) => Item::missing(NAME, why, remedy),
    }
}

/// Which LLVM a bpf-linker uses.
enum Llvm {
    /// A shared library of this major version.
    Shared(u32),
    /// One it was linked with statically.
    Unknown,
}

/// The linker's LLVM; nothing if the linker does not run, for instance because its LLVM is gone.
fn llvm(linker: &Path) -> Option<Llvm> {
    output(program(linker).arg("--version")).ok()?;
    let libraries = output(program("ldd").arg(linker)).unwrap_or_default();
    Some(shared_llvm(&libraries).map_or(Llvm::Unknown, Llvm::Shared))
}

fn shared_llvm(libraries: &str) -> Option<u32> {
    let (_, rest) = libraries.split_once("libLLVM")?;
    let digits: String =
        rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn install(llvm: u32) -> Result<String, apt::Refused> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let [llvm_dev, polly_dev] = [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    let mut needed = Vec::new();
    if !prefix.join("bin/llvm-config").exists() {
        needed.push(llvm_dev.as_str());
    }
    if !prefix.join("lib/libPolly.a").exists() {
        needed.push(polly_dev.as_str());
    }
    if !Path::new("/usr/include/zstd.h").exists() {
        needed.push("libzstd-dev");
    }
    if cargo::find("c++").is_none() {
        needed.push("g++");
    }
    if !needed.is_empty() {
        apt::install(&needed)?;
    }

    println!("...      building bpf-linker {VERSION} with LLVM {llvm} (about a minute)");
    let feature = format!("llvm-{llvm}");
    let mut command = cargo(["install", NAME, "--version", VERSION, "--locked", "--force", "--quiet"]);
    command.args(["--no-default-features", "--features", &feature]).env("LLVM_PREFIX", &prefix);
    output(&mut command).map_err(|error| apt::Refused {
        why: format!("{error:#}"),
        remedy: format!("LLVM_PREFIX={} {}", prefix.display(), cargo::shown(&command)),
    })?;
    let packages = if needed.is_empty() { String::new() } else { format!("{}, ", needed.join(" ")) };
    Ok(format!("installed {packages}bpf-linker {VERSION} with LLVM {llvm}"))
}

#[cfg(test)]
mod tests {
    use super::shared_llvm;

    #[test]
    fn the_llvm_of_a_linker_is_read_from_its_libraries() {
        let rows = [
            ("libLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x1)", Some(22)),
            ("libLLVM-19.so => /usr/lib/libLLVM-19.so (0x1)", Some(19)),
            ("libc.so.6 => /lib/libc.so.6 (0x1)", None),
        ];
        for (libraries, expected) in rows {
            assert_eq!(shared_llvm(libraries), expected, "{libraries}");
        }
    }
}
