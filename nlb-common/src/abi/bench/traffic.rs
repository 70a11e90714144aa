//! The packets that the benchmark's wrapper makes: a template, and a rule that picks the flow of the next one.

use crate::{
    abi::{layout, pod},
    bytes::Bytes,
    checksum::Sum,
    packet::{ETHERNET_LEN, Family},
};

/// Length of every frame: the shortest TCP segment over IPv6, and a few bytes; the same in IPv4.
pub const FRAME_LEN: usize = 80;

/// A frame in words.
pub type Template = [u64; FRAME_LEN / 8];

/// How flows follow each other.
pub mod mode {
    /// Always flow 0.
    pub const FIXED: u32 = 0;
    /// Flow 0, 1, 2, ...; after the last the first.
    pub const SEQUENTIAL: u32 = 1;
    /// Any flow.
    pub const RANDOM: u32 = 2;
    /// Never the same twice, until 2^32 are through.
    pub const NEVER: u32 = 3;
    /// As `NEVER`, but every [`FLOOD_EVERY`](super::FLOOD_EVERY)-th packet as `RANDOM`.
    pub const FLOOD: u32 = 4;
}

/// In a flood, one packet out of this many belongs to an established flow; a power of two.
pub const FLOOD_EVERY: u32 = 8;

/// Which end of a packet the flow's number changes.
pub mod end {
    /// Its source.
    pub const SOURCE: u32 = 0;
    /// Its destination.
    pub const DESTINATION: u32 = 1;
}

/// What the wrapper sends.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The frame of flow 0, once for a flow that is picked and once for one that comes along: Ethernet without tags,
    /// IP without options, TCP, right checksums.
    pub templates: [Template; 2],
    /// One of [`mode`].
    pub mode: u32,
    /// How many flows there are to pick from.
    pub flows: u32,
    /// 4 or 6.
    pub family: u32,
    /// One of [`end`].
    pub end: u32,
    /// The low bits of a flow's number are added to the address: this many.
    pub address_bits: u32,
    /// The address of flow 0, of IPv6 the last four bytes, in host byte order.
    pub address: u32,
    /// The port of flow 0, in host byte order; the other bits of a flow's number are added to it.
    pub port: u32,
    /// Zero.
    pub _pad: u32,
}

/// Where the wrapper stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Never 0.
    pub random: u64,
    /// The next flow of `SEQUENTIAL` and `NEVER`.
    pub next: u32,
    /// Packets of `FLOOD`.
    pub turn: u32,
    /// All packets.
    pub packets: u32,
    /// Zero.
    pub _pad: u32,
}

/// The flow of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number.
    pub flow: u32,
    /// Whether it comes along for the first time, which says which template is used.
    pub new: bool,
}

impl State {
    /// The flow of the next packet.
    #[inline(always)]
    pub fn next(&mut self, mode: u32, flows: u32) -> Turn {
        match mode {
            mode::SEQUENTIAL => {
                let flow = self.next;
                self.next = if flow + 1 < flows { flow + 1 } else { 0 };
                Turn { flow, new: false }
            }
            mode::RANDOM => self.any(flows),
            mode::NEVER => self.fresh(),
            mode::FLOOD => {
                self.turn = self.turn.wrapping_add(1);
                if self.turn.is_multiple_of(FLOOD_EVERY) { self.any(flows) } else { self.fresh() }
            }
            _ => Turn { flow: 0, new: false },
        }
    }

    /// xorshift64 (Marsaglia, 2003); the high half has the better bits.
    #[inline(always)]
    fn any(&mut self, flows: u32) -> Turn {
        let mut random = self.random;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random = random;
        Turn { flow: (((random >> 32) * u64::from(flows)) >> 32) as u32, new: false }
    }

    #[inline(always)]
    fn fresh(&mut self) -> Turn {
        let flow = self.next;
        self.next = flow.wrapping_add(1);
        Turn { flow, new: true }
    }
}

impl Plan {
    /// Makes the template in `frame` the packet of a flow: its address, its port, and the checksums.
    ///
    /// `None` if the frame is too short.
    #[inline(always)]
    pub fn vary<F: Family, const END: usize>(&self, frame: Bytes, flow: u32) -> Option<()> {
        let low = flow & ((1 << self.address_bits) - 1);
        let address = self.address.wrapping_add(low);
        let port = self.port.wrapping_add(flow >> self.address_bits) as u16;

        let mut change = Sum::new();
        change.add_u32(!self.address.to_be());
        change.add_u32(address.to_be());
        let transport = ETHERNET_LEN + F::HEADER_LEN;
        frame.write(ETHERNET_LEN + F::ADDRESSES[END] + size_of::<F::Address>() - 4, address.to_be())?;
        frame.write(transport + 2 * END, port.to_be())?;
        if F::ETHERTYPE == crate::packet::ethertype::IPV4 {
            correct(frame, ETHERNET_LEN + 10, change)?;
        }
        change.remove_u16((self.port as u16).to_be());
        change.add_u16(port.to_be());
        correct(frame, transport + 16, change)
    }
}

/// Applies a change to a checksum field.
#[inline(always)]
fn correct(frame: Bytes, at: usize, change: Sum) -> Option<()> {
    let field = change.applied_to(frame.read(at)?);
    frame.write(at, field)
}

layout! {
    Plan: 192, 8;
    State: 24, 8;
}
pod!(Plan, State);

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, vec::Vec};

    use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};

    use super::*;
    use crate::packet::{Ipv4, Ipv6};

    const PORTS: (u16, u16) = (1024, 80);

    fn frame(family: u32) -> Vec<u8> {
        let link = PacketBuilder::ethernet2([2; 6], [3; 6]);
        let network = match family {
            4 => link.ipv4([11, 0, 0, 0], [10, 0, 0, 10], 61),
            _ => link.ipv6([0xfd; 16], [0xfe; 16], 61),
        };
        let mut frame = Vec::new();
        let payload = [7; 26];
        let len = if family == 4 { 26 } else { 6 };
        network.tcp(PORTS.0, PORTS.1, 1, 2).ack(3).write(&mut frame, &payload[..len]).unwrap();
        assert_eq!(frame.len(), FRAME_LEN);
        frame
    }

    fn plan(family: u32, end: u32) -> Plan {
        let address = if family == 4 { [11, 0, 0, 0] } else { [0xfd; 4] };
        let destination = if family == 4 { [10, 0, 0, 10] } else { [0xfe; 4] };
        let source = end == end::SOURCE;
        Plan {
            templates: [[0; FRAME_LEN / 8]; 2],
            mode: mode::NEVER,
            flows: 1,
            family,
            end,
            address_bits: 16,
            address: u32::from_be_bytes(if source { address } else { destination }),
            port: u32::from(if source { PORTS.0 } else { PORTS.1 }),
            _pad: 0,
        }
    }

    /// Sender and receiver of a frame whose checksums are right.
    fn ends(frame: &[u8]) -> [(Vec<u8>, u16); 2] {
        let PacketHeaders { net, transport, payload, .. } =
            PacketHeaders::from_ethernet_slice(frame).unwrap();
        let Some(TransportHeader::Tcp(tcp)) = transport else { panic!("no TCP") };
        let (from, to) = match net.unwrap() {
            NetHeaders::Ipv4(header, _) => {
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&header, payload.slice()).unwrap());
                (header.source.to_vec(), header.destination.to_vec())
            }
            NetHeaders::Ipv6(header, _) => {
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(&header, payload.slice()).unwrap());
                (header.source.to_vec(), header.destination.to_vec())
            }
            NetHeaders::Arp(_) => panic!("no IP"),
        };
        [(from, tcp.source_port), (to, tcp.destination_port)]
    }

    #[test]
    fn every_flow_has_an_end_of_its_own_and_right_checksums() {
        for (family, end) in [(4, 0), (4, 1), (6, 0), (6, 1)] {
            let plan = plan(family, end);
            let mut seen = HashSet::new();
            let flows = [0, 1, 2, 255, 256, 65_535, 65_536, 65_537, 1_000_000, 4_000_000, u32::MAX];
            for flow in flows {
                let mut buffer = frame(family);
                let original = ends(&buffer);
                let start = buffer.as_mut_ptr() as usize;
                // SAFETY: the buffer outlives the value and is not touched otherwise meanwhile.
                let bytes = unsafe { Bytes::new(start, start + FRAME_LEN) };
                match (family, end) {
                    (4, 0) => plan.vary::<Ipv4, 0>(bytes, flow),
                    (4, _) => plan.vary::<Ipv4, 1>(bytes, flow),
                    (_, 0) => plan.vary::<Ipv6, 0>(bytes, flow),
                    _ => plan.vary::<Ipv6, 1>(bytes, flow),
                }
                .unwrap();
                let ends = ends(&buffer);
                assert_eq!(ends[1 - end as usize], original[1 - end as usize]);
                assert_eq!(flow == 0, ends == original);
                assert!(seen.insert(ends), "{flow}");
            }
        }
    }

    #[test]
    fn modes_pick_as_they_say() {
        let mut state = State { random: 1, next: 0, turn: 0, packets: 0, _pad: 0 };
        let mut flows = |mode, count| -> Vec<Turn> { (0..count).map(|_| state.next(mode, 3)).collect() };
        let picked = |turns: &[Turn]| turns.iter().map(|turn| turn.flow).collect::<Vec<_>>();
        assert_eq!(picked(&flows(mode::FIXED, 3)), [0, 0, 0]);
        assert_eq!(picked(&flows(mode::SEQUENTIAL, 7)), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picked(&flows(mode::NEVER, 3)), [1, 2, 3]);
        let random = picked(&flows(mode::RANDOM, 3000));
        for flow in 0..3 {
            let count = random.iter().filter(|&&picked| picked == flow).count();
            assert!((900..1100).contains(&count), "{flow}: {count}");
        }
        let flood = flows(mode::FLOOD, 64);
        assert_eq!(flood.iter().filter(|turn| turn.new).count(), 56);
    }
}
