//! nlb's test bench: worlds of network namespaces with real servers and clients, the agent and its tool as
//! processes. `cargo xtask demo` plays on it, too.

pub mod agent;
pub mod client;
pub mod ctl;
pub mod manifest;
pub mod packet;
pub mod puppet;
pub mod servers;
pub mod tunnel;
pub mod wait;
pub mod world;
