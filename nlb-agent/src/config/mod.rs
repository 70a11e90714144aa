//! What the agent is started with: a file, and flags that win over it. Also the reader of [`manifest`]s.

mod args;
mod capacity;
mod file;
mod hash_seed;
pub mod manifest;
mod yaml;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use nlb_common::abi::{
    conn::PORTS,
    maps::{DEFAULT_DNATS, DEFAULT_SNATS, MAX_SNATS},
};
use serde::{Deserialize, Serialize};

pub use self::{
    args::{Args, Command, LogFormat},
    capacity::{Capacity, DnatCapacity, FlowCapacity, InvalidCapacity, PersistenceCapacity, SnatCapacity},
    file::{ConfigError, InterfaceName},
    hash_seed::{HashSeed, InvalidHashSeed},
    yaml::Located,
};

use crate::datapath::{Family, Slots};

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where XDP is attached; at least one, unless the agent is to detach.
    pub interfaces: Vec<InterfaceName>,
    /// How XDP is attached.
    pub xdp_mode: XdpMode,
    /// Where the desired state is kept.
    pub state_dir: PathBuf,
    /// Where programs, links and maps are pinned.
    pub bpffs: PathBuf,
    /// Manifests that are applied at start, before the API opens.
    pub manifests: Vec<PathBuf>,
    /// The gRPC interface.
    pub api: Api,
    /// Where `/metrics` is served; absent: nowhere.
    pub http: Option<SocketAddr>,
    /// Address translation.
    pub nat: Nat,
    /// How many flows are remembered at a time.
    pub flows: FlowCapacity,
    /// How many clients are remembered for session persistence at a time.
    pub persistence_entries: PersistenceCapacity,
    /// How many connections of `dnat` are known at a time, of each family.
    pub dnat_connections: DnatCapacity,
    /// What the hash of packets starts from; absent: a random number, chosen when the maps are made. Nodes of a dnlb
    /// must agree in it. Maps that were made with another one are not adopted.
    pub hash_seed: Option<HashSeed>,
}

/// The gRPC interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Its unix socket.
    pub unix: PathBuf,
}

/// Address translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// The source addresses that servers see; empty: the addresses of the egress interface.
    pub source_addresses: Vec<IpAddr>,
    /// How many addresses of a family there shall be room for, if more may be listed some day.
    pub max_addresses: SnatCapacity,
}

impl Default for Nat {
    fn default() -> Self {
        Self { source_addresses: Vec::new(), max_addresses: SnatCapacity::constant(DEFAULT_SNATS) }
    }
}

impl Config {
    /// The slots that the connection tables shall have: room for all the addresses that are listed.
    pub fn slots(&self) -> Slots {
        let Nat { source_addresses, max_addresses } = &self.nat;
        let room = |family: Family| {
            let listed = source_addresses.iter().filter(|address| Family::of(**address) == family);
            u32::try_from(listed.count()).unwrap_or(u32::MAX).clamp(max_addresses.get(), MAX_SNATS)
        };
        Slots { snats: Family::ALL.map(room), dnats: self.dnat_connections.get().div_ceil(PORTS) }
    }
}

/// How XDP is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver where it can, else like `skb`.
    #[default]
    Auto,
    /// In the driver, before the kernel allocates anything.
    Driver,
    /// In the kernel's receive path; works everywhere, slower.
    Skb,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            xdp_mode: XdpMode::default(),
            state_dir: "/var/lib/nlb".into(),
            bpffs: "/sys/fs/bpf/nlb".into(),
            manifests: Vec::new(),
            api: Api { unix: "/run/nlb/agent.sock".into() },
            http: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            nat: Nat::default(),
            flows: FlowCapacity::constant(1 << 20),
            persistence_entries: PersistenceCapacity::constant(1 << 18),
            dnat_connections: DnatCapacity::constant(DEFAULT_DNATS * PORTS),
            hash_seed: None,
        }
    }
}

impl Config {
    /// The defaults, overridden by the file, overridden by the flags.
    ///
    /// # Errors
    /// The file cannot be read or is wrong (with file, line and field), or an interface is missing.
    pub fn load(args: &Args) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
        let config = file.over(Self::default());
        let config = args.over(config);
        // `detach` finds what is attached by its pins.
        if config.interfaces.is_empty() && args.command.is_none() {
            return Err(ConfigError::NoInterface);
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = config.interfaces.iter().find(|interface| !seen.insert(*interface)) {
            return Err(ConfigError::InterfaceTwice(twice.clone()));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
