//! The packet parser: Ethernet with up to two VLAN tags, IPv4 with options, IPv6, TCP, UDP.
//!
//! In steps, because most packets of a host are not the balancer's business: [`Link::parse`] finds the network
//! header, [`Family::parse`] tells where the packet goes, and only a packet to one of the balancer's addresses
//! has its transport header looked at ([`Transport::parse`]).

use network_types::{
    eth::EthHdr,
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    vlan::VlanHdr,
};

use crate::{
    addr::{Address, V4, V6},
    be::Be16,
    bytes::Bytes,
    tcp::Flags,
};

/// EtherTypes (IEEE 802 numbers).
pub mod ethertype {
    use crate::be::Be16;

    /// IPv4.
    pub const IPV4: Be16 = Be16::new(0x0800);
    /// IPv6.
    pub const IPV6: Be16 = Be16::new(0x86dd);
    /// A customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: Be16 = Be16::new(0x8100);
    /// A service VLAN tag (IEEE 802.1ad).
    pub const SERVICE_VLAN: Be16 = Be16::new(0x88a8);
}

/// IP protocol numbers.
pub mod protocol {
    use super::IpProto;

    /// TCP.
    pub const TCP: u8 = IpProto::Tcp as u8;
    /// UDP.
    pub const UDP: u8 = IpProto::Udp as u8;
    /// IPv4 in IP (RFC 2003).
    pub const IP_IN_IP: u8 = 4;
    /// IPv6 in IP (RFC 2473).
    pub const IPV6_IN_IP: u8 = 41;
}

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = EthHdr::LEN;
/// Length of a VLAN tag.
pub const VLAN_LEN: usize = VlanHdr::LEN;

/// What a frame's link layer says beside who sent it to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The VLAN tags.
    pub tags: Tags,
    /// What follows the tags.
    pub ethertype: Be16,
}

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// Who sent a frame to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Macs {
    /// The receiver.
    pub destination: Mac,
    /// The sender.
    pub source: Mac,
}

impl Macs {
    /// Reads them from the start of a frame; `None` if it is too short.
    #[inline(always)]
    pub fn read(frame: Bytes) -> Option<Self> {
        Some(Self { destination: Mac(frame.read(0)?), source: Mac(frame.read(6)?) })
    }

    /// Those of an answer.
    #[inline(always)]
    pub const fn swapped(self) -> Self {
        Self { destination: self.source, source: self.destination }
    }
}

/// Up to two VLAN tags, outer first. Of a tag both the identifier and the priority bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// How many there are.
    pub count: u8,
    /// Whether the outer one is a service tag (0x88a8).
    pub service: bool,
    /// Tag control information of the outer and the inner tag.
    pub tci: [Be16; 2],
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { count: 0, service: false, tci: [Be16::new(0); 2] };

    /// One customer tag.
    pub const fn one(tci: u16) -> Self {
        Self { count: 1, service: false, tci: [Be16::new(tci), Be16::new(0)] }
    }

    /// Length of the Ethernet header with these tags.
    #[inline(always)]
    pub const fn header_len(self) -> usize {
        ETHERNET_LEN + VLAN_LEN * self.count as usize
    }
}

const fn is_tag(ethertype: Be16) -> bool {
    ethertype.raw() == ethertype::VLAN.raw() || ethertype.raw() == ethertype::SERVICE_VLAN.raw()
}

impl Link {
    /// Reads the link layer; `None` if the frame is shorter than its headers.
    #[inline(always)]
    pub fn parse(frame: Bytes) -> Option<Self> {
        let mut tags = Tags::NONE;
        let mut ethertype = frame.read::<Be16>(12)?;
        if is_tag(ethertype) {
            tags.service = ethertype == ethertype::SERVICE_VLAN;
            tags.count = 1;
            tags.tci[0] = frame.read(14)?;
            ethertype = frame.read(16)?;
            if is_tag(ethertype) {
                tags.count = 2;
                tags.tci[1] = frame.read(18)?;
                ethertype = frame.read(20)?;
            }
        }
        Some(Self { tags, ethertype })
    }

    /// Offset of the network header.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.tags.header_len()
    }

    /// Never: a frame has a header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes the link layer at the start of a frame; `None` if it is too short.
    #[inline(always)]
    pub fn write(&self, frame: Bytes, macs: Macs) -> Option<()> {
        frame.write(0, macs.destination.0)?;
        frame.write(6, macs.source.0)?;
        let outer = if self.tags.service { ethertype::SERVICE_VLAN } else { ethertype::VLAN };
        match self.tags.count {
            0 => frame.write(12, self.ethertype),
            1 => {
                frame.write(12, outer)?;
                frame.write(14, self.tags.tci[0])?;
                frame.write(16, self.ethertype)
            }
            _ => {
                frame.write(12, outer)?;
                frame.write(14, self.tags.tci[0])?;
                frame.write(16, ethertype::VLAN)?;
                frame.write(18, self.tags.tci[1])?;
                frame.write(20, self.ethertype)
            }
        }
    }
}

/// Why a network header is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A packet's network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<A> {
    /// Where it comes from.
    pub source: A,
    /// Where it goes.
    pub destination: A,
    /// Offset of the network header in the frame. A byte, so that the verifier knows its bounds even when it
    /// comes from the stack.
    pub offset: u8,
    /// Offset of what follows it.
    pub payload: u8,
    /// Offset of the packet's end, by its own length field; what follows is Ethernet padding.
    pub end: u32,
    /// What follows: an IP protocol number; in IPv6 that of the first header behind the fixed one.
    pub protocol: u8,
    /// Whether this is a part of a fragmented packet.
    pub fragment: bool,
    /// TTL or hop limit.
    pub hops: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub class: u8,
}

/// The outer header of a tunnelled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer<A> {
    /// The balancer.
    pub source: A,
    /// The server.
    pub destination: A,
    /// IPv4: the sum of the words that are the same for all packets of a backend: [`Family::tunnel_sum`].
    pub sum: u16,
    /// Type of service or traffic class of the packet inside: ECN goes with it (RFC 6040, section 4.1).
    pub class: u8,
    /// Length of the packet inside.
    pub payload_len: u16,
}

/// An address family: what differs between IPv4 and IPv6.
pub trait Family: Sized + 'static {
    /// Its addresses.
    type Address: Address + crate::bytes::Plain;
    /// Offsets of source and destination address in the header.
    const ADDRESSES: [usize; 2];
    /// Length of a header without options.
    const HEADER_LEN: usize;
    /// The EtherType.
    const ETHERTYPE: Be16;

    /// Reads the header at `offset`.
    ///
    /// # Errors
    /// The header is cut short, or its lengths contradict each other or the frame.
    fn parse(frame: Bytes, offset: usize) -> Result<Network<Self::Address>, Malformed>;

    /// Whether `protocol` is an extension header rather than a transport protocol.
    fn is_extension(protocol: u8) -> bool;

    /// Takes one hop off and corrects the header's checksum for it and, where the family has one, for the
    /// exchange of both addresses, which the caller writes.
    fn decrement_hops(
        frame: Bytes,
        network: &Network<Self::Address>,
        source: Self::Address,
        destination: Self::Address,
    ) -> Option<()>;

    /// Writes a header without options: `payload_len` bytes of `protocol` from `source` to `destination`.
    fn write_header(
        frame: Bytes,
        offset: usize,
        source: Self::Address,
        destination: Self::Address,
        protocol: u8,
        payload_len: u16,
    ) -> Option<()>;

    /// What of an outer header's checksum is the same for all packets between two addresses.
    fn tunnel_sum(source: Self::Address, destination: Self::Address) -> u16;

    /// Writes an outer header in front of a packet of the same family.
    fn write_outer(frame: Bytes, offset: usize, outer: &Outer<Self::Address>) -> Option<()>;
}

/// IPv4 (RFC 791).
#[derive(Clone, Copy, Debug)]
pub struct Ipv4;

/// IPv6 (RFC 8200).
#[derive(Clone, Copy, Debug)]
pub struct Ipv6;

/// The hop limit of packets the balancer makes itself.
const OWN_HOPS: u8 = 64;
/// The flag of IPv4 that forbids fragments.
const DONT_FRAGMENT: Be16 = Be16::new(0x4000);

impl Family for Ipv4 {
    type Address = V4;
    const ADDRESSES: [usize; 2] = [12, 16];
    const HEADER_LEN: usize = Ipv4Hdr::LEN;
    const ETHERTYPE: Be16 = ethertype::IPV4;

    #[inline(always)]
    fn parse(frame: Bytes, offset: usize) -> Result<Network<V4>, Malformed> {
        let [version_ihl, class] = frame.read::<[u8; 2]>(offset).ok_or(Malformed)?;
        let header_len = usize::from(version_ihl & 0x0f) * 4;
        let total_len = usize::from(frame.read::<Be16>(offset + 2).ok_or(Malformed)?.get());
        let flags_offset = frame.read::<Be16>(offset + 6).ok_or(Malformed)?.get();
        let [hops, protocol] = frame.read::<[u8; 2]>(offset + 8).ok_or(Malformed)?;
        let source = frame.read::<V4>(offset + 12).ok_or(Malformed)?;
        let destination = frame.read::<V4>(offset + 16).ok_or(Malformed)?;
        let end = offset + total_len;
        if version_ihl >> 4 != 4
            || header_len < Self::HEADER_LEN
            || total_len < header_len
            || end > frame.len()
        {
            return Err(Malformed);
        }
        // More-fragments flag, or an offset: everything but "reserved" and "don't fragment".
        let fragment = flags_offset & 0x3fff != 0;
        let payload = (offset + header_len) as u8;
        Ok(Network {
            source,
            destination,
            offset: offset as u8,
            payload,
            end: end as u32,
            protocol,
            fragment,
            hops,
            class,
        })
    }

    #[inline(always)]
    fn is_extension(_protocol: u8) -> bool {
        false
    }

    #[inline(always)]
    fn decrement_hops(frame: Bytes, network: &Network<V4>, source: V4, destination: V4) -> Option<()> {
        let at = usize::from(network.offset);
        let old = frame.read::<u16>(at + 8)?;
        frame.write(at + 8, network.hops.wrapping_sub(1))?;
        let new = frame.read::<u16>(at + 8)?;
        let mut sum = crate::checksum::Sum::from_checksum(frame.read(at + 10)?);
        sum.remove_u16(old);
        sum.add_u16(new);
        network.source.remove_from(&mut sum);
        network.destination.remove_from(&mut sum);
        source.add_to(&mut sum);
        destination.add_to(&mut sum);
        frame.write(at + 10, sum.checksum())
    }

    #[inline(always)]
    fn write_header(
        frame: Bytes,
        offset: usize,
        source: V4,
        destination: V4,
        protocol: u8,
        payload_len: u16,
    ) -> Option<()> {
        let total_len = Be16::new(Self::HEADER_LEN as u16 + payload_len);
        let words = [
            u16::from_ne_bytes([0x45, 0]),
            total_len.raw(),
            0, // identification: of no meaning with DF (RFC 6864, section 4.1)
            DONT_FRAGMENT.raw(),
            u16::from_ne_bytes([OWN_HOPS, protocol]),
        ];
        let mut sum = crate::checksum::Sum::new();
        let mut at = offset;
        for word in words {
            frame.write(at, word)?;
            sum.add_u16(word);
            at += 2;
        }
        source.add_to(&mut sum);
        destination.add_to(&mut sum);
        frame.write(offset + 10, sum.checksum())?;
        frame.write(offset + 12, source)?;
        frame.write(offset + 16, destination)
    }

    fn tunnel_sum(source: V4, destination: V4) -> u16 {
        let mut sum = crate::checksum::Sum::new();
        sum.add_u16(u16::from_ne_bytes([0x45, 0]));
        sum.add_u16(DONT_FRAGMENT.raw());
        sum.add_u16(u16::from_ne_bytes([OWN_HOPS, protocol::IP_IN_IP]));
        source.add_to(&mut sum);
        destination.add_to(&mut sum);
        !sum.checksum()
    }

    #[inline(always)]
    fn write_outer(frame: Bytes, offset: usize, outer: &Outer<V4>) -> Option<()> {
        let Outer { source, destination, sum, class, payload_len } = *outer;
        let total_len = Be16::new(payload_len + Self::HEADER_LEN as u16);
        let mut sum = crate::checksum::Sum::from_checksum(!sum);
        sum.add_u16(u16::from_ne_bytes([0, class]));
        sum.add_u16(total_len.raw());
        frame.write(offset, [0x45, class])?;
        frame.write(offset + 2, total_len)?;
        frame.write(offset + 4, 0u16)?;
        frame.write(offset + 6, DONT_FRAGMENT)?;
        frame.write(offset + 8, [OWN_HOPS, protocol::IP_IN_IP])?;
        frame.write(offset + 10, sum.checksum())?;
        frame.write(offset + 12, source)?;
        frame.write(offset + 16, destination)
    }
}

impl Family for Ipv6 {
    type Address = V6;
    const ADDRESSES: [usize; 2] = [8, 24];
    const HEADER_LEN: usize = Ipv6Hdr::LEN;
    const ETHERTYPE: Be16 = ethertype::IPV6;

    #[inline(always)]
    fn parse(frame: Bytes, offset: usize) -> Result<Network<V6>, Malformed> {
        let [first, second] = frame.read::<[u8; 2]>(offset).ok_or(Malformed)?;
        let (version, class) = (first >> 4, first << 4 | second >> 4);
        let payload_len = usize::from(frame.read::<Be16>(offset + 4).ok_or(Malformed)?.get());
        let [protocol, hops] = frame.read::<[u8; 2]>(offset + 6).ok_or(Malformed)?;
        let source = V6(frame.read(offset + 8).ok_or(Malformed)?);
        let destination = V6(frame.read(offset + 24).ok_or(Malformed)?);
        let payload = offset + Self::HEADER_LEN;
        let end = payload + payload_len;
        if version != 6 || end > frame.len() {
            return Err(Malformed);
        }
        // Fragment header, RFC 8200, section 4.5.
        let fragment = protocol == 44;
        let (offset, payload) = (offset as u8, payload as u8);
        Ok(Network { source, destination, offset, payload, end: end as u32, protocol, fragment, hops, class })
    }

    /// Hop-by-hop, routing, authentication, destination options, mobility, HIP, shim6 (RFC 7045, section 1.2).
    #[inline(always)]
    fn is_extension(protocol: u8) -> bool {
        matches!(protocol, 0 | 43 | 51 | 60 | 135 | 139 | 140)
    }

    #[inline(always)]
    fn decrement_hops(frame: Bytes, network: &Network<V6>, _source: V6, _destination: V6) -> Option<()> {
        frame.write(usize::from(network.offset) + 7, network.hops.wrapping_sub(1))
    }

    #[inline(always)]
    fn write_header(
        frame: Bytes,
        offset: usize,
        source: V6,
        destination: V6,
        protocol: u8,
        payload_len: u16,
    ) -> Option<()> {
        frame.write(offset, [0x60u8, 0, 0, 0])?;
        frame.write(offset + 4, Be16::new(payload_len))?;
        frame.write(offset + 6, [protocol, OWN_HOPS])?;
        frame.write(offset + 8, source)?;
        frame.write(offset + 24, destination)
    }

    fn tunnel_sum(_source: V6, _destination: V6) -> u16 {
        0
    }

    #[inline(always)]
    fn write_outer(frame: Bytes, offset: usize, outer: &Outer<V6>) -> Option<()> {
        let Outer { source, destination, sum: _, class, payload_len } = *outer;
        frame.write(offset, [0x60 | class >> 4, class << 4, 0, 0])?;
        frame.write(offset + 4, Be16::new(payload_len))?;
        frame.write(offset + 6, [protocol::IPV6_IN_IP, OWN_HOPS])?;
        frame.write(offset + 8, source)?;
        frame.write(offset + 24, destination)
    }
}

/// What the balancer needs of a TCP or UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The sender's port.
    pub source: Be16,
    /// The receiver's port.
    pub destination: Be16,
    /// [`protocol::TCP`] or [`protocol::UDP`].
    pub protocol: u8,
    /// TCP flags; none for UDP.
    pub flags: Flags,
    /// Length of the header.
    pub header_len: u8,
}

impl Transport {
    /// Reads the header behind `network`, whose protocol is TCP or UDP.
    ///
    /// # Errors
    /// The header is cut short, or its length field contradicts the packet's.
    #[inline(always)]
    pub fn parse<A>(frame: Bytes, network: &Network<A>) -> Result<Self, Malformed> {
        let at = usize::from(network.payload);
        let source = frame.read(at).ok_or(Malformed)?;
        let destination = frame.read(at + 2).ok_or(Malformed)?;
        let available = network.end as usize - at;
        let (flags, header_len) = if network.protocol == protocol::TCP {
            let offset_flags = frame.read::<[u8; 2]>(at + 12).ok_or(Malformed)?;
            let header_len = usize::from(offset_flags[0] >> 4) * 4;
            if header_len < 20 || header_len > available {
                return Err(Malformed);
            }
            (Flags(offset_flags[1]), header_len)
        } else {
            let length = usize::from(frame.read::<Be16>(at + 4).ok_or(Malformed)?.get());
            // RFC 768; 0 is for jumbograms (RFC 2675), which XDP never sees.
            if length < 8 || length > available {
                return Err(Malformed);
            }
            (Flags::default(), 8)
        };
        Ok(Self { source, destination, protocol: network.protocol, flags, header_len: header_len as u8 })
    }

    /// Offset of the checksum field from the start of the header.
    #[inline(always)]
    pub const fn checksum_offset(&self) -> usize {
        if self.protocol == protocol::TCP { 16 } else { 6 }
    }
}

/// Rewrites addresses and ports, takes one hop off and corrects every checksum for it; `None` if the packet is
/// shorter than it was when it was parsed.
#[inline(always)]
pub fn translate<F: Family>(
    frame: Bytes,
    network: &Network<F::Address>,
    transport: &Transport,
    source: (F::Address, Be16),
    destination: (F::Address, Be16),
) -> Option<()> {
    F::decrement_hops(frame, network, source.0, destination.0)?;
    let (header, ports) = (usize::from(network.offset), usize::from(network.payload));
    frame.write(header + F::ADDRESSES[0], source.0)?;
    frame.write(header + F::ADDRESSES[1], destination.0)?;
    frame.write(ports, source.1)?;
    frame.write(ports + 2, destination.1)?;

    let field = ports + transport.checksum_offset();
    let old = frame.read::<u16>(field)?;
    let udp = transport.protocol == protocol::UDP;
    if udp && old == 0 {
        // The sender computed none (RFC 768); IPv6 forbids that (RFC 8200, section 8.1), and the receiver judges.
        return Some(());
    }
    let mut sum = crate::checksum::Sum::from_checksum(old);
    network.source.remove_from(&mut sum);
    network.destination.remove_from(&mut sum);
    source.0.add_to(&mut sum);
    destination.0.add_to(&mut sum);
    sum.remove_u16(transport.source.raw());
    sum.remove_u16(transport.destination.raw());
    sum.add_u16(source.1.raw());
    sum.add_u16(destination.1.raw());
    let new = sum.checksum();
    frame.write(field, if udp { crate::checksum::udp_field(new) } else { new })
}

#[cfg(test)]
mod tests;
