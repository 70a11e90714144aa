//! What the datapath's maps hold, in domain types: an [`Image`], and the [`Op`]s that change it.

mod text;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use nlb_common::{
    abi::{
        maps::{DEFAULT_DNATS, DEFAULT_SNATS},
        ring::Slot,
    },
    packet::{Family as _, Ipv4, Ipv6, gue},
    ticks::Ticks,
};

pub use self::text::MacText;
use super::Acl;
use crate::model::{OnDrainExpiry, Protocol};

/// Declares a number that names an entry of a map.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Number of a VIP, of either family; never 0.
    VipId(u32)
}
id! {
    /// Number of a listener on one VIP; never 0.
    ListenerId(u32)
}
id! {
    /// Number of a backend service; never 0.
    ServiceId(u32)
}
id! {
    /// Number of a backend; never 0.
    BackendId(u32)
}
id! {
    /// Number of a way out; never 0.
    EgressId(u16)
}
id! {
    /// Number of an access list; never 0.
    AclId(u32)
}
id! {
    /// Number of a SNAT address within its family.
    SnatSlot(u16)
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The address that stands for none.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Position in arrays of two.
    pub fn index(self) -> usize {
        match self {
            Self::V4 => nlb_common::abi::service::V4,
            Self::V6 => nlb_common::abi::service::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        })
    }
}

/// What a destination address is to the balancer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddress {
    /// A VIP.
    pub vip: Option<VipId>,
    /// A SNAT address.
    pub snat: Option<SnatSlot>,
    /// The host's own: what the balancer does not want goes up to the kernel.
    pub host: bool,
    /// The datapath answers who asks for its MAC address, unless it is the host's own.
    pub announce: bool,
    /// The datapath answers echo requests, unless it is the host's own.
    pub echo: bool,
}

impl LocalAddress {
    /// Whether the datapath says who has the address: the host's own is the kernel's to announce.
    pub fn is_announced(&self) -> bool {
        self.vip.is_some() && self.announce && !self.host
    }
}

/// A source address of `nat`; or, with the unspecified address, room for connections of `dnat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snat {
    /// The address.
    pub address: IpAddr,
    /// The first port flows may use.
    pub first_port: u16,
    /// How many from there.
    pub ports: u16,
}

impl Snat {
    /// Room for connections of `dnat`: all that a slot has but one, whose number would be 0 in the first slot.
    pub fn room(family: Family) -> Self {
        Self { address: family.unspecified(), first_port: 1, ports: u16::MAX }
    }

    /// Whether it stands for an address.
    pub fn is_address(&self) -> bool {
        !self.address.is_unspecified()
    }
}

/// How many slots there are of each kind, by family (see [`Family::index`]): those of SNAT addresses first, then those
/// of `dnat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// One for each SNAT address.
    pub snats: [u32; 2],
    /// Each has room for 65 535 connections of `dnat`.
    pub dnats: u32,
}

impl Default for Slots {
    fn default() -> Self {
        Self { snats: [DEFAULT_SNATS; 2], dnats: DEFAULT_DNATS }
    }
}

impl Slots {
    /// The slots of `dnat`.
    pub fn dnat(self, family: Family) -> SnatRange {
        let slot = |number| u16::try_from(number).unwrap_or(u16::MAX);
        SnatRange { first: SnatSlot(slot(self.snats[family.index()])), count: slot(self.dnats) }
    }
}

/// A listener on one VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The VIP's number.
    pub vip: VipId,
    /// The VIP.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Who answers.
    pub service: ServiceId,
    /// When an established flow without a packet is over.
    pub idle_timeout: Duration,
    /// Takes no new connections.
    pub closed_to_new: bool,
    /// What is remembered of its flows.
    pub tracking: Tracking,
    /// Which clients may use it; `None`: all.
    pub acl: Option<AclId>,
}

/// What the datapath remembers of a listener's flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracking {
    /// A connection with a port of the balancer's: `nat`.
    #[default]
    Nat,
    /// Which backend each flow has.
    Full,
    /// That only while a slot of the ring changes hands.
    Transition,
    /// Nothing.
    None,
    /// A connection whose server sees the client: `dnat`.
    Dnat,
}

impl fmt::Display for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nat => "nat",
            Self::Full => "full",
            Self::Transition => "transition",
            Self::None => "none",
            Self::Dnat => "dnat",
        })
    }
}

impl Listener {
    /// What packets are told apart by: no two listeners share it.
    pub fn key(&self) -> (VipId, u16, bool) {
        (self.vip, self.port, self.protocol == Protocol::Tcp)
    }
}

/// A backend service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// For each family (see [`Family::index`]): who gets new connections.
    pub picks: [Picks; 2],
    /// How long a client stays with its server after its last connection.
    pub persistence: Option<Duration>,
    /// A TCP segment of no known flow goes where the ring says, though it opens none.
    pub balance_unknown: bool,
}

/// Who gets new connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picks {
    /// By turns or by count; empty where the ring decides.
    pub turns: Turns,
    /// By consistent hash: instead of turns, and where there is no memory for them.
    pub ring: Ring,
}

/// Who gets new connections, by turns or by count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Whose turn it is, slot by slot.
    Wheel(Vec<BackendId>),
    /// The one with the fewest active connections for its weight; weights in any common unit.
    Fewest(Vec<(BackendId, u16)>),
}

impl Default for Turns {
    fn default() -> Self {
        Self::Wheel(Vec::new())
    }
}

/// A table of a power of two slots, or none at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// What is hashed.
    pub by: RingKey,
    /// The slots.
    pub slots: Vec<Slot>,
}

/// What finds a slot of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RingKey {
    /// The flow: addresses, ports, protocol.
    #[default]
    Flow,
    /// The client's address.
    Source,
}

impl Service {
    /// All backends that it names, the previous ones of rings included.
    pub fn backends(&self) -> std::collections::BTreeSet<BackendId> {
        let mut named = std::collections::BTreeSet::new();
        for Picks { turns, ring } in &self.picks {
            match turns {
                Turns::Wheel(slots) => named.extend(slots),
                Turns::Fewest(members) => named.extend(members.iter().map(|(id, _)| *id)),
            }
            for slot in &ring.slots {
                named.extend([slot.current(), slot.previous()].map(|id| BackendId(id.into())));
            }
        }
        named.remove(&BackendId(0));
        named
    }
}

/// What becomes of the flows of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// They go on.
    Serving,
    /// They go on until the deadline, by the datapath's clock; then they are expired.
    Draining(OnDrainExpiry, Ticks),
    /// Their time is over.
    Expired(OnDrainExpiry),
}

/// Whether a backend may get new connections, and if not, why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eligibility {
    /// It may.
    #[default]
    Eligible,
    /// It is not configured any more.
    Gone,
    /// The operator drains it.
    Draining,
    /// The operator disabled it.
    Disabled,
    /// It is unhealthy.
    Unhealthy,
    /// Its weight is 0.
    Weight,
}

impl fmt::Display for Eligibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eligible => "eligible",
            Self::Gone => "gone",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Unhealthy => "unhealthy",
            Self::Weight => "weight-0",
        })
    }
}

/// How packets reach a backend; does not change as long as its number is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// Addresses are rewritten.
    #[default]
    Nat,
    /// In a tunnel from this address; `None`: none is known yet, and new flows cannot be opened.
    Ipip(Option<IpAddr>),
    /// As [`Ipip`](Self::Ipip), with a UDP header in between.
    Gue(Option<IpAddr>),
    /// As they are, to its MAC address: only by a next hop that is the server itself.
    Dsr,
    /// The destination alone is rewritten; the server answers by way of the balancer.
    Dnat,
}

impl Forward {
    /// What is put in front of a client's packet to a server of a family, in bytes.
    pub fn overhead(self, server: Family) -> u16 {
        let header = match server {
            Family::V4 => Ipv4::HEADER_LEN,
            Family::V6 => Ipv6::HEADER_LEN,
        };
        let overhead = match self {
            Self::Nat | Self::Dnat | Self::Dsr => 0,
            Self::Ipip(_) => header,
            Self::Gue(_) => header + gue::HEADER_LEN,
        };
        overhead as u16
    }
}

/// The next hop to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The way out.
    pub egress: EgressId,
    /// Destination MAC address.
    pub mac: [u8; 6],
}

/// The SNAT addresses that new flows of a backend may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatRange {
    /// The first.
    pub first: SnatSlot,
    /// How many; 0: none is known, and new flows cannot be opened.
    pub count: u16,
}

impl SnatRange {
    /// The slots.
    pub fn slots(self) -> impl Iterator<Item = SnatSlot> {
        (self.first.0..self.first.0.saturating_add(self.count)).map(SnatSlot)
    }
}

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where the server is; does not change as long as the number is in use.
    pub address: SocketAddr,
    /// What becomes of its flows.
    pub state: BackendState,
    /// The way there; without it the kernel's routing table is asked for each packet.
    pub next_hop: Option<NextHop>,
    /// The SNAT addresses of new flows.
    pub snat: SnatRange,
    /// How packets reach it.
    pub forward: Forward,
    /// Whether it may get new connections.
    pub eligibility: Eligibility,
    /// The longest client's packet that fits the way there, with what is put in front of it; absent: nobody knows.
    pub max_len: Option<u16>,
}

/// A way out; never changes as long as the number is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The device frames are sent from.
    pub ifindex: u32,
    /// Source MAC address.
    pub mac: [u8; 6],
    /// VLAN identifier.
    pub vlan: Option<u16>,
}

/// What the maps hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The balancer's addresses.
    pub addresses: BTreeMap<IpAddr, LocalAddress>,
    /// Source addresses.
    pub snats: BTreeMap<(Family, SnatSlot), Snat>,
    /// Access lists. A number stands for the same list as long as it is in use.
    pub acls: BTreeMap<AclId, Arc<Acl>>,
    /// Listeners.
    pub listeners: BTreeMap<ListenerId, Listener>,
    /// Backend services.
    pub services: BTreeMap<ServiceId, Service>,
    /// Backends.
    pub backends: BTreeMap<BackendId, Backend>,
    /// Ways out.
    pub egresses: BTreeMap<EgressId, Egress>,
    /// The MAC address that announced VIPs have, by index of the device they are asked for on.
    pub interfaces: BTreeMap<u32, [u8; 6]>,
}

/// One change of the maps. Each is idempotent, and each leaves the maps in a state that packets may meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes or replaces an address.
    PutAddress(IpAddr, LocalAddress),
    /// Removes an address.
    RemoveAddress(IpAddr),
    /// Makes a SNAT address.
    PutSnat(Family, SnatSlot, Snat),
    /// Removes a SNAT address.
    RemoveSnat(Family, SnatSlot),
    /// Makes an access list.
    PutAcl(AclId, Arc<Acl>),
    /// Removes an access list.
    RemoveAcl(AclId, Arc<Acl>),
    /// Makes or replaces a listener.
    PutListener(ListenerId, Listener),
    /// Removes a listener.
    RemoveListener(ListenerId, Listener),
    /// Makes or replaces a service; each wheel is exchanged at once.
    PutService(ServiceId, Service),
    /// Removes a service.
    RemoveService(ServiceId),
    /// Makes or replaces a backend.
    PutBackend(BackendId, Backend),
    /// Removes a backend.
    RemoveBackend(BackendId),
    /// Makes a way out.
    PutEgress(EgressId, Egress),
    /// Removes a way out.
    RemoveEgress(EgressId),
    /// Makes or replaces an interface.
    PutInterface(u32, [u8; 6]),
    /// Removes an interface.
    RemoveInterface(u32),
}

impl Image {
    /// Carries out one change.
    pub fn apply(&mut self, op: &Op) {
        match op.clone() {
            Op::PutAddress(address, local) => drop(self.addresses.insert(address, local)),
            Op::RemoveAddress(address) => drop(self.addresses.remove(&address)),
            Op::PutSnat(family, slot, snat) => drop(self.snats.insert((family, slot), snat)),
            Op::RemoveSnat(family, slot) => drop(self.snats.remove(&(family, slot))),
            Op::PutAcl(id, acl) => drop(self.acls.insert(id, acl)),
            Op::RemoveAcl(id, _) => drop(self.acls.remove(&id)),
            Op::PutListener(id, listener) => drop(self.listeners.insert(id, listener)),
            Op::RemoveListener(id, _) => drop(self.listeners.remove(&id)),
            Op::PutService(id, service) => drop(self.services.insert(id, service)),
            Op::RemoveService(id) => drop(self.services.remove(&id)),
            Op::PutBackend(id, backend) => drop(self.backends.insert(id, backend)),
            Op::RemoveBackend(id) => drop(self.backends.remove(&id)),
            Op::PutEgress(id, egress) => drop(self.egresses.insert(id, egress)),
            Op::RemoveEgress(id) => drop(self.egresses.remove(&id)),
            Op::PutInterface(index, mac) => drop(self.interfaces.insert(index, mac)),
            Op::RemoveInterface(index) => drop(self.interfaces.remove(&index)),
        }
    }
}
