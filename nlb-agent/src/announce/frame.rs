//! An announcement's bytes.

use std::net::IpAddr;

use nlb_common::{
    addr::{V4, V6},
    bytes::Bytes,
    packet::{
        ETHERNET_LEN, Link, Mac, Macs, Tags,
        arp::{self, Arp},
        ethertype,
        neighbour::Advertisement,
    },
};

use super::Announcement;

/// Everybody on the link.
const EVERYBODY: Mac = Mac([0xff; 6]);

/// Who has the address: in IPv4 an announcement of RFC 5227, section 2.3, in IPv6 an unsolicited advertisement of RFC 4861,
/// section 7.2.6.
pub(super) fn frame(announcement: &Announcement) -> Vec<u8> {
    let Announcement { interface: _, vlan, mac, address } = *announcement;
    let mac = Mac(mac);
    let tags = vlan.map_or(Tags::NONE, Tags::one);
    let written = match address {
        IpAddr::V4(address) => {
            let message = Arp::announcement(V4::from_octets(address.octets()), mac);
            let link = Link { tags, ethertype: ethertype::ARP };
            written(&link, Macs::new(EVERYBODY, mac), arp::LEN, |packet| message.write(packet))
        }
        IpAddr::V6(address) => {
            let message = Advertisement::unsolicited(V6::from_octets(address.octets()), mac);
            let link = Link { tags, ethertype: ethertype::IPV6 };
            written(&link, message.macs(), Advertisement::FRAME_LEN - ETHERNET_LEN, |packet| {
                message.write(packet)
            })
        }
    };
    written.expect("the buffer is as long as what is written to it")
}

fn written(link: &Link, macs: Macs, len: usize, write: impl FnOnce(Bytes) -> Option<()>) -> Option<Vec<u8>> {
    let mut buffer = vec![0; link.len() + len];
    let range = buffer.as_mut_ptr_range();
    // SAFETY: the buffer outlives the value, and is not touched otherwise meanwhile.
    let bytes = unsafe { Bytes::new(range.start as usize, range.end as usize) };
    link.write(bytes, macs)?;
    write(bytes.after(link.len()))?;
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(vlan: Option<u16>, address: &str) -> Vec<u8> {
        let address = address.parse().unwrap();
        frame(&Announcement { interface: 3, vlan, mac: [2, 0, 0, 0, 0, 1], address })
    }

    #[test]
    fn frames_are_those_of_the_standards() {
        let arp = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 0, 1, 10, 0, 0, 10, 0, 0, 0, 0, 0, 0, 10, 0, 0, 10],
        ];
        assert_eq!(frame_of(None, "10.0.0.10"), arp.concat());
        let tagged = frame_of(Some(7), "10.0.0.10");
        assert_eq!(tagged[12..18], [0x81, 0, 0, 7, 8, 6]);
        assert_eq!(tagged[18..], arp.concat()[14..]);

        let advertisement = frame_of(None, "fd00::10");
        assert_eq!(advertisement.len(), 86);
        assert_eq!(advertisement[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!((advertisement[54], advertisement[58]), (136, 0x20), "type, flags");
        assert_eq!(advertisement[78..], [2, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(frame_of(Some(7), "fd00::10")[18..], advertisement[14..]);
    }
}
