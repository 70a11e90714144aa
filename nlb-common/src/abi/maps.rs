//! The names of the maps and of the constants that are patched at load time, and the maps' default sizes.

/// Names, as in the object file and on the bpffs.
pub mod name {
    /// Array of one [`Meta`](crate::abi::meta::Meta).
    pub const META: &str = "META";
    /// IPv4 address to [`LocalAddress`](crate::abi::vip::LocalAddress).
    pub const ADDRESSES_V4: &str = "ADDRESSES_V4";
    /// IPv6 address to [`LocalAddress`](crate::abi::vip::LocalAddress).
    pub const ADDRESSES_V6: &str = "ADDRESSES_V6";
    /// Array of [`Snat`](crate::abi::vip::Snat).
    pub const SNATS_V4: &str = "SNATS_V4";
    /// Array of [`Snat`](crate::abi::vip::Snat).
    pub const SNATS_V6: &str = "SNATS_V6";
    /// [`ListenerKey`](crate::abi::listener::ListenerKey) to listener number.
    pub const LISTENER_INDEX: &str = "LISTENER_INDEX";
    /// Array of [`Listener`](crate::abi::listener::Listener).
    pub const LISTENERS: &str = "LISTENERS";
    /// Array of [`Service`](crate::abi::service::Service).
    pub const SERVICES: &str = "SERVICES";
    /// Array of wheel slots.
    pub const ARENA: &str = "ARENA";
    /// Array of [`Backend`](crate::abi::backend::Backend).
    pub const BACKENDS: &str = "BACKENDS";
    /// Array of [`Egress`](crate::abi::backend::Egress).
    pub const EGRESSES: &str = "EGRESSES";
    /// Array of [`FlowSet`](crate::abi::flow::FlowSet).
    pub const FLOWS_V4: &str = "FLOWS_V4";
    /// Array of [`FlowSet`](crate::abi::flow::FlowSet).
    pub const FLOWS_V6: &str = "FLOWS_V6";
    /// Array of [`ConnV4`](crate::abi::conn::ConnV4).
    pub const CONNS_V4: &str = "CONNS_V4";
    /// Array of [`ConnV6`](crate::abi::conn::ConnV6).
    pub const CONNS_V6: &str = "CONNS_V6";
    /// Per-CPU array of `u64`, one for each [`Verdict`](crate::verdict::Verdict).
    pub const VERDICTS: &str = "VERDICTS";
    /// Per-CPU array of [`Traffic`](crate::abi::counters::Traffic).
    pub const LISTENER_COUNTERS: &str = "LISTENER_COUNTERS";
    /// Per-CPU array of [`Traffic`](crate::abi::counters::Traffic).
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";

    /// All of them.
    pub const ALL: [&str; 18] = [
        META,
        ADDRESSES_V4,
        ADDRESSES_V6,
        SNATS_V4,
        SNATS_V6,
        LISTENER_INDEX,
        LISTENERS,
        SERVICES,
        ARENA,
        BACKENDS,
        EGRESSES,
        FLOWS_V4,
        FLOWS_V6,
        CONNS_V4,
        CONNS_V6,
        VERDICTS,
        LISTENER_COUNTERS,
        BACKEND_COUNTERS,
    ];
}

/// Name of the constant that holds the seed of the packet hash.
pub const HASH_SEED: &str = "HASH_SEED";
/// Name of the constant that holds the flow tables' number of sets minus one.
pub const FLOW_MASK: &str = "FLOW_MASK";
/// Name of the constant that says whether frames go back to their interface by a redirect instead of `XDP_TX`.
pub const REDIRECT_TO_SELF: &str = "REDIRECT_TO_SELF";
/// Name of the program.
pub const PROGRAM: &str = "nlb";

/// Addresses of one family: VIPs and SNAT addresses.
pub const MAX_ADDRESSES: u32 = 4096;
/// SNAT addresses of one family. A connection table has 65 536 entries for each.
pub const MAX_SNATS: u32 = 4;
/// Listener numbers; a listener of a balancer with several VIPs has one for each VIP.
pub const MAX_LISTENERS: u32 = 8192;
/// Backend service numbers.
pub const MAX_SERVICES: u32 = 4096;
/// Wheel slots of all services.
pub const MAX_SLOTS: u32 = 1 << 20;
/// Backend numbers.
pub const MAX_BACKENDS: u32 = 1 << 15;
/// Ways out.
pub const MAX_EGRESSES: u32 = 1024;
/// Sets of one family's flow table: as many entries as the connection table has, four times over, so that a set
/// overflows next to never.
pub const FLOW_SETS: u32 = MAX_SNATS * super::conn::PORTS * 4 / super::flow::WAYS as u32;
