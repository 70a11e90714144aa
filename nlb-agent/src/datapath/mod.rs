//! The door to the kernel: everything the agent does with the datapath's maps goes through [`Datapath`].
//!
//! [`aya`] is the real one, [`fake`] keeps an image in memory, [`faulty`] fails at times.

mod acl;
pub mod aya;
mod error;
pub mod fake;
pub mod faulty;
mod image;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

pub use self::{
    acl::{Access, Acl},
    error::DatapathError,
    image::{
        AclId, Backend, BackendId, BackendState, Egress, EgressId, Eligibility, Family, Forward, Image,
        Listener, ListenerId, LocalAddress, MacText, NextHop, Op, Picks, Ring, RingKey, Service, ServiceId,
        Slots, Snat, SnatRange, SnatSlot, Tracking, Turns, VipId,
    },
};
use crate::status::InterfaceStatus;

/// A datapath.
pub trait Datapath: Send {
    /// Reads back what the maps hold.
    ///
    /// # Errors
    /// A map cannot be read.
    fn image(&self) -> Result<Image, DatapathError>;

    /// Carries out one change; doing it twice is the same as doing it once.
    ///
    /// # Errors
    /// A map cannot be written; packets still meet a consistent state.
    fn apply(&mut self, op: &Op) -> Result<(), DatapathError>;

    /// How many slots there are for connections of `nat` and `dnat`.
    fn slots(&self) -> Slots;

    /// Ends flows that are idle, closed or past their backend's time, and counts the others.
    ///
    /// # Errors
    /// A map cannot be read.
    fn sweep(&mut self) -> Result<FlowCounts, DatapathError>;

    /// Keeps new flows from using these ports of a SNAT address: those that sockets of the host use. All others
    /// may be used (again).
    ///
    /// # Errors
    /// A map cannot be written.
    fn exclude_ports(
        &mut self,
        family: Family,
        slot: SnatSlot,
        ports: &BTreeSet<u16>,
    ) -> Result<(), DatapathError>;

    /// What passed each backend.
    ///
    /// # Errors
    /// A map cannot be read.
    fn traffic(&self, backends: &[BackendId]) -> Result<BTreeMap<BackendId, Traffic>, DatapathError>;

    /// How many packets met each verdict, in the order of their numbers.
    ///
    /// # Errors
    /// A map cannot be read.
    fn verdicts(&self) -> Result<Vec<u64>, DatapathError>;

    /// How often each event happened, in the order of their numbers.
    ///
    /// # Errors
    /// A map cannot be read.
    fn events(&self) -> Result<Vec<u64>, DatapathError>;

    /// How full the tables are.
    ///
    /// # Errors
    /// A map cannot be read.
    fn tables(&self) -> Result<Vec<TableUse>, DatapathError>;

    /// Which client comes back to which backend.
    ///
    /// # Errors
    /// A map cannot be read.
    fn persistence(&self) -> Result<Vec<PersistenceEntry>, DatapathError>;

    /// Where the program is attached.
    fn interfaces(&self) -> Vec<InterfaceStatus>;
}

/// Flows by what holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// By backend.
    pub backends: BTreeMap<BackendId, BackendFlows>,
    /// Connections, closed ones included, by listener.
    pub listeners: BTreeMap<ListenerId, u64>,
    /// Connections, closed ones included, by SNAT address.
    pub snats: BTreeMap<(Family, SnatSlot), u64>,
    /// How many this sweep ended.
    pub ended: u64,
    /// The backends that persistence entries lead clients to. An entry outlives the server's flows and, if the server is
    /// removed, the server: put back in time, it gets its clients back.
    pub persisted: BTreeSet<BackendId>,
    /// Recorded flows of rings in transition: service, family and position (see
    /// [`nlb_common::abi::flow::ring_link`]; 0: somewhere on the ring), and a backend that one of them has.
    pub recorded: BTreeSet<(ServiceId, Family, u32, BackendId)>,
}

/// The flows of one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendFlows {
    /// Half-open and established.
    pub active: u64,
    /// These and the closed ones whose last packets may still come: while there are any, the number is in use.
    pub held: u64,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableUse {
    /// As in docs/datapath.md.
    pub name: &'static str,
    /// Entries it has room for.
    pub capacity: u64,
    /// Entries in use.
    pub used: u64,
    /// What the whole table takes, used or not.
    pub bytes: u64,
}

/// Which backend a client of a service comes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistenceEntry {
    /// The service.
    pub service: ServiceId,
    /// The VIP it was used through.
    pub vip: VipId,
    /// The client.
    pub client: IpAddr,
    /// What it comes back to.
    pub backend: BackendId,
    /// Open connections.
    pub connections: u32,
    /// Since the last connection ended; zero while one is open.
    pub idle: Duration,
}

/// What passed a backend since its number was given to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
    /// Connections opened.
    pub connections: u64,
    /// Connections open now: half-open and established.
    pub active: u64,
}
