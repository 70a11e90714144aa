//! A cpio archive of the "newc" kind, the one that Linux unpacks as its first root file system (its
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

/// File types, as in `stat(2)`.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// What ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// An archive in the making. Paths are taken as from the root, whether they begin with a slash or not.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// How many entries there are; their inode numbers are counted from one.
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a directory and those above it, unless they are there already.
    pub(super) fn directory(&mut self, path: impl AsRef<Path>) {
        let mut directory = PathBuf::new();
        for name in &names(path.as_ref()) {
            directory.push(name);
            if self.directories.insert(directory.clone()) {
                self.entry(&directory.to_string_lossy(), DIRECTORY | 0o755, &[]);
            }
        }
    }

    /// Adds a file with these permissions, and the directories above it.
    pub(super) fn file(&mut self, path: impl AsRef<Path>, permissions: u32, content: &[u8]) {
        let path = names(path.as_ref());
        if let Some(directory) = path.parent() {
            self.directory(directory);
        }
        self.entry(&path.to_string_lossy(), REGULAR | permissions, content);
    }

    /// The archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("what is packed here is far below 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a path is short");
        let links = 1;
        // Inode, mode, owner, group, links, time, size, device (major, minor), the device that it is (major,
        // minor), the name's size, a checksum that this kind of archive does not have.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").into_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A path from the root, with its `..` followed: an archive has no such thing.
fn names(path: &Path) -> PathBuf {
    let mut names = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => drop(names.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::Archive;

    /// Name, mode and content of each entry, by a reader that knows only the format.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| {
                let digits = &bytes[6 + 8 * index..][..8];
                u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            assert_eq!(bytes[110 + name_size - 1], 0, "a name ends with a zero");
            let name = String::from_utf8(bytes[110..][..name_size - 1].to_vec()).unwrap();
            let content = (110 + name_size).next_multiple_of(4);
            entries.push((name, mode, bytes[content..][..size].to_vec()));
            bytes = &bytes[(content + size).next_multiple_of(4)..];
        }
        entries
    }

    #[test]
    fn directories_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file("/bin/tool", 0o755, b"#!/bin/sh\n");
        archive.file("bin/../a/./b/data", 0o644, b"");
        archive.directory("/a/b/c");
        let entries = read(&archive.finish());
        let entries: Vec<_> =
            entries.iter().map(|(name, mode, content)| (name.as_str(), *mode, content.as_slice())).collect();
        let expected: &[(&str, u32, &[u8])] = &[
            ("bin", 0o040_755, b""),
            ("bin/tool", 0o100_755, b"#!/bin/sh\n"),
            ("a", 0o040_755, b""),
            ("a/b", 0o040_755, b""),
            ("a/b/data", 0o100_644, b""),
            ("a/b/c", 0o040_755, b""),
            ("TRAILER!!!", 0, b""),
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn every_entry_begins_at_a_multiple_of_four() {
        for len in 0..9 {
            let mut archive = Archive::default();
            let content = vec![b'x'; len];
            archive.file("x".repeat(len + 1), 0o644, &content);
            let entries = read(&archive.finish());
            assert_eq!(entries[0].2, content);
            assert_eq!(entries.len(), 2, "{len}");
        }
    }
}
