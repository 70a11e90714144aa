use std::net::IpAddr;

use super::{
    NextHop, Resolution,
    snapshot::{Link, Mac, Place, Route, Snapshot},
};

/// What the kernel should be asked to find out about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// Confirmation that it is still there.
    Confirmation,
    /// Its MAC address.
    Address,
}

/// The way to `server`, and what is missing on it.
pub(super) fn resolve(server: IpAddr, snapshot: &Snapshot) -> (Resolution, Option<(Place, Need)>) {
    let Some(route) = snapshot.routes.get(&server) else { return (Resolution::default(), None) };
    let source = route.source.or_else(|| address_of(route.interface, server, snapshot));
    let routed = route.gateway.is_some();
    let link_mtu = snapshot.links.get(&route.interface).and_then(|link| link.mtu);
    let mtu = [route.mtu, link_mtu].into_iter().flatten().min();
    let mtu = mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
    let without = Resolution { next_hop: None, source, local: route.local, routed, mtu };
    if route.local {
        return (without, None);
    }
    let Some((interface, vlan, source_mac, link)) = egress(route, snapshot) else { return (without, None) };

    let place = (route.interface, route.gateway.unwrap_or(server));
    let (mac, need) = match snapshot.neighbours.get(&place) {
        Some(neighbour) => (neighbour.mac, neighbour.is_stale.then_some((place, Need::Confirmation))),
        None if link.has_neighbours => return (without, Some((place, Need::Address))),
        // Without neighbours the kernel writes the device's own address, and whoever is at the other end
        // takes all.
        None => (source_mac, None),
    };
    let next_hop = NextHop { interface, vlan, source_mac, mac };
    (Resolution { next_hop: Some(next_hop), ..without }, need)
}

/// The device that XDP can send through on this route: index, tag, MAC address, and the device of the route
/// itself.
fn egress<'a>(route: &Route, snapshot: &'a Snapshot) -> Option<(u32, Option<u16>, Mac, &'a Link)> {
    let link = snapshot.links.get(&route.interface)?;
    let mac = link.mac?;
    let Some(vlan) = link.vlan else { return Some((route.interface, None, mac, link)) };
    // One customer tag is what the datapath writes.
    let parent = snapshot.links.get(&vlan.parent)?;
    let is_plain = vlan.is_customer_tag && parent.vlan.is_none();
    is_plain.then_some((vlan.parent, Some(vlan.id), mac, link))
}

/// An address of `interface` of the same family as `server`.
fn address_of(interface: u32, server: IpAddr, snapshot: &Snapshot) -> Option<IpAddr> {
    let mut candidates = snapshot.addresses.iter().filter(|address| {
        address.interface == interface && address.is_source && address.address.is_ipv4() == server.is_ipv4()
    });
    candidates.next().map(|address| address.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neigh::snapshot::{Address, Neighbour, Vlan};

    const LO: u32 = 1;
    const ETH: u32 = 2;
    const VLAN7: u32 = 3;
    const STACKED: u32 = 4;
    const SERVICE_TAG: u32 = 5;
    const TUN: u32 = 6;
    const NOARP: u32 = 7;
    const MISSING: u32 = 99;

    fn mac(last: u8) -> Mac {
        [2, 0, 0, 0, 0, last]
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn world() -> Snapshot {
        let plain = |last| Link { mac: Some(mac(last)), has_neighbours: true, vlan: None, mtu: None };
        let vlan = |last, parent, is_customer_tag| Link {
            vlan: Some(Vlan { parent, id: 7, is_customer_tag }),
            ..plain(last)
        };
        let links = [
            (LO, Link { mac: None, has_neighbours: false, vlan: None, mtu: None }),
            (ETH, plain(2)),
            (VLAN7, vlan(3, ETH, true)),
            (STACKED, vlan(4, VLAN7, true)),
            (SERVICE_TAG, vlan(5, ETH, false)),
            (TUN, Link { mac: None, has_neighbours: false, vlan: None, mtu: None }),
            (NOARP, Link { has_neighbours: false, ..plain(7) }),
        ];
        let fresh = |last| Neighbour { mac: mac(last), is_stale: false };
        let neighbours = [
            ((ETH, ip("10.0.0.2")), fresh(20)),
            ((ETH, ip("10.0.0.3")), Neighbour { is_stale: true, ..fresh(30) }),
            ((ETH, ip("10.0.0.254")), fresh(254)),
            ((ETH, ip("fe80::1")), fresh(61)),
            ((ETH, ip("2001:db8::2")), fresh(62)),
            ((VLAN7, ip("10.7.0.2")), fresh(72)),
            ((STACKED, ip("10.8.0.2")), fresh(82)),
            ((SERVICE_TAG, ip("10.9.0.2")), fresh(92)),
        ];
        let address = |interface, text: &str, is_source| Address {
            interface,
            address: text.parse().expect("an address"),
            is_source,
        };
        Snapshot {
            routes: [].into(),
            links: links.into(),
            neighbours: neighbours.into(),
            addresses: vec![
                address(LO, "127.0.0.1", false),
                address(ETH, "fe80::9", false),
                address(ETH, "10.0.0.1", true),
                address(ETH, "2001:db8::1", true),
            ],
        }
    }

    fn via(interface: u32, gateway: &str) -> Option<Route> {
        let gateway = (!gateway.is_empty()).then(|| ip(gateway));
        Some(Route { interface, gateway, source: Some(ip("10.0.0.1")), local: false, mtu: None })
    }

    /// Interface, tag, source and destination MAC.
    type Hop = Option<(u32, Option<u16>, u8, u8)>;
    /// Case, server, its route, the next hop, what is missing.
    type Row = (&'static str, &'static str, Option<Route>, Hop, Option<(Place, Need)>);

    #[test]
    fn each_route_leads_to_its_next_hop() {
        let missing = |interface, text| Some(((interface, ip(text)), Need::Address));
        let stale = Some(((ETH, ip("10.0.0.3")), Need::Confirmation));
        #[rustfmt::skip]
        let rows: &[Row] = &[
            ("on the link", "10.0.0.2", via(ETH, ""), Some((ETH, None, 2, 20)), None),
            ("stale is good enough, and asked about", "10.0.0.3", via(ETH, ""), Some((ETH, None, 2, 30)), stale),
            ("unknown neighbour", "10.0.0.4", via(ETH, ""), None, missing(ETH, "10.0.0.4")),
            ("through a gateway", "192.0.2.1", via(ETH, "10.0.0.254"), Some((ETH, None, 2, 254)), None),
            ("through an unknown gateway", "192.0.2.1", via(ETH, "10.0.0.253"), None, missing(ETH, "10.0.0.253")),
            ("through a neighbour of the other family", "192.0.2.1", via(ETH, "fe80::1"), Some((ETH, None, 2, 61)), None),
            ("IPv6 on the link", "2001:db8::2", via(ETH, ""), Some((ETH, None, 2, 62)), None),
            ("a neighbour counts on its own device only", "10.7.0.2", via(ETH, ""), None, missing(ETH, "10.7.0.2")),
            ("a VLAN leaves through the device below", "10.7.0.2", via(VLAN7, ""), Some((ETH, Some(7), 3, 72)), None),
            ("stacked VLANs are the kernel's", "10.8.0.2", via(STACKED, ""), None, None),
            ("service tags are the kernel's", "10.9.0.2", via(SERVICE_TAG, ""), None, None),
            ("a tunnel is the kernel's", "10.6.0.2", via(TUN, ""), None, None),
            ("a device without neighbours", "10.5.0.2", via(NOARP, ""), Some((NOARP, None, 7, 7)), None),
            ("a device that is gone", "10.5.0.2", via(MISSING, ""), None, None),
            ("no route", "10.0.0.2", None, None, None),
        ];
        for (case, server, route, hop, need) in rows {
            let mut world = world();
            world.routes.extend(route.map(|route| (ip(server), route)));
            let (resolution, found) = resolve(ip(server), &world);
            let next_hop = hop.map(|(interface, vlan, source, destination)| NextHop {
                interface,
                vlan,
                source_mac: mac(source),
                mac: mac(destination),
            });
            let source = route.and_then(|route| route.source);
            let routed = route.is_some_and(|route| route.gateway.is_some());
            assert_eq!(
                resolution,
                Resolution { next_hop, source, local: false, routed, mtu: resolution.mtu },
                "{case}"
            );
            assert_eq!(found, *need, "{case}");
        }
    }

    #[test]
    fn a_route_without_a_source_takes_an_address_of_its_device() {
        for (server, interface, expected) in [
            ("10.0.0.2", ETH, Some("10.0.0.1")),
            ("2001:db8::2", ETH, Some("2001:db8::1")),
            ("10.7.0.2", VLAN7, None),
            ("127.0.0.2", LO, None),
        ] {
            let mut world = world();
            let route = Route { interface, gateway: None, source: None, local: false, mtu: None };
            world.routes.insert(ip(server), route);
            assert_eq!(resolve(ip(server), &world).0.source, expected.map(ip), "{server}");
        }
    }

    #[test]
    fn a_way_is_as_wide_as_its_narrowest_part_that_is_known() {
        for (route, link, expected) in [
            (None, Some(1500), Some(1500)),
            (Some(1400), Some(1500), Some(1400)),
            (Some(9000), Some(1500), Some(1500)),
            (Some(1300), None, Some(1300)),
            (None, Some(65_536), Some(u16::MAX)),
            (None, None, None),
        ] {
            let mut world = world();
            let server = ip("10.0.0.2");
            world.routes.insert(server, Route { mtu: route, ..via(ETH, "").expect("a route") });
            world.links.get_mut(&ETH).expect("a device").mtu = link;
            assert_eq!(resolve(server, &world).0.mtu, expected);
        }
    }

    #[test]
    fn the_hosts_own_address_is_local() {
        let mut world = world();
        let source = Some(ip("10.0.0.1"));
        world
            .routes
            .insert(ip("10.0.0.1"), Route { interface: LO, gateway: None, source, local: true, mtu: None });
        let local = Resolution { source, local: true, ..Resolution::default() };
        assert_eq!(resolve(ip("10.0.0.1"), &world), (local, None));
    }
}
