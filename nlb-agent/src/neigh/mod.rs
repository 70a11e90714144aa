//! Next hops of servers, from the kernel's routes and neighbours, kept fresh.
//!
//! A snapshot of what the kernel knows becomes a [`View`] by a pure function (`resolve`); [`run`] takes the
//! snapshots over rtnetlink, and asks the kernel to find neighbours it does not know yet.

mod asks;
mod netlink;
mod resolve;
mod snapshot;
mod task;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

pub use self::{netlink::NetlinkError, task::run};

/// How a packet gets on its way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the device that sends it; for a VLAN device that of the device below.
    pub interface: u32,
    /// The IEEE 802.1Q tag it carries.
    pub vlan: Option<u16>,
    /// Its Ethernet source.
    pub source_mac: [u8; 6],
    /// Its Ethernet destination: the server, or the gateway on the way there.
    pub mac: [u8; 6],
}

/// What is known of the way to one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Absent: there is no route, the neighbour does not answer (yet), or the device is none that takes
    /// Ethernet frames from XDP (loopback, tunnels, stacked VLANs). Then packets are the kernel's to send.
    pub next_hop: Option<NextHop>,
    /// The address this host uses towards the server.
    pub source: Option<IpAddr>,
    /// Whether the server's address is this host's own.
    pub local: bool,
    /// Whether the way leads through a router: the next hop is then not the server.
    pub routed: bool,
    /// The longest IP packet that the way takes: of its device, or less if the route says so (`ip route … mtu`, or a router
    /// that told the kernel); absent: not known.
    pub mtu: Option<u16>,
}

/// What [`run`] finds out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// One for each server address asked for.
    pub resolutions: BTreeMap<IpAddr, Resolution>,
    /// All addresses of this host, on whichever interface.
    pub host_addresses: BTreeSet<IpAddr>,
    /// The interfaces asked for, by index; those that are no Ethernet devices are left out.
    pub interfaces: BTreeMap<u32, Interface>,
}

/// An interface that the datapath is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// The IEEE 802.1Q tags that this host has devices for on it.
    pub vlans: BTreeSet<u16>,
}
