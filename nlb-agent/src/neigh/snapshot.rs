use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use rtnetlink::packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{
        InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, VlanProtocol,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};

use super::Interface;

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

/// A neighbour's place: the device it is reached through, and its address.
pub(super) type Place = (u32, IpAddr);

/// What the kernel knew at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// The way to each server; without an entry there is none.
    pub(super) routes: BTreeMap<IpAddr, Route>,
    /// By index.
    pub(super) links: BTreeMap<u32, Link>,
    /// Only those whose MAC address may be used.
    pub(super) neighbours: BTreeMap<Place, Neighbour>,
    pub(super) addresses: Vec<Address>,
}

impl Snapshot {
    pub(super) fn host_addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.iter().map(|address| address.address).collect()
    }

    /// Those of these devices that are there, and Ethernet.
    pub(super) fn interfaces(&self, wanted: &BTreeSet<u32>) -> BTreeMap<u32, Interface> {
        let vlans = |index| {
            let tags = self.links.values().filter_map(|link| link.vlan);
            tags.filter(|vlan| vlan.parent == index && vlan.is_customer_tag).map(|vlan| vlan.id).collect()
        };
        let interface =
            |&index| Some((index, Interface { mac: self.links.get(&index)?.mac?, vlans: vlans(index) }));
        wanted.iter().filter_map(interface).collect()
    }
}

/// The kernel's answer to "how do I reach this address?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) interface: u32,
    /// Absent: the server is on the link.
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    /// The address is this host's own.
    pub(super) local: bool,
    /// Less than the device's, if it is known that something on the way takes no more.
    pub(super) mtu: Option<u32>,
}

impl Route {
    /// `None` for a route that forbids rather than leads.
    pub(super) fn parse(message: &RouteMessage) -> Option<Self> {
        let local = match message.header.kind {
            RouteType::Unicast => false,
            RouteType::Local => true,
            _ => return None,
        };
        let (mut interface, mut gateway, mut source, mut mtu) = (None, None, None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Gateway(address) => gateway = ip(address),
                // An IPv4 route through an IPv6 neighbour.
                RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
                RouteAttribute::PrefSource(address) => source = ip(address),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Some(Self { interface: interface?, gateway, source, local, mtu })
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// A network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Absent: this is no Ethernet device.
    pub(super) mac: Option<Mac>,
    /// Whether neighbours are resolved there (ARP, neighbour discovery).
    pub(super) has_neighbours: bool,
    pub(super) vlan: Option<Vlan>,
    /// The longest IP packet it takes.
    pub(super) mtu: Option<u32>,
}

/// What makes a VLAN device one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vlan {
    /// Index of the device below.
    pub(super) parent: u32,
    pub(super) id: u16,
    /// Whether the tag is a customer tag (IEEE 802.1Q), not a service tag (802.1ad).
    pub(super) is_customer_tag: bool,
}

impl Link {
    pub(super) fn parse(message: &LinkMessage) -> (u32, Self) {
        let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        let (mut mac, mut below, mut tag, mut mtu) = (None, None, None, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Address(bytes) if is_ethernet => mac = Mac::try_from(bytes.as_slice()).ok(),
                // The other end for a veth, so it only counts together with a tag.
                LinkAttribute::Link(index) => below = Some(*index),
                LinkAttribute::Mtu(longest) => mtu = Some(*longest),
                LinkAttribute::LinkInfo(info) => tag = info.iter().find_map(parse_tag),
                _ => {}
            }
        }
        let vlan = below.zip(tag).map(|(parent, (id, is_customer_tag))| Vlan { parent, id, is_customer_tag });
        let has_neighbours = !message.header.flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback);
        (message.header.index, Self { mac, has_neighbours, vlan, mtu })
    }
}

fn parse_tag(info: &LinkInfo) -> Option<(u16, bool)> {
    let LinkInfo::Data(InfoData::Vlan(attributes)) = info else { return None };
    let id = attributes.iter().find_map(|attribute| match attribute {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })?;
    let is_service_tag =
        attributes.iter().any(|attribute| matches!(attribute, InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)));
    Some((id, !is_service_tag))
}

/// A neighbour whose MAC address may be used (RFC 4861, section 7.3.2, for the states).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) mac: Mac,
    /// The kernel has not heard of it for a while, and does not see that XDP uses it.
    pub(super) is_stale: bool,
}

impl Neighbour {
    /// `None` if it is being looked for, does not answer, or is no IP neighbour.
    pub(super) fn parse(message: &NeighbourMessage) -> Option<(Place, Self)> {
        let is_stale = match message.header.state {
            NeighbourState::Stale => true,
            NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp => false,
            _ => return None,
        };
        let (mut address, mut mac) = (None::<IpAddr>, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some((*v4).into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some((*v6).into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
                _ => {}
            }
        }
        Some(((message.header.ifindex, address?), Self { mac: mac?, is_stale }))
    }
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
    /// Whether packets may carry it as their source, further than the link.
    pub(super) is_source: bool,
}

impl Address {
    pub(super) fn parse(message: &AddressMessage) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        let (mut address, mut local) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                // On a point-to-point device `Address` is the peer's, and this is the host's own.
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        let unfit = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
        let is_source = message.header.scope == AddressScope::Universe && !flags.intersects(unfit);
        Some(Self { interface: message.header.index, address: local.or(address)?, is_source })
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::InfoKind;

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn link(kind: LinkLayerType, flags: LinkFlags, attributes: Vec<LinkAttribute>) -> Link {
        let mut message = LinkMessage::default();
        message.header.index = 5;
        message.header.link_layer_type = kind;
        message.header.flags = flags;
        message.attributes = attributes;
        message.attributes.push(LinkAttribute::Mtu(1400));
        let (index, link) = Link::parse(&message);
        assert_eq!(index, 5);
        link
    }

    fn tagged(protocol: VlanProtocol) -> Vec<LinkAttribute> {
        let data = vec![InfoVlan::Protocol(protocol), InfoVlan::Id(7)];
        let info = vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(data))];
        vec![LinkAttribute::Address(MAC.to_vec()), LinkAttribute::Link(2), LinkAttribute::LinkInfo(info)]
    }

    #[test]
    fn devices_are_told_apart() {
        let mac = || LinkAttribute::Address(MAC.to_vec());
        let veth = vec![
            mac(),
            LinkAttribute::Link(9),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ];
        let plain = Link { mac: Some(MAC), has_neighbours: true, vlan: None, mtu: Some(1400) };
        let vlan = |is_customer_tag| Link { vlan: Some(Vlan { parent: 2, id: 7, is_customer_tag }), ..plain };
        let none = Link { mac: None, has_neighbours: false, ..plain };
        let (ether, up) = (LinkLayerType::Ether, LinkFlags::Up);
        for (case, parsed, expected) in [
            ("Ethernet", link(ether, up, vec![mac()]), plain),
            ("a veth is no VLAN, though it names a peer", link(ether, up, veth), plain),
            ("802.1Q", link(ether, up, tagged(VlanProtocol::Ieee8021Q)), vlan(true)),
            ("802.1ad", link(ether, up, tagged(VlanProtocol::Ieee8021Ad)), vlan(false)),
            (
                "no ARP",
                link(ether, up | LinkFlags::Noarp, vec![mac()]),
                Link { has_neighbours: false, ..plain },
            ),
            ("loopback", link(LinkLayerType::Loopback, up | LinkFlags::Loopback, vec![mac()]), none),
            ("a tunnel", link(LinkLayerType::None, up | LinkFlags::Noarp, vec![]), none),
        ] {
            assert_eq!(parsed, expected, "{case}");
        }
    }

    #[test]
    fn only_neighbours_with_a_usable_address_count() {
        let usable = |is_stale| Some(Neighbour { mac: MAC, is_stale });
        for (state, expected) in [
            (NeighbourState::Reachable, usable(false)),
            (NeighbourState::Stale, usable(true)),
            (NeighbourState::Delay, usable(false)),
            (NeighbourState::Probe, usable(false)),
            (NeighbourState::Permanent, usable(false)),
            (NeighbourState::Noarp, usable(false)),
            (NeighbourState::Failed, None),
            (NeighbourState::Incomplete, None),
            (NeighbourState::None, None),
        ] {
            let mut message = NeighbourMessage::default();
            message.header.ifindex = 2;
            message.header.state = state;
            message.attributes = vec![
                NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 0, 0, 2].into())),
                NeighbourAttribute::LinkLayerAddress(MAC.to_vec()),
            ];
            let expected = expected.map(|neighbour| ((2, IpAddr::from([10, 0, 0, 2])), neighbour));
            assert_eq!(Neighbour::parse(&message), expected, "{state}");
        }
    }
}
