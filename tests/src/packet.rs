//! Frames for tests, right or deliberately wrong, byte by byte.
//!
//! Of our own code and of nobody's parser: what a test sends must not come from what judges the answer.

mod bytes;
mod checksum;
pub mod fragments;

use std::net::SocketAddr;

/// TCP flags (RFC 9293, section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Hand the data to the receiver at once.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
    /// Both at once: the answer to a SYN.
    pub const SYN_ACK: u8 = SYN | ACK;
    /// The usual end of one direction.
    pub const FIN_ACK: u8 = FIN | ACK;
}

/// EtherType of a customer VLAN tag (IEEE 802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (IEEE 802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;

/// A VLAN tag: its EtherType and its control information (priority and identifier).
pub type Tag = (u16, u16);

/// What the transport checksum of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The right one.
    Right,
    /// One that does not fit.
    Wrong,
    /// 0: in UDP, that there is none.
    Zero,
}

/// A place in a frame, counted from the start of one of its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The Ethernet header.
    Link(usize),
    /// The IP header.
    Network(usize),
    /// What follows the IP header and its options.
    Transport(usize),
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Transport {
    Tcp {
        flags: u8,
        sequence: u32,
        acknowledgement: u32,
        options: Vec<u8>,
    },
    Udp,
    /// ICMP of the addresses' family, by type and code: the payload follows the checksum.
    Icmp(u8, u8),
    /// Any other protocol: the payload follows the IP header.
    Other(u8),
}

/// A frame to be: Ethernet, VLAN tags, IPv4 or IPv6 as its addresses say, and TCP, UDP or anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    macs: [[u8; 6]; 2],
    tags: Vec<Tag>,
    from: SocketAddr,
    to: SocketAddr,
    hops: u8,
    ip_options: Vec<u8>,
    transport: Transport,
    checksum: Checksum,
    payload: Vec<u8>,
    padding: usize,
    patches: Vec<(At, Vec<u8>)>,
}

impl Frame {
    /// Destination MAC address of frames that do not say otherwise.
    pub const DESTINATION: [u8; 6] = [0x02, 0, 0, 0, 0, 0x10];
    /// Source MAC address of frames that do not say otherwise.
    pub const SOURCE: [u8; 6] = [0x02, 0, 0, 0, 0, 0x05];
    /// TTL or hop limit of frames that do not say otherwise.
    pub const HOPS: u8 = 61;

    fn new(from: SocketAddr, to: SocketAddr, transport: Transport) -> Self {
        assert_eq!(from.is_ipv4(), to.is_ipv4(), "{from} and {to} are of different families");
        Self {
            macs: [Self::DESTINATION, Self::SOURCE],
            tags: Vec::new(),
            from,
            to,
            hops: Self::HOPS,
            ip_options: Vec::new(),
            transport,
            checksum: Checksum::Right,
            payload: Vec::new(),
            padding: 0,
            patches: Vec::new(),
        }
    }

    /// A TCP segment.
    ///
    /// # Panics
    /// The addresses are of different families.
    pub fn tcp(from: SocketAddr, to: SocketAddr, flags: u8) -> Self {
        let options = Vec::new();
        Self::new(from, to, Transport::Tcp { flags, sequence: 0x0102_0304, acknowledgement: 0, options })
    }

    /// A UDP datagram.
    ///
    /// # Panics
    /// As [`Frame::tcp`].
    pub fn udp(from: SocketAddr, to: SocketAddr) -> Self {
        Self::new(from, to, Transport::Udp)
    }

    /// A message of ICMP or ICMPv6, as the addresses say; the ports mean nothing.
    ///
    /// # Panics
    /// As [`Frame::tcp`].
    pub fn icmp(from: SocketAddr, to: SocketAddr, kind: u8, code: u8) -> Self {
        Self::new(from, to, Transport::Icmp(kind, code))
    }

    /// A packet of another IP protocol, or an IPv6 extension header; the ports mean nothing.
    ///
    /// # Panics
    /// As [`Frame::tcp`].
    pub fn other(from: SocketAddr, to: SocketAddr, protocol: u8) -> Self {
        Self::new(from, to, Transport::Other(protocol))
    }

    /// With these MAC addresses.
    #[must_use]
    pub fn macs(mut self, destination: [u8; 6], source: [u8; 6]) -> Self {
        self.macs = [destination, source];
        self
    }

    /// With these VLAN tags, outer first.
    #[must_use]
    pub fn tags(mut self, tags: &[Tag]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// With this TTL or hop limit.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// With these IPv4 options; nothing happens in IPv6.
    ///
    /// # Panics
    /// They are longer than 40 bytes, or no multiple of 4.
    #[must_use]
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        assert!(
            options.len() <= 40 && options.len().is_multiple_of(4),
            "{} bytes of IPv4 options",
            options.len()
        );
        if self.from.is_ipv4() {
            self.ip_options = options.to_vec();
        }
        self
    }

    /// With these TCP sequence and acknowledgement numbers.
    ///
    /// # Panics
    /// It is no TCP segment.
    #[must_use]
    pub fn numbers(mut self, sequence: u32, acknowledgement: u32) -> Self {
        let Transport::Tcp { sequence: s, acknowledgement: a, .. } = &mut self.transport else {
            panic!("only TCP has sequence numbers");
        };
        (*s, *a) = (sequence, acknowledgement);
        self
    }

    /// With these TCP options.
    ///
    /// # Panics
    /// It is no TCP segment, or they are longer than 40 bytes or no multiple of 4.
    #[must_use]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        assert!(bytes.len() <= 40 && bytes.len().is_multiple_of(4), "{} bytes of TCP options", bytes.len());
        let Transport::Tcp { options, .. } = &mut self.transport else {
            panic!("only TCP has these options");
        };
        *options = bytes.to_vec();
        self
    }

    /// With this payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// With this transport checksum.
    #[must_use]
    pub fn checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// With this many bytes behind the packet, as a device adds to short frames.
    #[must_use]
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// With other bytes in a place, written when all checksums are there. The IPv4 header's is made anew, so that
    /// it is no reason to refuse the packet.
    #[must_use]
    pub fn patch(mut self, at: At, bytes: &[u8]) -> Self {
        self.patches.push((at, bytes.to_vec()));
        self
    }

    /// The sender.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// The receiver.
    pub fn to(&self) -> SocketAddr {
        self.to
    }
}
