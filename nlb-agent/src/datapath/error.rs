use std::{io, path::PathBuf};

/// What can go wrong between the agent and the kernel.
///
/// The text of an error ends with its cause; what a person can do about it stands before.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The tables were made with another seed.
    #[error(
        "the tables in {} were made with another hash_seed: remove hash_seed from the configuration, or run \
         `nlb-agent detach` first, which ends all connections", path.display()
    )]
    Seed {
        /// The pin directory.
        path: PathBuf,
    },
    /// Missing rights.
    #[error(
        "not permitted to load BPF programs: run nlb-agent as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    NotPermitted,
    /// The pin directory is not on a BPF file system.
    #[error("{} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or name another with --bpffs", path.display())]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// The pin directory cannot be made or read.
    #[error("cannot use the pin directory {}: {cause}", path.display())]
    PinDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// Another agent holds the pin directory.
    #[error("another agent works on {}: stop it, or give this one its own --bpffs", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The pinned maps are of another version.
    #[error(
        "the maps pinned in {} have layout {found}, this agent has layout {expected}: go back to the agent that made \
         them, or end their connections with `nlb-agent detach` and start again",
        path.display()
    )]
    Layout {
        /// The directory.
        path: PathBuf,
        /// Version of the maps.
        found: u32,
        /// Version of the agent.
        expected: u32,
    },
    /// The object file does not load.
    #[error("cannot make the datapath's maps (kernel {kernel}; nlb needs Linux 6.1 or newer): {cause}")]
    Maps {
        /// The kernel's release.
        kernel: String,
        /// What aya said.
        cause: String,
    },
    /// The verifier refuses the program.
    #[error("the kernel ({kernel}; nlb needs Linux 6.1 or newer) refuses the program: {cause}")]
    Refused {
        /// The kernel's release.
        kernel: String,
        /// What the verifier said, its end.
        cause: String,
    },
    /// An interface does not exist.
    #[error("there is no interface {interface}: see `ip link`")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The driver has no XDP.
    #[error("{interface} cannot run XDP in {mode} mode: {cause}{hint}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode asked for.
        mode: &'static str,
        /// What the kernel said.
        cause: String,
        /// What to do about it, after "; ", or nothing.
        hint: &'static str,
    },
    /// Another XDP program is there.
    #[error(
        "another XDP program is attached to {interface}: remove it with `ip link set dev {interface} xdp off`"
    )]
    Occupied {
        /// The interface.
        interface: String,
    },
    /// An operation on a map failed.
    #[error("cannot {operation} map {map}: {cause}")]
    Map {
        /// Read, write, ...
        operation: &'static str,
        /// The map.
        map: &'static str,
        /// What the kernel said.
        cause: String,
    },
    /// A map cannot hold more.
    #[error("map {map} is full: it holds {capacity} {what}")]
    Full {
        /// The map.
        map: &'static str,
        /// Its size.
        capacity: u32,
        /// What it holds.
        what: &'static str,
    },
    /// A map holds what no agent writes.
    #[error("map {map} holds at {index} what no agent writes: {what}")]
    Corrupt {
        /// The map.
        map: &'static str,
        /// The entry.
        index: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A test asked for a failure.
    #[error("injected failure")]
    Injected,
}
