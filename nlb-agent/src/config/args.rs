use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Parser, Subcommand, ValueEnum};

use super::{
    Api, Config, DnatCapacity, FlowCapacity, HashSeed, InterfaceName, Nat, PersistenceCapacity, SnatCapacity,
    XdpMode,
};
use crate::model::field::address;

/// The agent of nlb: balances the connections that arrive at its interfaces.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "nlb-agent", version)]
pub struct Args {
    /// Configuration file; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Interface to attach to; repeatable
    #[arg(long = "interface", value_name = "IF")]
    pub interfaces: Vec<InterfaceName>,

    /// How to attach [default: auto]
    #[arg(long, value_enum)]
    pub xdp_mode: Option<XdpMode>,

    /// Where the desired state is kept [default: /var/lib/nlb]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Where programs, links and maps are pinned [default: /sys/fs/bpf/nlb]
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,

    /// Manifest to apply at start; repeatable
    #[arg(long = "manifest", value_name = "FILE")]
    pub manifests: Vec<PathBuf>,

    /// Unix socket of the API [default: /run/nlb/agent.sock]
    #[arg(long, value_name = "PATH")]
    pub api_unix: Option<PathBuf>,

    /// Address and port of /metrics [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<SocketAddr>,

    /// Source address that servers see; repeatable [default: the addresses of the egress interface]
    #[arg(long = "nat-source-address", value_name = "ADDRESS", value_parser = address::parse)]
    pub nat_source_addresses: Vec<IpAddr>,

    /// How many source addresses of a family there shall be room for, 1-256 [default: 4, or as many as are given]
    #[arg(long, value_name = "ADDRESSES")]
    pub nat_max_addresses: Option<SnatCapacity>,

    /// How many flows are remembered at a time, 1024-67108864 [default: 1048576]
    #[arg(long, value_name = "ENTRIES")]
    pub flows: Option<FlowCapacity>,

    /// How many clients are remembered for session persistence, 1024-16777216 [default: 262144]
    #[arg(long, value_name = "ENTRIES")]
    pub persistence_entries: Option<PersistenceCapacity>,

    /// How many connections of forwarding dnat are known at a time, of each family, 1024-16777216 [default: 65536]
    #[arg(long, value_name = "CONNECTIONS")]
    pub dnat_connections: Option<DnatCapacity>,

    /// What the hash of packets starts from, decimal or 0x...; the same on all nodes of a dnlb [default: random]
    #[arg(long, value_name = "SEED")]
    pub hash_seed: Option<HashSeed>,

    /// What log lines look like
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives like info,nlb_agent::health=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = directives)]
    pub log: String,

    /// What to do instead of balancing
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the agent can do beside balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Remove programs, links and pins from this host; balancing ends
    Detach,
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: an object per line.
    Json,
}

impl Args {
    /// What is given here wins over `config`.
    pub(super) fn over(&self, config: Config) -> Config {
        let Self {
            config: _,
            interfaces,
            xdp_mode,
            state_dir,
            bpffs,
            manifests,
            api_unix,
            http,
            nat_source_addresses,
            nat_max_addresses,
            flows,
            persistence_entries,
            dnat_connections,
            hash_seed,
            log_format: _,
            log: _,
            command: _,
        } = self;
        Config {
            interfaces: given(interfaces).unwrap_or(config.interfaces),
            xdp_mode: xdp_mode.unwrap_or(config.xdp_mode),
            state_dir: state_dir.clone().unwrap_or(config.state_dir),
            bpffs: bpffs.clone().unwrap_or(config.bpffs),
            manifests: given(manifests).unwrap_or(config.manifests),
            api: Api { unix: api_unix.clone().unwrap_or(config.api.unix) },
            http: http.or(config.http),
            nat: Nat {
                source_addresses: given(nat_source_addresses).unwrap_or(config.nat.source_addresses),
                max_addresses: nat_max_addresses.unwrap_or(config.nat.max_addresses),
            },
            flows: flows.unwrap_or(config.flows),
            persistence_entries: persistence_entries.unwrap_or(config.persistence_entries),
            dnat_connections: dnat_connections.unwrap_or(config.dnat_connections),
            hash_seed: hash_seed.or(config.hash_seed),
        }
    }
}

/// A repeatable flag counts if it is there at all; it replaces the file's list.
fn given<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn directives(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    tracing_subscriber::EnvFilter::builder().parse(text).map(|_filter| text.to_owned())
}
