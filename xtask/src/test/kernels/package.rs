//! Debian's kernels: which package is the newest of a series, and what of it is kept.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};

use crate::cargo::{output, program, shown};

/// A kernel to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// What `uname -r` will say.
    pub(super) release: String,
    /// The image that is booted.
    pub(super) image: PathBuf,
    /// The module for veth, which Debian does not build in; maybe compressed by xz.
    pub(super) veth: PathBuf,
}

/// The newest kernel of a series like `6.1`, which is kept in `cache/<package version>/`.
///
/// # Errors
/// apt knows no such package, or it cannot be downloaded or unpacked.
pub(super) fn fetch(series: &str, cache: &Path) -> Result<Kernel> {
    // A fresh machine has no package lists, an old one lists packages that are gone.
    look_up_and_fetch(series, cache).or_else(|error| {
        output(program("apt-get").args(["-o", "DPkg::Lock::Timeout=300", "update", "--quiet"]))
            .with_context(|| format!("{error:#}; with apt's lists renewed it might go better, but"))?;
        look_up_and_fetch(series, cache)
    })
}

fn look_up_and_fetch(series: &str, cache: &Path) -> Result<Kernel> {
    let pattern = format!(r"^linux-image-{}\.[^ ]*-amd64(-unsigned)?$", series.replace('.', r"\."));
    let found = output(program("apt-cache").args(["search", "--names-only", &pattern]))?;
    let names = found.lines().filter_map(|line| line.split(' ').next());
    let Some(package) = newest(series, names) else {
        bail!(
            "apt knows no package with a Linux {series} (linux-image-{series}.*-amd64); \
             a Debian release that has one must be among apt's sources"
        );
    };
    let about = output(program("apt-cache").args(["show", "--no-all-versions", package]))?;
    let version = about.lines().find_map(|line| line.strip_prefix("Version: "));
    let version = version.with_context(|| format!("`apt-cache show {package}` tells no version"))?;
    let directory = cache.join(version);
    if !directory.is_dir() {
        download(package, &directory).with_context(|| format!("cannot get {package} {version}"))?;
    }
    unpacked(&directory)
}

/// The newest of these packages: the signed one, if a version is there in both ways. Those for clouds or for real
/// time, debugging symbols and packages without a kernel of their own are left out.
fn newest<'a>(series: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let of_series = names.filter_map(|name| {
        let rest = name.strip_prefix("linux-image-")?;
        let (version, signed) = match rest.strip_suffix("-unsigned") {
            Some(rest) => (rest, false),
            None => (rest, true),
        };
        let version = version.strip_suffix("-amd64")?;
        version.strip_prefix(series)?.strip_prefix('.')?;
        Some(((numbers(version)?, signed), name))
    });
    of_series.max().map(|(_, name)| name)
}

/// The numbers of a version such as `6.1.0-56` or `6.12.117+deb12`; nothing if it is of another make.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let words = version.split(['.', '-', '+']).map(|word| {
        let digits = word.trim_start_matches("deb").trim_start_matches("bpo");
        // Debian's mark of a backport may come without a number.
        if digits.is_empty() { Some(0) } else { digits.parse().ok() }
    });
    words.collect()
}

/// Downloads a package and keeps of it in `directory` what is needed here, a small part of it.
fn download(package: &str, directory: &Path) -> Result<()> {
    let mut partial = directory.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // A killed run may have left it.
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    println!("...      downloading {package}");
    let mut download = program("apt-get");
    // apt verifies what it gets, whatever the host's configuration lets pass. As root it would become another user, who
    // may not write here.
    download.args(["download", "--quiet", "-o", "APT::Get::AllowUnauthenticated=false"]);
    download.args(["-o", "APT::Sandbox::User=root", package]).current_dir(&partial);
    output(&mut download).context("the download failed")?;

    let deb = files(&partial)?.into_iter().find(|file| file.extension().is_some_and(|ext| ext == "deb"));
    let deb = deb.with_context(|| format!("`{}` left no .deb", shown(&download)))?;
    let mut contents = program("dpkg-deb");
    contents.arg("--fsys-tarfile").arg(&deb).stdout(Stdio::piped());
    let mut packing = contents.spawn().with_context(|| format!("cannot start {}", shown(&contents)))?;
    let tar = packing.stdout.take().expect("stdout is piped");
    let mut unpack = program("tar");
    unpack.args(["-x", "--wildcards", "./boot/vmlinuz-*", "*/veth.ko*"]).current_dir(&partial).stdin(tar);
    let unpacked = output(&mut unpack);
    // It holds the pipe's other end, without which dpkg-deb would wait for a tar that gave up.
    drop(unpack);
    let status = packing.wait().with_context(|| format!("cannot wait for {}", shown(&contents)))?;
    unpacked.with_context(|| format!("{} holds no kernel", deb.display()))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(&contents));
    }
    fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    fs::rename(&partial, directory)
        .with_context(|| format!("cannot rename {} to {}", partial.display(), directory.display()))
}

/// The kernel that was unpacked into a directory.
fn unpacked(directory: &Path) -> Result<Kernel> {
    let incomplete = || format!("{} is incomplete; remove it and try again", directory.display());
    let image = files(&directory.join("boot"))?.into_iter().next().with_context(incomplete)?;
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let release = name.strip_prefix("vmlinuz-").with_context(incomplete)?.to_owned();
    let drivers = ["lib", "usr/lib"]
        .map(|lib| directory.join(lib).join("modules").join(&release).join("kernel/drivers/net"));
    let drivers = drivers.into_iter().find(|drivers| drivers.is_dir()).with_context(incomplete)?;
    let veth = files(&drivers)?.into_iter().next().with_context(incomplete)?;
    Ok(Kernel { release, image, veth })
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = directory.read_dir().with_context(|| format!("cannot read {}", directory.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Kernel, newest, numbers, unpacked};

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let rows: &[(&str, Option<&[u32]>)] = &[
            ("6.1.0-56", Some(&[6, 1, 0, 56])),
            ("6.12.117+deb12", Some(&[6, 12, 117, 12])),
            ("6.12.9+bpo", Some(&[6, 12, 9, 0])),
            ("6.1.0-56-cloud", None),
            ("6.1.0-56-rt", None),
        ];
        for (version, expected) in rows {
            assert_eq!(numbers(version).as_deref(), *expected, "{version}");
        }
    }

    #[test]
    fn image_and_module_are_found_in_what_was_unpacked_and_half_a_package_is_none() {
        for lib in ["lib", "usr/lib"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            let image = path.join("boot/vmlinuz-6.1.0-56-amd64");
            let veth = path.join(lib).join("modules/6.1.0-56-amd64/kernel/drivers/net/veth.ko");
            fs::create_dir_all(path.join("boot")).unwrap();
            fs::write(&image, "").unwrap();
            let error = unpacked(path).unwrap_err().to_string();
            assert_eq!(error, format!("{} is incomplete; remove it and try again", path.display()));
            fs::create_dir_all(veth.parent().unwrap()).unwrap();
            fs::write(&veth, "").unwrap();
            let release = "6.1.0-56-amd64".to_owned();
            assert_eq!(unpacked(path).unwrap(), Kernel { release, image, veth });
        }
    }

    #[test]
    fn the_newest_kernel_of_a_series_is_chosen() {
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            (
                "6.1",
                &[
                    "linux-image-6.1.0-9-amd64",
                    "linux-image-6.1.0-56-amd64",
                    "linux-image-6.1.0-47-amd64",
                    "linux-image-6.1.0-60-amd64-dbg",
                    "linux-image-6.1.0-60-cloud-amd64",
                    "linux-image-6.1.0-60-rt-amd64",
                    "linux-image-6.12.117+deb12-amd64",
                ],
                Some("linux-image-6.1.0-56-amd64"),
            ),
            (
                "6.12",
                &[
                    "linux-image-6.12-amd64",
                    "linux-image-6.12.9+bpo-amd64",
                    "linux-image-6.12.107+deb12-amd64",
                    "linux-image-6.12.117+deb12-amd64",
                    "linux-image-6.12.117+deb12-amd64-unsigned",
                    "linux-image-6.12.118+deb12-cloud-amd64-unsigned",
                    "linux-image-6.1.0-56-amd64",
                ],
                Some("linux-image-6.12.117+deb12-amd64"),
            ),
            (
                "6.12",
                &["linux-image-6.12.7-amd64", "linux-image-6.12.11-amd64-unsigned"],
                Some("linux-image-6.12.11-amd64-unsigned"),
            ),
            ("6.12", &["linux-image-6.12-amd64", "linux-image-6.1.0-56-amd64"], None),
            ("6.1", &[], None),
        ];
        for (series, names, expected) in rows {
            assert_eq!(newest(series, names.iter().copied()), *expected, "{series}: {names:?}");
        }
    }
}
