//! The names of the maps and of the constants that are patched at load time, and the maps' default sizes.

/// Names, as in the object file and on the bpffs.
pub mod name {
    /// Array of one [`Meta`](crate::abi::meta::Meta).
    pub const META: &str = "META";
    /// Array of programs: [`programs`](super::programs).
    pub const PROGRAMS: &str = "PROGRAMS";
    /// Array of one [`Clock`](crate::abi::clock::Clock).
    pub const CLOCK: &str = "CLOCK";
    /// Array of `u64`, the words of a [filter](crate::abi::vip::filter).
    pub const ADDRESS_FILTER: &str = "ADDRESS_FILTER";
    /// IPv4 address to [`LocalAddress`](crate::abi::vip::LocalAddress).
    pub const ADDRESSES_V4: &str = "ADDRESSES_V4";
    /// IPv6 address to [`LocalAddress`](crate::abi::vip::LocalAddress).
    pub const ADDRESSES_V6: &str = "ADDRESSES_V6";
    /// [`AclKey`](crate::abi::acl::AclKey) to `u32`, by longest prefix.
    pub const ACLS_V4: &str = "ACLS_V4";
    /// [`AclKey`](crate::abi::acl::AclKey) to `u32`, by longest prefix.
    pub const ACLS_V6: &str = "ACLS_V6";
    /// Array of [`Snat`](crate::abi::vip::Snat).
    pub const SNATS_V4: &str = "SNATS_V4";
    /// Array of [`Snat`](crate::abi::vip::Snat).
    pub const SNATS_V6: &str = "SNATS_V6";
    /// Array of [`ListenerBucket`](crate::abi::listener::ListenerBucket).
    pub const LISTENER_BUCKETS: &str = "LISTENER_BUCKETS";
    /// Array of [`Listener`](crate::abi::listener::Listener).
    pub const LISTENERS: &str = "LISTENERS";
    /// Array of [`Service`](crate::abi::service::Service).
    pub const SERVICES: &str = "SERVICES";
    /// Array of slots of wheels, rings and lists of members.
    pub const ARENA: &str = "ARENA";
    /// Array of [`Backend`](crate::abi::backend::Backend).
    pub const BACKENDS: &str = "BACKENDS";
    /// Array of [`Egress`](crate::abi::backend::Egress).
    pub const EGRESSES: &str = "EGRESSES";
    /// Array of [`FlowSet`](crate::abi::flow::FlowSet).
    pub const FLOWS: &str = "FLOWS";
    /// Array of four `u32`, one for each entry of a set of `FLOWS`.
    pub const FLOW_LINKS: &str = "FLOW_LINKS";
    /// Array of [`Tags`](crate::abi::flow::Tags), one for two sets of `FLOWS`.
    pub const FLOW_TAGS: &str = "FLOW_TAGS";
    /// Array of [`FlowSet`](crate::abi::flow::FlowSet).
    pub const HALF_OPEN: &str = "HALF_OPEN";
    /// Array of [`ConnSet`](crate::abi::conn_set::ConnSet).
    pub const CONN_SETS_V4: &str = "CONN_SETS_V4";
    /// Array of [`ConnSet`](crate::abi::conn_set::ConnSet).
    pub const CONN_SETS_V6: &str = "CONN_SETS_V6";
    /// Array of [`ConnV4`](crate::abi::conn::ConnV4).
    pub const CONNS_V4: &str = "CONNS_V4";
    /// Array of [`ConnV6`](crate::abi::conn::ConnV6).
    pub const CONNS_V6: &str = "CONNS_V6";
    /// Array of `u32`, one for each entry of `CONNS_V4`.
    pub const CONN_LINKS_V4: &str = "CONN_LINKS_V4";
    /// Array of `u32`, one for each entry of `CONNS_V6`.
    pub const CONN_LINKS_V6: &str = "CONN_LINKS_V6";
    /// Array of [`PersistenceSet`](crate::abi::persistence::PersistenceSet).
    pub const PERSISTENCE: &str = "PERSISTENCE";
    /// Array of [`Active`](crate::abi::active::Active).
    pub const ACTIVE: &str = "ACTIVE";
    /// Array of one [`Sweep`](crate::abi::sweep::Sweep).
    pub const SWEEP: &str = "SWEEP";
    /// Per-CPU array of `u64`, one for each [`Event`](crate::event::Event).
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array of `u64`, one for each [`Verdict`](crate::verdict::Verdict).
    pub const VERDICTS: &str = "VERDICTS";
    /// Per-CPU array of [`Traffic`](crate::abi::counters::Traffic).
    pub const LISTENER_COUNTERS: &str = "LISTENER_COUNTERS";
    /// Per-CPU array of [`Traffic`](crate::abi::counters::Traffic).
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";

    /// All of them.
    pub const ALL: [&str; 33] = [
        META,
        PROGRAMS,
        CLOCK,
        ADDRESS_FILTER,
        ADDRESSES_V4,
        ADDRESSES_V6,
        ACLS_V4,
        ACLS_V6,
        SNATS_V4,
        SNATS_V6,
        LISTENER_BUCKETS,
        LISTENERS,
        SERVICES,
        ARENA,
        BACKENDS,
        EGRESSES,
        FLOWS,
        FLOW_LINKS,
        FLOW_TAGS,
        HALF_OPEN,
        CONN_SETS_V4,
        CONN_SETS_V6,
        CONNS_V4,
        CONNS_V6,
        CONN_LINKS_V4,
        CONN_LINKS_V6,
        PERSISTENCE,
        ACTIVE,
        SWEEP,
        EVENTS,
        VERDICTS,
        LISTENER_COUNTERS,
        BACKEND_COUNTERS,
    ];
}

/// Name of the constant that holds the seed of the packet hash.
pub const HASH_SEED: &str = "HASH_SEED";
/// Name of the constant that holds the flow table's number of sets minus one.
pub const FLOW_MASK: &str = "FLOW_MASK";
/// Name of the constant that holds the persistence table's number of sets minus one.
pub const PERSISTENCE_MASK: &str = "PERSISTENCE_MASK";
/// Name of the constant that says whether frames go back to their interface by a redirect instead of `XDP_TX`.
pub const REDIRECT_TO_SELF: &str = "REDIRECT_TO_SELF";
/// Name of the program that packets come to.
pub const PROGRAM: &str = "nlb";

/// The programs that it calls: slots of the array of programs.
pub mod programs {
    /// What the entry leaves.
    pub const REST: u32 = 0;
    /// First packets over IPv4.
    pub const OPEN_V4: u32 = 1;
    /// First packets over IPv6.
    pub const OPEN_V6: u32 = 2;
    /// Packets over IPv4 to listeners with an access list.
    pub const GUARD_V4: u32 = 3;
    /// Packets over IPv6 to listeners with an access list.
    pub const GUARD_V6: u32 = 4;

    /// Their names, in the order of their slots.
    pub const NAMES: [&str; 5] = ["nlb_rest", "nlb_open_v4", "nlb_open_v6", "nlb_guard_v4", "nlb_guard_v6"];
    /// How many there are.
    pub const SLOTS: u32 = NAMES.len() as u32;
}

/// Addresses of one family: VIPs and SNAT addresses.
pub const MAX_ADDRESSES: u32 = 4096;
/// Entries of all access lists of one family.
pub const MAX_ACL_ENTRIES: u32 = 1 << 16;
/// Room for them: a list that changes stands there twice for a moment.
pub const ACL_ENTRIES: u32 = 2 * MAX_ACL_ENTRIES;
/// SNAT addresses of one family. A connection table has 65 536 entries for each.
pub const MAX_SNATS: u32 = 4;
/// Listener numbers; a listener of a balancer with several VIPs has one for each VIP.
pub const MAX_LISTENERS: u32 = 8192;
/// Backend service numbers.
pub const MAX_SERVICES: u32 = 4096;
/// Slots of all wheels, rings and lists of members.
pub const MAX_SLOTS: u32 = 1 << 22;
/// Backend numbers.
pub const MAX_BACKENDS: u32 = 1 << 15;
/// Ways out.
pub const MAX_EGRESSES: u32 = 1024;
/// Buckets that listeners are found in: most have one listener or none.
pub const LISTENER_BUCKETS: u32 = MAX_LISTENERS;
/// Sets that one family's connections are found in: as many words as there are connections, four times over, so that
/// a set overflows next to never.
pub const CONN_SETS: u32 = MAX_SNATS * super::conn::PORTS * 4 / super::conn_set::WAYS as u32;
/// Sets of half-open flows: 32 768 flows in half a mebibyte, which a processor keeps in its second-level cache.
pub const HALF_OPEN_SETS: u32 = 1 << 13;
/// Flows of the flow table, unless the operator says otherwise.
pub const DEFAULT_FLOWS: u32 = 1 << 20;
/// Clients of the persistence table, unless the operator says otherwise.
pub const DEFAULT_PERSISTENCE: u32 = 1 << 18;

/// Sets of a flow table for so many flows: a power of two.
pub const fn flow_sets(flows: u32) -> u32 {
    (flows.next_power_of_two() * super::flow::ENTRIES_PER_FLOW) / super::flow::WAYS as u32
}

/// Sets of a persistence table for so many clients: a power of two.
pub const fn persistence_sets(clients: u32) -> u32 {
    (clients.next_power_of_two() * super::persistence::ENTRIES_PER_CLIENT) / super::persistence::WAYS as u32
}
