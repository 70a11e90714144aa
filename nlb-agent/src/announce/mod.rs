//! VIPs that this host says it has: the datapath answers who asks, and this tells those who believe somebody else has them.
//!
//! [`announced`] finds out what there is to say, [`Announcer`] decides when, without clock or socket; [`run`] sends.

mod frame;
mod groups;
mod machine;
mod socket;
mod task;

use std::{collections::BTreeSet, net::IpAddr};

pub use self::{machine::Announcer, task::run};
use crate::{datapath::Image, neigh::View};

/// An address that is to be had on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// Index of the device on the link.
    pub interface: u32,
    /// The IEEE 802.1Q tag of the link, if it is one of several on the device.
    pub vlan: Option<u16>,
    /// The device's MAC address.
    pub mac: [u8; 6],
    /// The address.
    pub address: IpAddr,
}

/// What the datapath answers for, on every interface it is attached to, and in the VLANs that this host is in there.
///
/// In others it answers, too, but only those are asked about: nobody knows how many there are.
pub fn announced(image: &Image, view: &View) -> BTreeSet<Announcement> {
    let mut announced = BTreeSet::new();
    for (&address, _) in image.addresses.iter().filter(|(_, local)| local.is_announced()) {
        for (&interface, &mac) in &image.interfaces {
            let vlans = view.interfaces.get(&interface).into_iter().flat_map(|interface| &interface.vlans);
            for vlan in vlans.copied().map(Some).chain([None]) {
                announced.insert(Announcement { interface, vlan, mac, address });
            }
        }
    }
    announced
}
