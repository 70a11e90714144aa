//! The oracle: what etherparse reads in a frame.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    Ipv4Slice, Ipv6Slice, LinkExtSlice, LinkSlice, NetSlice, SlicedPacket, TcpSlice, TransportSlice, UdpSlice,
};
use nlb_tests::packet::Tag;

/// A frame's contents. Two frames that differ in a way that matters differ here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// Destination MAC address.
    pub(crate) to_mac: [u8; 6],
    /// Source MAC address.
    pub(crate) from_mac: [u8; 6],
    /// VLAN tags, outer first.
    pub(crate) tags: Vec<Tag>,
    /// The sender.
    pub(crate) from: SocketAddr,
    /// The receiver.
    pub(crate) to: SocketAddr,
    /// TTL or hop limit.
    pub(crate) hops: u8,
    /// The rest of the IP header: IPv4 type of service, identification, flags and options; IPv6 traffic class
    /// and flow label.
    pub(crate) ip_rest: Vec<u8>,
    /// TCP's own fields; `None`: UDP.
    pub(crate) tcp: Option<Tcp>,
    /// What the transport checksum is. That of an IPv4 header is always right, or there is no `Parsed`.
    pub(crate) checksum: Check,
    /// The transport layer's payload.
    pub(crate) payload: Vec<u8>,
    /// Bytes behind the packet.
    pub(crate) padding: usize,
}

/// A TCP header's own fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tcp {
    /// Sequence number.
    pub(crate) sequence: u32,
    /// Acknowledgement number.
    pub(crate) acknowledgement: u32,
    /// Flags, those of RFC 3168 included.
    pub(crate) flags: u8,
    /// Window.
    pub(crate) window: u16,
    /// Urgent pointer.
    pub(crate) urgent: u16,
    /// Options.
    pub(crate) options: Vec<u8>,
}

/// What a checksum is, compared with one that etherparse computes from scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The same.
    Right,
    /// Another.
    Wrong,
    /// The sender computed none.
    None,
}

impl Parsed {
    /// Reads a frame with TCP or UDP.
    #[track_caller]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::try_of(bytes).unwrap_or_else(|| panic!("etherparse finds no TCP or UDP packet in {bytes:02x?}"))
    }

    /// Reads a frame; `None` if it is none with TCP or UDP, or if its IPv4 header's checksum is wrong.
    fn try_of(bytes: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(bytes).ok()?;
        let LinkSlice::Ethernet2(link) = packet.link.as_ref()? else { return None };
        let network = Network::of(packet.net.as_ref()?)?;
        let (ports, tcp, checksum, payload) = match packet.transport.as_ref()? {
            TransportSlice::Tcp(tcp) => tcp_parts(tcp, &network)?,
            TransportSlice::Udp(udp) => udp_parts(udp, &network)?,
            _ => return None,
        };
        Some(Self {
            to_mac: link.destination(),
            from_mac: link.source(),
            tags: tags(link.ether_type().0, &packet),
            from: SocketAddr::new(network.from, ports.0),
            to: SocketAddr::new(network.to, ports.1),
            hops: network.hops,
            ip_rest: network.rest,
            tcp,
            checksum,
            payload,
            padding: bytes.as_ptr_range().end as usize - network.end,
        })
    }

    /// The tags, MAC addresses (destination, source), sender and receiver exchanged, one hop less: what a balancer
    /// may change in a packet.
    pub(crate) fn moved(
        mut self,
        tags: &[Tag],
        macs: [[u8; 6]; 2],
        from: SocketAddr,
        to: SocketAddr,
    ) -> Self {
        self.tags = tags.to_vec();
        [self.to_mac, self.from_mac] = macs;
        self.from = from;
        self.to = to;
        self.hops -= 1;
        self
    }
}

fn tags(first: u16, packet: &SlicedPacket<'_>) -> Vec<Tag> {
    let mut ethertype = first;
    let mut tags = Vec::new();
    for extension in &packet.link_exts {
        if let LinkExtSlice::Vlan(tag) = extension {
            let tci = u16::from(tag.priority_code_point().value()) << 13
                | u16::from(tag.drop_eligible_indicator()) << 12
                | tag.vlan_identifier().value();
            tags.push((ethertype, tci));
            ethertype = tag.ether_type().0;
        }
    }
    tags
}

struct Network {
    from: IpAddr,
    to: IpAddr,
    hops: u8,
    rest: Vec<u8>,
    /// Address of the first byte behind the packet.
    end: usize,
}

impl Network {
    fn of(slice: &NetSlice<'_>) -> Option<Self> {
        match slice {
            NetSlice::Ipv4(packet) => Self::v4(packet),
            NetSlice::Ipv6(packet) => Some(Self::v6(packet)),
            NetSlice::Arp(_) => None,
        }
    }

    fn v4(packet: &Ipv4Slice<'_>) -> Option<Self> {
        let header = packet.header();
        if header.to_header().calc_header_checksum() != header.header_checksum() {
            return None;
        }
        let bytes = header.slice();
        Some(Self {
            from: header.source_addr().into(),
            to: header.destination_addr().into(),
            hops: header.ttl(),
            rest: [&bytes[1..2], &bytes[4..8], header.options()].concat(),
            end: bytes.as_ptr() as usize + usize::from(header.total_len()),
        })
    }

    fn v6(packet: &Ipv6Slice<'_>) -> Self {
        let header = packet.header();
        let bytes = header.slice();
        Self {
            from: header.source_addr().into(),
            to: header.destination_addr().into(),
            hops: header.hop_limit(),
            rest: bytes[..4].to_vec(),
            end: bytes.as_ptr() as usize + bytes.len() + usize::from(header.payload_length()),
        }
    }
}

type Parts = ((u16, u16), Option<Tcp>, Check, Vec<u8>);

fn tcp_parts(tcp: &TcpSlice<'_>, network: &Network) -> Option<Parts> {
    let right = match (network.from, network.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4(from.octets(), to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => tcp.calc_checksum_ipv6(from.octets(), to.octets()),
        _ => return None,
    };
    let check = if right.ok()? == tcp.checksum() { Check::Right } else { Check::Wrong };
    let fields = Tcp {
        sequence: tcp.sequence_number(),
        acknowledgement: tcp.acknowledgment_number(),
        flags: tcp.header_slice()[13],
        window: tcp.window_size(),
        urgent: tcp.urgent_pointer(),
        options: tcp.options().to_vec(),
    };
    Some(((tcp.source_port(), tcp.destination_port()), Some(fields), check, tcp.payload().to_vec()))
}

fn udp_parts(udp: &UdpSlice<'_>, network: &Network) -> Option<Parts> {
    let right = match (network.from, network.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            udp.to_header().calc_checksum_ipv4_raw(from.octets(), to.octets(), udp.payload())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            udp.to_header().calc_checksum_ipv6_raw(from.octets(), to.octets(), udp.payload())
        }
        _ => return None,
    };
    let check = match udp.checksum() {
        0 => Check::None,
        sum if sum == right.ok()? => Check::Right,
        _ => Check::Wrong,
    };
    Some(((udp.source_port(), udp.destination_port()), None, check, udp.payload().to_vec()))
}
