//! The multicast groups that neighbours solicit VIPs in: a device takes frames to those it was told of only.
//!
//! Switches that snoop on MLD learn of a group from a membership, which ends with the agent. Hence a device is told by itself as
//! well, for good: packets are answered without an agent, too.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io,
    net::{Ipv6Addr, UdpSocket},
    os::fd::AsRawFd as _,
};

use nix::net::if_::if_indextoname;
use nlb_common::{addr::V6, packet::neighbour};

/// A group on a device.
type Place = (u32, Ipv6Addr);

/// The memberships of this agent.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<Place, UdpSocket>);

/// The group that an address is solicited in.
pub(super) fn group(address: Ipv6Addr) -> Ipv6Addr {
    neighbour::solicited_node(V6::from_octets(address.octets())).octets().into()
}

impl Groups {
    /// Enters these groups and leaves all others; those that it could not enter, and why.
    pub(super) fn set(&mut self, wanted: &BTreeSet<Place>) -> Vec<(Place, io::Error)> {
        self.0.retain(|place, socket| {
            let stays = wanted.contains(place);
            if !stays {
                // Gone with its device, at worst.
                let _ = filter(socket, *place, libc::SIOCDELMULTI);
            }
            stays
        });
        let mut failed = Vec::new();
        for &place in wanted {
            let Entry::Vacant(entry) = self.0.entry(place) else { continue };
            match enter(place) {
                Ok(socket) => {
                    entry.insert(socket);
                }
                Err(error) => failed.push((place, error)),
            }
        }
        failed
    }
}

/// A socket for each group: the kernel bounds how many one may be in.
fn enter(place: Place) -> io::Result<UdpSocket> {
    let (interface, group) = place;
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    socket.join_multicast_v6(&group, interface)?;
    match filter(&socket, place, libc::SIOCADDMULTI) {
        // An agent before this one did.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        result => result?,
    }
    Ok(socket)
}

/// Has a device take frames to a group, or no longer (netdevice(7)).
fn filter(socket: &UdpSocket, (interface, group): Place, request: libc::c_ulong) -> io::Result<()> {
    let name = if_indextoname(interface)?;
    // SAFETY: integers and unions of integers only.
    let mut argument: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: names are at most 15 bytes.
    for (to, from) in argument.ifr_name.iter_mut().zip(name.to_bytes().iter().take(libc::IFNAMSIZ - 1)) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // RFC 2464, section 7.
    let [.., a, b, c, d] = group.octets();
    let mut address: libc::sockaddr =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip([0x33, 0x33, a, b, c, d]) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    argument.ifr_ifru.ifru_hwaddr = address;
    // SAFETY: the request reads this structure.
    if unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw const argument) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
