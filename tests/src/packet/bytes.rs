//! A frame's bytes.

use std::net::IpAddr;

use super::{At, Checksum, Frame, Transport, checksum::checksum};

const ETHERNET_LEN: usize = 14;
const TAG_LEN: usize = 4;
const UDP_LEN: usize = 8;

impl Frame {
    /// The frame as it lies on the wire.
    ///
    /// # Panics
    /// It is longer than an IP packet can be, or a patch lies outside.
    pub fn build(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut frame = self.link();
        frame.extend(self.network(segment.len()));
        frame.extend(segment);
        frame.resize(frame.len() + self.padding, 0);
        self.apply_patches(&mut frame);
        frame
    }

    /// Offset of the IP header.
    pub fn network_offset(&self) -> usize {
        ETHERNET_LEN + TAG_LEN * self.tags.len()
    }

    /// Offset of what follows the IP header.
    pub fn transport_offset(&self) -> usize {
        let header = if self.from.is_ipv4() { 20 + self.ip_options.len() } else { 40 };
        self.network_offset() + header
    }

    fn link(&self) -> Vec<u8> {
        let mut bytes = self.macs.concat();
        for (ethertype, tci) in &self.tags {
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        let ethertype: u16 = if self.from.is_ipv4() { 0x0800 } else { 0x86dd };
        bytes.extend(ethertype.to_be_bytes());
        bytes
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp => 17,
            Transport::Icmp(..) => {
                if self.from.is_ipv4() {
                    1
                } else {
                    58
                }
            }
            Transport::Other(protocol) => protocol,
        }
    }

    fn network(&self, payload_len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header_len = 20 + self.ip_options.len();
                bytes.extend([0x40 | (header_len / 4) as u8, 0x28]);
                bytes.extend(length(header_len + payload_len));
                bytes.extend([0x12, 0x34, 0x40, 0x00, self.hops, self.protocol(), 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
                bytes.extend(&self.ip_options);
                let sum = checksum([bytes.as_slice()]);
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes.extend([0x62, 0x81, 0x23, 0x45]);
                bytes.extend(length(payload_len));
                bytes.extend([self.protocol(), self.hops]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            (from, to) => unreachable!("{from} and {to} are of one family"),
        }
        bytes
    }

    /// The transport header with its checksum, and the payload.
    fn segment(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Transport::Icmp(kind, code) = self.transport {
            bytes.extend([kind, code, 0, 0]);
        } else {
            bytes.extend(self.from.port().to_be_bytes());
            bytes.extend(self.to.port().to_be_bytes());
        }
        let field = match &self.transport {
            Transport::Tcp { flags, sequence, acknowledgement, options } => {
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledgement.to_be_bytes());
                let words = (20 + options.len()) / 4;
                bytes.extend([(words as u8) << 4, *flags, 0xfa, 0xf0, 0, 0, 0, 0]);
                bytes.extend(options);
                16
            }
            Transport::Udp => {
                bytes.extend(length(UDP_LEN + self.payload.len()));
                bytes.extend([0, 0]);
                6
            }
            Transport::Icmp(..) => 2,
            Transport::Other(_) => return self.payload.clone(),
        };
        bytes.extend(&self.payload);
        let sum = self.transport_checksum(&bytes);
        bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn transport_checksum(&self, segment: &[u8]) -> u16 {
        let mut pseudo = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
            (from, to) => unreachable!("{from} and {to} are of one family"),
        };
        // The two families' pseudo headers differ in the order and width of fields, not in their sum.
        pseudo.extend([0, self.protocol()]);
        pseudo.extend(length(segment.len()));
        if self.protocol() == 1 {
            // ICMP has none.
            pseudo.clear();
        }
        let right = match checksum([pseudo.as_slice(), segment]) {
            0 if self.transport == Transport::Udp => 0xffff,
            sum => sum,
        };
        match self.checksum {
            Checksum::Right => right,
            Checksum::Wrong => right ^ 0x1111,
            Checksum::Zero => 0,
        }
    }

    fn apply_patches(&self, frame: &mut [u8]) {
        for (at, bytes) in &self.patches {
            let offset = match at {
                At::Link(offset) => *offset,
                At::Network(offset) => self.network_offset() + offset,
                At::Transport(offset) => self.transport_offset() + offset,
            };
            frame[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        let touches_header = self.patches.iter().any(|(at, _)| matches!(at, At::Network(_)));
        if self.from.is_ipv4() && touches_header {
            let header = self.network_offset()..self.transport_offset();
            let field = header.start + 10;
            frame[field..field + 2].fill(0);
            let sum = checksum([&frame[header]]);
            frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).expect("a packet is shorter than 64 KiB").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use etherparse::{PacketBuilder, PacketHeaders};

    use super::*;
    use crate::packet::{SERVICE_VLAN, VLAN, flag};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn bytes_are_those_that_another_builder_makes() {
        let frame = Frame::tcp(address("10.9.0.5:4242"), address("10.0.0.10:80"), flag::SYN).numbers(7, 0);
        let mut expected = Vec::new();
        PacketBuilder::ethernet2(Frame::SOURCE, Frame::DESTINATION)
            .ipv4([10, 9, 0, 5], [10, 0, 0, 10], Frame::HOPS)
            .tcp(4242, 80, 7, 0xfaf0)
            .syn()
            .write(&mut expected, b"abc")
            .unwrap();
        // The other one leaves type of service and identification at zero.
        let built = frame.payload(b"abc").patch(At::Network(1), &[0]).patch(At::Network(4), &[0, 0]).build();
        assert_eq!(built, expected);
    }

    #[test]
    fn icmp_is_as_another_builder_makes_it() {
        for (from, to, kind) in [("10.9.0.5:0", "10.0.0.10:0", 8), ("[fd00:9::5]:0", "[fd00::10]:0", 128)] {
            let frame = Frame::icmp(address(from), address(to), kind, 0).payload(b"\0\x07\0\x09data!");
            let mut expected = Vec::new();
            let builder = PacketBuilder::ethernet2(Frame::SOURCE, Frame::DESTINATION);
            if kind == 8 {
                let builder = builder.ipv4([10, 9, 0, 5], [10, 0, 0, 10], 64).icmpv4_echo_request(7, 9);
                builder.write(&mut expected, b"data!").unwrap();
            } else {
                let [from, to] = [from, to].map(|text| match address(text).ip() {
                    IpAddr::V6(address) => address.octets(),
                    IpAddr::V4(_) => unreachable!("it is of IPv6"),
                });
                builder.ipv6(from, to, 64).icmpv6_echo_request(7, 9).write(&mut expected, b"data!").unwrap();
            }
            let message = frame.transport_offset();
            assert_eq!(frame.build()[message..], expected[message..], "{from}");
        }
    }

    #[test]
    fn an_independent_parser_reads_what_was_built() {
        for (from, to) in [("10.9.0.5:4242", "10.0.0.10:53"), ("[fd00:9::5]:4242", "[fd00::10]:53")] {
            let frame = Frame::udp(address(from), address(to)).tags(&[(SERVICE_VLAN, 7), (VLAN, 0x2064)]);
            let bytes = frame.ip_options(&[1, 1, 1, 0]).payload(b"question").padding(9).build();
            let headers = PacketHeaders::from_ethernet_slice(&bytes).unwrap();
            assert_eq!(headers.payload.slice(), b"question");
            let udp = headers.transport.unwrap().udp().unwrap();
            assert_eq!((udp.source_port, udp.destination_port, udp.length), (4242, 53, 16));
            assert_eq!(headers.link_exts.len(), 2);
        }
    }
}
