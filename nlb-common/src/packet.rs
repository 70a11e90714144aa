//! The packet parser: Ethernet with up to two VLAN tags, IPv4 with options, IPv6 with extension headers, TCP, UDP.
//!
//! In steps, because most packets of a host are not the balancer's business: [`Link::parse`] finds the network
//! header, [`Family::parse`] tells where the packet goes, and only a packet to one of the balancer's addresses
//! has its transport header looked at ([`Transport::parse`]).

use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use crate::{
    addr::{Address, V4, V6},
    be::Be16,
    bytes::Bytes,
    tcp::{self, Flags},
};

pub mod arp;
pub mod echo;
pub mod extension;
pub mod gue;
mod link;
pub mod neighbour;
pub mod too_big;

pub use self::link::{ETHERNET_LEN, Link, Mac, Macs, Tags, VLAN_LEN, ethertype};

/// IP protocol numbers.
pub mod protocol {
    use super::IpProto;

    /// TCP.
    pub const TCP: u8 = IpProto::Tcp as u8;
    /// UDP.
    pub const UDP: u8 = IpProto::Udp as u8;
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// IPv4 in IP (RFC 2003).
    pub const IP_IN_IP: u8 = 4;
    /// IPv6 in IP (RFC 2473).
    pub const IPV6_IN_IP: u8 = 41;
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
    /// Length of the header, with options or extension headers. A byte, so that the verifier knows its bounds even when
    /// it comes from the stack.
    pub header_len: u8,
    /// Length of the packet from the header on, by its own length field; what follows is Ethernet padding.
    pub len: u32,
    /// What follows: an IP protocol number; that of an IPv6 extension header where the headers could not be followed.
    pub protocol: u8,
    /// Whether this is a part of a fragmented packet; only in the first one a transport header follows.
    pub fragment: bool,
    /// TTL or hop limit.
    pub hops: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub class: u8,
}

/// Which part of which packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The packet's identification, as it lies in memory.
    pub id: u32,
    /// Whether it is the part with the transport header.
    pub is_first: bool,
}

impl Fragment {
    /// Of an IPv4 packet that is one.
    #[inline(always)]
    pub fn of_v4(packet: Bytes) -> Option<Self> {
        let offset = packet.read::<u16>(6)? & const { Be16::new(0x1fff).raw() };
        Some(Self { id: packet.read::<u16>(4)?.into(), is_first: offset == 0 })
    }
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
    /// What follows: an IP protocol number.
    pub protocol: u8,
    /// Type of service or traffic class of the packet inside: ECN goes with it (RFC 6040, section 4.1).
    pub class: u8,
    /// Length of what follows.
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
    /// Its IP protocol number, inside another packet.
    const INSIDE: u8;
    /// The IP protocol number of its control messages.
    const ICMP: u8;

    /// Reads the header that a packet begins with.
    ///
    /// # Errors
    /// The header is cut short, or its lengths contradict each other or the frame.
    fn parse(packet: Bytes) -> Result<Network<Self::Address>, Malformed>;

    /// Reads the header as if there were nothing between it and the transport header: its length is then known at compile
    /// time. In IPv6, whether that is so is to be told by the protocol.
    ///
    /// # Errors
    /// There are options of IPv4, or as [`Family::parse`].
    fn parse_plain(packet: Bytes) -> Result<Network<Self::Address>, Malformed>;

    /// What follows a header without options.
    fn after_plain_header(packet: Bytes) -> Bytes;

    /// Whether `protocol` is an extension header rather than a transport protocol: [`extension`] follows it.
    fn is_extension(protocol: u8) -> bool;

    /// Takes one hop off; there is more than one.
    fn decrement_hops(packet: Bytes, network: &Network<Self::Address>) -> Option<()>;

    /// Takes one hop off and exchanges both addresses.
    fn readdress(
        packet: Bytes,
        network: &Network<Self::Address>,
        source: Self::Address,
        destination: Self::Address,
    ) -> Option<()>;

    /// Takes one hop off and exchanges the destination.
    fn redirect(packet: Bytes, network: &Network<Self::Address>, destination: Self::Address) -> Option<()>;

    /// Writes a header without options: `payload_len` bytes of `protocol` from `source` to `destination`.
    fn write_header(
        packet: Bytes,
        source: Self::Address,
        destination: Self::Address,
        protocol: u8,
        payload_len: u16,
    ) -> Option<()>;

    /// What of an outer header's checksum is the same for all packets of a protocol between two addresses.
    fn tunnel_sum(source: Self::Address, destination: Self::Address, protocol: u8) -> u16;

    /// Writes an outer header to the start of `header`; `None` if that is too short.
    fn write_outer(header: Bytes, outer: &Outer<Self::Address>) -> Option<()>;
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
    const INSIDE: u8 = protocol::IP_IN_IP;
    const ICMP: u8 = protocol::ICMP;

    #[inline(always)]
    fn parse(packet: Bytes) -> Result<Network<V4>, Malformed> {
        let packet = packet.proven(Self::HEADER_LEN).ok_or(Malformed)?;
        let version_ihl = packet.read::<u8>(0).ok_or(Malformed)?;
        let header_len = usize::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || header_len < Self::HEADER_LEN {
            return Err(Malformed);
        }
        parse_v4(packet, header_len)
    }

    #[inline(always)]
    fn parse_plain(packet: Bytes) -> Result<Network<V4>, Malformed> {
        if packet.read(0) != Some(PLAIN_V4) {
            return Err(Malformed);
        }
        parse_v4(packet, Self::HEADER_LEN)
    }

    #[inline(always)]
    fn is_extension(_protocol: u8) -> bool {
        false
    }

    #[inline(always)]
    fn after_plain_header(packet: Bytes) -> Bytes {
        packet.split::<{ Self::HEADER_LEN }>()
    }

    #[inline(always)]
    fn decrement_hops(packet: Bytes, network: &Network<V4>) -> Option<()> {
        packet.write(8, fewer_hops(network))?;
        packet.write(10, crate::checksum::of_one_hop_less(packet.read(10)?))
    }

    #[inline(always)]
    fn readdress(packet: Bytes, network: &Network<V4>, source: V4, destination: V4) -> Option<()> {
        let mut sum = crate::checksum::Sum::from_checksum(packet.read(10)?);
        let hops = fewer_hops(network);
        sum.remove_u16(u16::from_ne_bytes([network.hops, network.protocol]));
        sum.add_u16(hops);
        network.source.remove_from(&mut sum);
        network.destination.remove_from(&mut sum);
        source.add_to(&mut sum);
        destination.add_to(&mut sum);
        packet.write(8, hops)?;
        packet.write(10, sum.checksum())?;
        packet.write(12, source)?;
        packet.write(16, destination)
    }

    #[inline(always)]
    fn redirect(packet: Bytes, network: &Network<V4>, destination: V4) -> Option<()> {
        let mut sum = crate::checksum::Sum::from_checksum(packet.read(10)?);
        let hops = fewer_hops(network);
        sum.remove_u16(u16::from_ne_bytes([network.hops, network.protocol]));
        sum.add_u16(hops);
        network.destination.remove_from(&mut sum);
        destination.add_to(&mut sum);
        packet.write(8, hops)?;
        packet.write(10, sum.checksum())?;
        packet.write(16, destination)
    }

    #[inline(always)]
    fn write_header(
        packet: Bytes,
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
        let packet = packet.proven(Self::HEADER_LEN)?;
        for (index, word) in words.into_iter().enumerate() {
            packet.write(2 * index, word)?;
            sum.add_u16(word);
        }
        source.add_to(&mut sum);
        destination.add_to(&mut sum);
        packet.write(10, sum.checksum())?;
        packet.write(12, source)?;
        packet.write(16, destination)
    }

    fn tunnel_sum(source: V4, destination: V4, protocol: u8) -> u16 {
        let mut sum = crate::checksum::Sum::new();
        sum.add_u16(u16::from_ne_bytes([0x45, 0]));
        sum.add_u16(DONT_FRAGMENT.raw());
        sum.add_u16(u16::from_ne_bytes([OWN_HOPS, protocol]));
        source.add_to(&mut sum);
        destination.add_to(&mut sum);
        !sum.checksum()
    }

    #[inline(always)]
    fn write_outer(header: Bytes, outer: &Outer<V4>) -> Option<()> {
        let header = header.proven(Self::HEADER_LEN)?;
        let Outer { source, destination, sum, protocol, class, payload_len } = *outer;
        let total_len = Be16::new(payload_len + Self::HEADER_LEN as u16).raw();
        let checksum = crate::checksum::of_three(sum, u16::from_ne_bytes([0, class]), total_len);
        // Identification 0: of no meaning with DF (RFC 6864, section 4.1).
        let hops_protocol = u16::from_ne_bytes([OWN_HOPS, protocol]);
        header.write(0, u32::from(u16::from_ne_bytes([0x45, class])) | u32::from(total_len) << 16)?;
        header.write(4, u32::from(DONT_FRAGMENT.raw()) << 16)?;
        header.write(8, u32::from(hops_protocol) | u32::from(checksum) << 16)?;
        header.write(12, source)?;
        header.write(16, destination)
    }
}

/// First byte of a header without options: version and length.
const PLAIN_V4: u8 = 0x45;

/// Reads a header whose first byte says that it has `header_len` bytes.
#[inline(always)]
fn parse_v4(header: Bytes, header_len: usize) -> Result<Network<V4>, Malformed> {
    let class = header.read::<u8>(1).ok_or(Malformed)?;
    let len = header.read::<Be16>(2).ok_or(Malformed)?.get();
    let flags_offset = header.read::<Be16>(6).ok_or(Malformed)?;
    let hops = header.read::<u8>(8).ok_or(Malformed)?;
    let protocol = header.read::<u8>(9).ok_or(Malformed)?;
    let source = header.read::<V4>(12).ok_or(Malformed)?;
    let destination = header.read::<V4>(16).ok_or(Malformed)?;
    if usize::from(len) < header_len || usize::from(len) > header.len() {
        return Err(Malformed);
    }
    // More-fragments flag, or an offset: everything but "reserved" and "don't fragment".
    let fragment = flags_offset.raw() & const { Be16::new(0x3fff).raw() } != 0;
    let (header_len, len) = (header_len as u8, len.into());
    Ok(Network { source, destination, header_len, len, protocol, fragment, hops, class })
}

/// The word of hops and protocol after one more hop.
#[inline(always)]
const fn fewer_hops(network: &Network<V4>) -> u16 {
    u16::from_ne_bytes([network.hops.wrapping_sub(1), network.protocol])
}

impl Family for Ipv6 {
    type Address = V6;
    const ADDRESSES: [usize; 2] = [8, 24];
    const HEADER_LEN: usize = Ipv6Hdr::LEN;
    const ETHERTYPE: Be16 = ethertype::IPV6;
    const INSIDE: u8 = protocol::IPV6_IN_IP;
    const ICMP: u8 = protocol::ICMPV6;

    #[inline(always)]
    fn parse(packet: Bytes) -> Result<Network<V6>, Malformed> {
        let packet = packet.proven(Self::HEADER_LEN).ok_or(Malformed)?;
        Self::parse_plain(packet)
    }

    #[inline(always)]
    fn parse_plain(packet: Bytes) -> Result<Network<V6>, Malformed> {
        let [first, second] = packet.read::<[u8; 2]>(0).ok_or(Malformed)?;
        let (version, class) = (first >> 4, first << 4 | second >> 4);
        let payload_len = u32::from(packet.read::<Be16>(4).ok_or(Malformed)?.get());
        let protocol = packet.read::<u8>(6).ok_or(Malformed)?;
        let hops = packet.read::<u8>(7).ok_or(Malformed)?;
        let source = V6(packet.read(8).ok_or(Malformed)?);
        let destination = V6(packet.read(24).ok_or(Malformed)?);
        let len = Self::HEADER_LEN as u32 + payload_len;
        if version != 6 || len as usize > packet.len() {
            return Err(Malformed);
        }
        let header_len = Self::HEADER_LEN as u8;
        Ok(Network { source, destination, header_len, len, protocol, fragment: false, hops, class })
    }

    #[inline(always)]
    fn is_extension(protocol: u8) -> bool {
        extension::is_there(protocol)
    }

    #[inline(always)]
    fn after_plain_header(packet: Bytes) -> Bytes {
        packet.split::<{ Self::HEADER_LEN }>()
    }

    #[inline(always)]
    fn decrement_hops(packet: Bytes, network: &Network<V6>) -> Option<()> {
        packet.write(7, network.hops.wrapping_sub(1))
    }

    #[inline(always)]
    fn readdress(packet: Bytes, network: &Network<V6>, source: V6, destination: V6) -> Option<()> {
        Self::decrement_hops(packet, network)?;
        packet.write(8, source)?;
        packet.write(24, destination)
    }

    #[inline(always)]
    fn redirect(packet: Bytes, network: &Network<V6>, destination: V6) -> Option<()> {
        Self::decrement_hops(packet, network)?;
        packet.write(24, destination)
    }

    #[inline(always)]
    fn write_header(
        packet: Bytes,
        source: V6,
        destination: V6,
        protocol: u8,
        payload_len: u16,
    ) -> Option<()> {
        let packet = packet.proven(Self::HEADER_LEN)?;
        packet.write(0, [0x60u8, 0, 0, 0])?;
        packet.write(4, Be16::new(payload_len))?;
        packet.write(6, [protocol, OWN_HOPS])?;
        packet.write(8, source)?;
        packet.write(24, destination)
    }

    fn tunnel_sum(_source: V6, _destination: V6, _protocol: u8) -> u16 {
        0
    }

    #[inline(always)]
    fn write_outer(header: Bytes, outer: &Outer<V6>) -> Option<()> {
        let header = header.proven(Self::HEADER_LEN)?;
        let Outer { source, destination, sum: _, protocol, class, payload_len } = *outer;
        let hops_protocol = u16::from_ne_bytes([protocol, OWN_HOPS]);
        header.write(0, u32::from_ne_bytes([0x60 | class >> 4, class << 4, 0, 0]))?;
        header.write(4, u32::from(Be16::new(payload_len).raw()) | u32::from(hops_protocol) << 16)?;
        header.write(8, source)?;
        header.write(24, destination)
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
}

impl Transport {
    /// Reads the header that a segment begins with, of a packet whose protocol is TCP or UDP.
    ///
    /// # Errors
    /// The header is cut short, or its length field contradicts the packet's.
    #[inline(always)]
    pub fn parse<A>(segment: Bytes, network: &Network<A>) -> Result<Self, Malformed> {
        let available = network.len as usize - usize::from(network.header_len);
        let segment = segment.proven(UDP_LEN).ok_or(Malformed)?;
        let source = segment.read(0).ok_or(Malformed)?;
        let destination = segment.read(2).ok_or(Malformed)?;
        let flags = if network.protocol == protocol::TCP {
            let segment = segment.proven(tcp::HEADER_LEN).ok_or(Malformed)?;
            let header_len = tcp::header_len(segment.read(12).ok_or(Malformed)?);
            if header_len < tcp::HEADER_LEN || header_len > available {
                return Err(Malformed);
            }
            Flags(segment.read(13).ok_or(Malformed)?)
        } else {
            let length = usize::from(segment.read::<Be16>(4).ok_or(Malformed)?.get());
            // RFC 768; 0 is for jumbograms (RFC 2675), which XDP never sees. Of a fragmented one more is to come.
            if length < UDP_LEN || (length > available && !network.fragment) {
                return Err(Malformed);
            }
            Flags::default()
        };
        Ok(Self { source, destination, protocol: network.protocol, flags })
    }
}

/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;
/// Length of a UDP header.
const UDP_LEN: usize = 8;

/// Rewrites addresses and ports, takes one hop off and corrects every checksum for it; `None` if the packet is
/// shorter than it was when it was parsed. `packet` begins with the network header, `segment` with the transport header.
#[inline(always)]
pub fn translate<F: Family>(
    [packet, segment]: [Bytes; 2],
    network: &Network<F::Address>,
    transport: &Transport,
    source: (F::Address, Be16),
    destination: (F::Address, Be16),
) -> Option<()> {
    F::readdress(packet, network, source.0, destination.0)?;
    segment.write(0, source.1)?;
    segment.write(2, destination.1)?;

    correct_checksum(segment, transport.protocol, |sum| {
        network.source.remove_from(sum);
        network.destination.remove_from(sum);
        source.0.add_to(sum);
        destination.0.add_to(sum);
        sum.remove_u16(transport.source.raw());
        sum.remove_u16(transport.destination.raw());
        sum.add_u16(source.1.raw());
        sum.add_u16(destination.1.raw());
    })
}

/// As [`translate`], but the source stays.
#[inline(always)]
pub fn translate_destination<F: Family>(
    [packet, segment]: [Bytes; 2],
    network: &Network<F::Address>,
    transport: &Transport,
    destination: (F::Address, Be16),
) -> Option<()> {
    F::redirect(packet, network, destination.0)?;
    segment.write(2, destination.1)?;
    correct_checksum(segment, transport.protocol, |sum| {
        network.destination.remove_from(sum);
        destination.0.add_to(sum);
        sum.remove_u16(transport.destination.raw());
        sum.add_u16(destination.1.raw());
    })
}

/// Corrects the checksum of a segment by what `changed`.
#[inline(always)]
fn correct_checksum(segment: Bytes, protocol: u8, changed: impl Fn(&mut crate::checksum::Sum)) -> Option<()> {
    let udp = protocol == protocol::UDP;
    // In two branches, so that either offset is a constant.
    let old = if udp { segment.read::<u16>(UDP_CHECKSUM)? } else { segment.read::<u16>(TCP_CHECKSUM)? };
    if udp && old == 0 {
        // The sender computed none (RFC 768); IPv6 forbids that (RFC 8200, section 8.1), and the receiver judges.
        return Some(());
    }
    let mut sum = crate::checksum::Sum::from_checksum(old);
    changed(&mut sum);
    let new = sum.checksum();
    if udp {
        segment.write(UDP_CHECKSUM, crate::checksum::udp_field(new))
    } else {
        segment.write(TCP_CHECKSUM, new)
    }
}

#[cfg(test)]
mod tests;
