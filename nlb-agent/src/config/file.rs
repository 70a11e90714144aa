use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer};

use super::{
    Api, Config, DnatCapacity, FlowCapacity, HashSeed, Located, Nat, PersistenceCapacity, SnatCapacity,
    XdpMode, yaml,
};
use crate::model::field::{address, from_text};

/// The agent cannot start as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file says something wrong.
    #[error(transparent)]
    Wrong(Located),
    /// There is nothing to attach to.
    #[error("interfaces: none given: name at least one, with --interface or in the configuration file")]
    NoInterface,
    /// XDP attaches once to an interface.
    #[error("interfaces: {0} is listed twice")]
    InterfaceTwice(InterfaceName),
}

/// The name of a network interface, as Linux allows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(Arc<str>);

/// No interface can have this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no interface name: 1-15 characters, no spaces, no '/' and no ':'")]
pub struct InvalidInterfaceName(String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = InvalidInterfaceName;

    /// The rules are those of `dev_valid_name` in the kernel (net/core/dev.c).
    fn from_str(text: &str) -> Result<Self, InvalidInterfaceName> {
        let is_legal = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
        let valid =
            (1..=15).contains(&text.len()) && text != "." && text != ".." && text.chars().all(is_legal);
        if valid { Ok(Self(text.into())) } else { Err(InvalidInterfaceName(text.to_owned())) }
    }
}

impl<'de> Deserialize<'de> for InterfaceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file as it is written: what is absent is left to the defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    interfaces: Vec<InterfaceName>,
    xdp_mode: Option<XdpMode>,
    state_dir: Option<PathBuf>,
    bpffs: Option<PathBuf>,
    manifests: Vec<PathBuf>,
    api: FileApi,
    #[serde(deserialize_with = "http")]
    http: Option<Http>,
    nat: FileNat,
    flows: Option<FlowCapacity>,
    persistence_entries: Option<PersistenceCapacity>,
    dnat_connections: Option<DnatCapacity>,
    hash_seed: Option<HashSeed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileApi {
    unix: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileNat {
    #[serde(deserialize_with = "address::deserialize_list")]
    source_addresses: Vec<IpAddr>,
    max_addresses: Option<SnatCapacity>,
}

/// `http: null` switches it off; no `http` leaves the default.
#[derive(Debug)]
enum Http {
    Off,
    At(SocketAddr),
}

/// Where `/metrics` should be served is no address and port.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no address and port, like 127.0.0.1:9464 or \"[::1]:9464\"; null: off")]
struct InvalidHttp(String);

impl FromStr for Http {
    type Err = InvalidHttp;

    fn from_str(text: &str) -> Result<Self, InvalidHttp> {
        text.parse().map(Self::At).map_err(|_| InvalidHttp(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Http {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

fn http<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Http>, D::Error> {
    Option::deserialize(deserializer).map(|http| Some(http.unwrap_or(Http::Off)))
}

impl File {
    /// What is given here wins over `config`.
    pub(super) fn over(self, config: Config) -> Config {
        let Self {
            interfaces,
            xdp_mode,
            state_dir,
            bpffs,
            manifests,
            api,
            http,
            nat,
            flows,
            persistence_entries,
            dnat_connections,
            hash_seed,
        } = self;
        Config {
            interfaces,
            xdp_mode: xdp_mode.unwrap_or(config.xdp_mode),
            state_dir: state_dir.unwrap_or(config.state_dir),
            bpffs: bpffs.unwrap_or(config.bpffs),
            manifests,
            api: Api { unix: api.unix.unwrap_or(config.api.unix) },
            http: match http {
                None => config.http,
                Some(Http::Off) => None,
                Some(Http::At(at)) => Some(at),
            },
            nat: Nat {
                source_addresses: nat.source_addresses,
                max_addresses: nat.max_addresses.unwrap_or(config.nat.max_addresses),
            },
            flows: flows.unwrap_or(config.flows),
            persistence_entries: persistence_entries.unwrap_or(config.persistence_entries),
            dnat_connections: dnat_connections.unwrap_or(config.dnat_connections),
            hash_seed: hash_seed.or(config.hash_seed),
        }
    }
}

/// Reads the file; an empty one says nothing.
pub(super) fn read(path: &Path) -> Result<File, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
    let file: Option<File> =
        yaml::document(&path.display().to_string(), serde_yaml::Deserializer::from_str(&text))
            .map_err(ConfigError::Wrong)?;
    Ok(file.unwrap_or_default())
}
