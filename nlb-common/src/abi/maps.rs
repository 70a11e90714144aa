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
    /// Index of a device to [`Interface`](crate::abi::interface::Interface).
    pub const INTERFACES: &str = "INTERFACES";
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
    /// [`FragmentKey`](crate::abi::fragment::FragmentKey) to [`FragmentPorts`](crate::abi::fragment::FragmentPorts).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Per-CPU array of one `u64`: [`handover`](crate::abi::handover).
    pub const HANDOVER: &str = "HANDOVER";
    /// Per-CPU array of `u64`, one for each [`Event`](crate::event::Event).
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array of `u64`, one for each [`Verdict`](crate::verdict::Verdict).
    pub const VERDICTS: &str = "VERDICTS";
    /// Per-CPU array of [`Traffic`](crate::abi::counters::Traffic).
    pub const LISTENER_COUNTERS: &str = "LISTENER_COUNTERS";
    /// Per-CPU array of [`Traffic`](crate::abi::counters::Traffic).
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";

    /// All of them.
    pub const ALL: &[&str] = &[
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
        INTERFACES,
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
        FRAGMENTS,
        HANDOVER,
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
/// Name of the constant that holds the number of sets minus one in which connections over IPv4 are found.
pub const CONN_MASK_V4: &str = "CONN_MASK_V4";
/// The same over IPv6.
pub const CONN_MASK_V6: &str = "CONN_MASK_V6";
/// Name of the constant that says whether frames go back to their interface by a redirect instead of `XDP_TX`.
pub const REDIRECT_TO_SELF: &str = "REDIRECT_TO_SELF";
/// Name of the program that packets come to.
pub const PROGRAM: &str = "nlb";

/// Declares the programs that are called, in the order of their slots.
macro_rules! programs {
    ($($(#[$doc:meta])* $slot:ident = $name:literal;)*) => {
        /// The programs that it calls: slots of the array of programs.
        pub mod programs {
            /// Counts the slots.
            #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "these are names of constants")]
            #[repr(u32)]
            enum Slot {
                $($slot,)*
            }

            $($(#[$doc])* pub const $slot: u32 = Slot::$slot as u32;)*

            /// Their names, in the order of their slots.
            pub const NAMES: &[&str] = &[$($name,)*];
            /// How many there are.
            pub const SLOTS: u32 = NAMES.len() as u32;
        }
    };
}

programs! {
    /// What the entry leaves, and does not know the family of.
    REST = "nlb_rest";
    /// What is left of IPv4.
    REST_V4 = "nlb_rest_v4";
    /// What is left of IPv6.
    REST_V6 = "nlb_rest_v6";
    /// First packets over IPv4.
    OPEN_V4 = "nlb_open_v4";
    /// First packets over IPv6.
    OPEN_V6 = "nlb_open_v6";
    /// Packets over IPv4 to listeners with an access list.
    GUARD_V4 = "nlb_guard_v4";
    /// Packets over IPv6 to listeners with an access list.
    GUARD_V6 = "nlb_guard_v6";
    /// Clients' packets of `dnat` over IPv4.
    DNAT_V4 = "nlb_dnat_v4";
    /// The same over IPv6.
    DNAT_V6 = "nlb_dnat_v6";
    /// Servers' packets of `dnat` over IPv4.
    BACK_V4 = "nlb_back_v4";
    /// The same over IPv6.
    BACK_V6 = "nlb_back_v6";
    /// Fragments over IPv4.
    FRAGMENT_V4 = "nlb_fragment_v4";
    /// Fragments over IPv6.
    FRAGMENT_V6 = "nlb_fragment_v6";
    /// Packets over IPv4 that do not fit.
    TOO_BIG_V4 = "nlb_too_big_v4";
    /// Packets over IPv6 that do not fit.
    TOO_BIG_V6 = "nlb_too_big_v6";
    /// ICMP.
    ICMP_V4 = "nlb_icmp_v4";
    /// ICMPv6, and with it neighbour discovery.
    ICMP_V6 = "nlb_icmp_v6";
    /// ARP.
    ARP = "nlb_arp";
}

/// Addresses of one family: VIPs and SNAT addresses.
pub const MAX_ADDRESSES: u32 = 4096;
/// Entries of all access lists of one family.
pub const MAX_ACL_ENTRIES: u32 = 1 << 16;
/// Room for them: a list that changes stands there twice for a moment.
pub const ACL_ENTRIES: u32 = 2 * MAX_ACL_ENTRIES;
/// SNAT addresses of one family, unless the operator says otherwise. A connection table has 65 536 entries for each.
pub const DEFAULT_SNATS: u32 = 4;
/// Slots of one family for connections of `dnat`, unless the operator says otherwise, with as many entries each.
pub const DEFAULT_DNATS: u32 = 1;
/// The most slots of either kind.
pub const MAX_SNATS: u32 = 256;
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
/// Interfaces that the program is attached to.
pub const MAX_INTERFACES: u32 = 256;
/// Buckets that listeners are found in: most have one listener or none.
pub const LISTENER_BUCKETS: u32 = MAX_LISTENERS;
/// Sets of half-open flows: 32 768 flows in half a mebibyte, which a processor keeps in its second-level cache.
pub const HALF_OPEN_SETS: u32 = 1 << 13;
/// Fragmented packets that are remembered at a time; the ones that were asked for longest ago make room.
pub const FRAGMENTED: u32 = 1 << 13;
/// Flows of the flow table, unless the operator says otherwise.
pub const DEFAULT_FLOWS: u32 = 1 << 20;
/// Clients of the persistence table, unless the operator says otherwise.
pub const DEFAULT_PERSISTENCE: u32 = 1 << 18;

/// Sets that one family's connections are found in, those of `dnat` from both sides: so many that three words of eight
/// are in use when every entry is, and a set overflows next to never. A power of two.
pub const fn conn_sets(snats: u32, dnats: u32) -> u32 {
    ((snats + 2 * dnats) * super::conn::PORTS).div_ceil(3).next_power_of_two()
}

/// Sets of a flow table for so many flows: a power of two.
pub const fn flow_sets(flows: u32) -> u32 {
    (flows.next_power_of_two() * super::flow::ENTRIES_PER_FLOW) / super::flow::WAYS as u32
}

/// Sets of a persistence table for so many clients: a power of two.
pub const fn persistence_sets(clients: u32) -> u32 {
    (clients.next_power_of_two() * super::persistence::ENTRIES_PER_CLIENT) / super::persistence::WAYS as u32
}
