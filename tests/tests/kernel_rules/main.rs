//! The rules of the contract, from manifests to packets: a real agent compiles them into the maps of the real program,
//! which gets packets by `BPF_PROG_TEST_RUN`. Hours pass in seconds: see [`aging`].
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

mod agent;
mod aging;
mod client;
mod datapath;
mod dnlb;
mod draining;
mod hashing;
mod least_connections;
mod overrides;
mod persistence;
mod program;
mod random;
mod round_robin;
mod security_groups;
mod shop;
mod transition;
mod world;
