//! Removes what the worlds of processes left behind that were killed before they could clean up.

use std::{env, fs, os::unix::fs::MetadataExt as _, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    PREFIX,
    namespace::{DIRECTORY, ip},
};
use crate::agent::BPFFS;

/// Removes namespaces, with the processes in them, bpffs directories and files whose makers are gone. It is no error
/// if that does not work: names of worlds are unique.
pub(super) fn remove() {
    remove_made_by(|pid| !Path::new("/proc").join(pid).exists());
}

/// Removes all worlds of this process at once, for a process that is about to exit without dropping them.
pub fn remove_own() {
    let own = std::process::id().to_string();
    remove_made_by(|pid| pid == own);
}

fn remove_made_by(chosen: impl Fn(&str) -> bool) {
    let names = |directory: &Path| names(directory, &chosen);
    for name in names(Path::new(DIRECTORY)) {
        end_processes(&Path::new(DIRECTORY).join(&name));
        let _ = ip(&["netns", "delete", &name], "");
    }
    for directory in [Path::new(BPFFS), &env::temp_dir()] {
        for name in names(directory) {
            let _ = fs::remove_dir_all(directory.join(name));
        }
    }
}

/// The names of our making in `directory` whose maker is chosen.
fn names(directory: &Path, chosen: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| maker(name).is_some_and(&chosen)).collect()
}

/// The process id in a name: `nlb-test-<pid>-…`.
fn maker(name: &str) -> Option<&str> {
    let pid = name.strip_prefix(PREFIX)?.split('-').next()?;
    pid.bytes().all(|byte| byte.is_ascii_digit()).then_some(pid)
}

/// Kills what still runs in an abandoned namespace.
fn end_processes(namespace: &Path) {
    let (Ok(namespace), Ok(entries)) = (fs::metadata(namespace), fs::read_dir("/proc")) else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let lives_there = fs::metadata(entry.path().join("ns/net"))
            .is_ok_and(|own| (own.dev(), own.ino()) == (namespace.dev(), namespace.ino()));
        if lives_there {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::maker;

    #[test]
    fn only_names_of_worlds_have_a_maker() {
        let rows = [("nlb-test-42-0-split-client", Some("42")), ("nlb-test-x-0", None), ("blue", None)];
        for (name, expected) in rows {
            assert_eq!(maker(name), expected, "{name}");
        }
    }
}
