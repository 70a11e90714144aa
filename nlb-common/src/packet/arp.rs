//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227).

use super::{Mac, ethertype};
use crate::{addr::V4, be::Be16, bytes::Bytes};

/// Length of a packet.
pub const LEN: usize = 28;

/// Ethernet, IPv4, and the lengths of their addresses.
const KIND: [u16; 3] = [
    Be16::new(1).raw(),
    ethertype::IPV4.raw(),
    u16::from_ne_bytes([size_of::<Mac>() as u8, size_of::<V4>() as u8]),
];

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target's address?
    Request,
    /// The sender has the sender's.
    Reply,
}

impl Operation {
    const fn field(self) -> Be16 {
        match self {
            Self::Request => Be16::new(1),
            Self::Reply => Be16::new(2),
        }
    }
}

/// A packet. MAC addresses are in the low 48 bits of words ([`Mac::to_word`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What it is about.
    pub operation: Operation,
    /// The sender's MAC address.
    pub sender_mac: u64,
    /// The sender's address; 0.0.0.0 in a probe.
    pub sender: V4,
    /// The target's MAC address; of no meaning in a request.
    pub target_mac: u64,
    /// The target's address.
    pub target: V4,
}

impl Arp {
    /// Reads a request that asks for an address, probes included. `None`: it is something else, such as an announcement of
    /// the sender's own address, or damaged.
    #[inline(always)]
    pub fn request(packet: Bytes) -> Option<Self> {
        let packet = packet.proven(LEN)?;
        let [hardware, protocol, lengths] = KIND;
        let is_of_kind = packet.read(0) == Some(hardware)
            && packet.read(2) == Some(protocol)
            && packet.read(4) == Some(lengths)
            && packet.read(6) == Some(Operation::Request.field());
        let (sender, target) = (packet.read(14)?, packet.read(24)?);
        if !is_of_kind || sender == target {
            return None;
        }
        let sender_mac = u64::from(packet.read::<u32>(8)?) | u64::from(packet.read::<u16>(12)?) << 32;
        Some(Self { operation: Operation::Request, sender_mac, sender, target_mac: 0, target })
    }

    /// The reply to a request: `mac` has the target's address.
    #[inline(always)]
    #[must_use]
    pub const fn reply(&self, mac: u64) -> Self {
        let Self { operation: _, sender_mac, sender, target_mac: _, target } = *self;
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: target,
            target_mac: sender_mac,
            target: sender,
        }
    }

    /// Tells everybody that `mac` has an address (RFC 5227, section 2.3).
    #[must_use]
    pub const fn announcement(address: V4, mac: Mac) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac.to_word(),
            sender: address,
            target_mac: 0,
            target: address,
        }
    }

    /// Writes it; `None` if there is no room.
    #[inline(always)]
    pub fn write(&self, packet: Bytes) -> Option<()> {
        let packet = packet.proven(LEN)?;
        let Self { operation, sender_mac, sender, target_mac, target } = *self;
        let [hardware, protocol, lengths] = KIND;
        packet.write(0, hardware)?;
        packet.write(2, protocol)?;
        packet.write(4, lengths)?;
        packet.write(6, operation.field())?;
        packet.write(8, sender_mac as u32)?;
        packet.write(12, (sender_mac >> 32) as u16)?;
        packet.write(14, sender)?;
        packet.write(18, target_mac as u32)?;
        packet.write(22, (target_mac >> 32) as u16)?;
        packet.write(24, target)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType};

    use super::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 5];
    const VIP: [u8; 4] = [10, 0, 0, 10];

    fn bytes(packet: &mut [u8]) -> Bytes {
        let range = packet.as_mut_ptr_range();
        // SAFETY: tests use the value only while they hold the buffer, and write through nothing else meanwhile.
        unsafe { Bytes::new(range.start as usize, range.end as usize) }
    }

    fn packet(operation: ArpOperation, sender: [u8; 4], target: [u8; 4]) -> ArpPacket {
        ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            operation,
            &THEIRS,
            &sender,
            &[0; 6],
            &target,
        )
        .unwrap()
    }

    fn read(packet: &ArpPacket) -> Option<Arp> {
        Arp::request(bytes(&mut packet.to_bytes().to_vec()))
    }

    #[test]
    fn requests_and_probes_are_answered_with_the_mac_address() {
        for sender in [[10, 0, 0, 2], [0; 4]] {
            let request = packet(ArpOperation::REQUEST, sender, VIP);
            let mut buffer = request.to_bytes().to_vec();
            let read = Arp::request(bytes(&mut buffer)).unwrap();
            assert_eq!(read.target.octets(), VIP);
            read.reply(OURS.to_word()).write(bytes(&mut buffer)).unwrap();
            let reply = ArpPacket::new(
                ArpHardwareId::ETHERNET,
                EtherType::IPV4,
                ArpOperation::REPLY,
                &OURS.0,
                &VIP,
                &THEIRS,
                &sender,
            );
            assert_eq!(buffer, reply.unwrap().to_bytes().to_vec());
        }
    }

    #[test]
    fn what_is_no_question_is_none() {
        assert_eq!(read(&packet(ArpOperation::REPLY, [10, 0, 0, 2], VIP)), None, "somebody's reply");
        assert_eq!(read(&packet(ArpOperation::REQUEST, VIP, VIP)), None, "somebody's announcement");
        assert_eq!(read(&packet(ArpOperation(3), [10, 0, 0, 2], VIP)), None, "RARP");
        let request = packet(ArpOperation::REQUEST, [10, 0, 0, 2], VIP).to_bytes().to_vec();
        for (index, &byte) in request.iter().enumerate().take(8) {
            let mut damaged = request.clone();
            damaged[index] = byte.wrapping_add(1);
            assert_eq!(Arp::request(bytes(&mut damaged)), None, "byte {index}");
        }
        for len in 0..LEN {
            assert_eq!(Arp::request(bytes(&mut request[..len].to_vec())), None, "{len} bytes");
        }
    }

    #[test]
    fn an_announcement_is_a_request_for_ones_own_address() {
        let mut buffer: Vec<u8> = [0xaa; LEN].to_vec();
        Arp::announcement(V4::from_octets(VIP), OURS).write(bytes(&mut buffer)).unwrap();
        let expected = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            ArpOperation::REQUEST,
            &OURS.0,
            &VIP,
            &[0; 6],
            &VIP,
        );
        assert_eq!(buffer, expected.unwrap().to_bytes().to_vec());
    }
}
