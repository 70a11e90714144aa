//! Who has a VIP: ARP and neighbour discovery.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nlb_agent::datapath::{Family, LocalAddress, Op};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{At, Frame, SERVICE_VLAN, Tag, VLAN};

use crate::{
    bench::{Action, Bench, LOOPBACK},
    scene::{self, client, host_vip, snat, stranger, vip},
};

/// The MAC address of the interface that packets come in by.
pub(crate) const MAC: [u8; 6] = Frame::DESTINATION;
/// Everybody's.
const EVERYBODY: [u8; 6] = [0xff; 6];

const TAGS: [&[Tag]; 4] =
    [&[], &[(VLAN, 7)], &[(SERVICE_VLAN, 0x2005)], &[(SERVICE_VLAN, 5), (VLAN, 0xe006)]];

/// The VIPs of the scene, those that are the host's own as well, announced and pinged; and where.
pub(crate) fn ops() -> Vec<Op> {
    let mut ops = vec![Op::PutInterface(LOOPBACK, MAC)];
    for family in Family::ALL {
        for (address, host) in [(vip(family, 0).ip(), false), (host_vip(family, 0).ip(), true)] {
            let vip = Some(scene::vip_id(family));
            ops.push(Op::PutAddress(
                address,
                LocalAddress { vip, host, announce: true, echo: true, snat: None },
            ));
        }
    }
    ops
}

fn bench() -> Bench {
    let mut bench = scene::bench();
    bench.apply(&ops());
    bench
}

/// A row: what it is called, and its frame.
type Row = (&'static str, Vec<u8>);

/// These are left to the kernel as they are.
#[track_caller]
fn check_passed(bench: &mut Bench, verdict: Verdict, rows: &[Row]) {
    for (name, frame) in rows {
        let run = bench.run(frame);
        assert_eq!((run.verdict, run.action), (verdict, Action::Pass), "{name}");
        assert_eq!(&run.bytes, frame, "{name}");
    }
}

// ---- ARP

/// The 28 bytes of an ARP packet over Ethernet.
fn arp(operation: u8, [from_mac, to_mac]: [[u8; 6]; 2], [from, to]: [IpAddr; 2]) -> Vec<u8> {
    let [from, to] = [from, to].map(|address| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("ARP is for IPv4"),
    });
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &from_mac, &from, &to_mac, &to].concat()
}

/// "Who has `target`?"
pub(crate) fn request(sender: IpAddr, target: IpAddr) -> Vec<u8> {
    arp(1, [Frame::SOURCE, [0; 6]], [sender, target])
}

/// A frame with an ARP packet.
fn frame(to: [u8; 6], from: [u8; 6], tags: &[Tag], packet: &[u8]) -> Vec<u8> {
    let mut bytes = [to, from].concat();
    for (ethertype, tci) in tags {
        bytes.extend(ethertype.to_be_bytes());
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend([8, 6]);
    bytes.extend(packet);
    bytes
}

fn v4(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn arp_requests_and_probes_for_a_vip_are_answered_where_they_came_from() {
    let mut bench = bench();
    let vip = vip(Family::V4, 0).ip();
    for sender in ["10.0.0.2", "0.0.0.0"].map(v4) {
        for (to, tags) in [EVERYBODY, MAC].into_iter().flat_map(|to| TAGS.map(|tags| (to, tags))) {
            for padding in [0, 18] {
                let mut asked = frame(to, Frame::SOURCE, tags, &request(sender, vip));
                asked.extend(vec![0xcc; padding]);
                let run = bench.run(&asked);
                assert_eq!((run.verdict, run.action), (Verdict::AnswerArp, Action::Tx), "{tags:?}");
                let reply = arp(2, [MAC, Frame::SOURCE], [vip, sender]);
                let mut answer = frame(Frame::SOURCE, MAC, tags, &reply);
                answer.extend(vec![0xcc; padding]);
                assert_eq!(run.bytes, answer, "{sender} {tags:?}");
            }
        }
    }
}

#[test]
fn other_arp_is_the_kernels() {
    let mut bench = bench();
    let (vip, sender) = (vip(Family::V4, 0).ip(), v4("10.0.0.2"));
    let macs = [Frame::SOURCE, [0; 6]];
    let broadcast = |packet: &[u8]| frame(EVERYBODY, Frame::SOURCE, &[], packet);
    let asked_for = |target: SocketAddr| broadcast(&request(sender, target.ip()));
    let patched = |at: usize, byte| {
        let mut packet = request(sender, vip);
        packet[at] = byte;
        broadcast(&packet)
    };
    let rows = [
        ("a reply", broadcast(&arp(2, macs, [sender, vip]))),
        ("an announcement", broadcast(&arp(1, macs, [vip, vip]))),
        ("an announcement by a reply", broadcast(&arp(2, macs, [vip, vip]))),
        ("for the host's own VIP", asked_for(host_vip(Family::V4, 0))),
        ("for a SNAT address", asked_for(snat(Family::V4, 0))),
        ("for a stranger", asked_for(stranger(Family::V4, 0))),
        ("for another station", frame([2, 9, 9, 9, 9, 9], Frame::SOURCE, &[], &request(sender, vip))),
        ("from a group", frame(EVERYBODY, [3, 0, 0, 0, 0, 5], &[], &request(sender, vip))),
        ("not of Ethernet", patched(1, 6)),
        ("not of IPv4", patched(3, 6)),
        ("long hardware addresses", patched(4, 8)),
        ("long addresses", patched(5, 16)),
        ("RARP", patched(7, 3)),
    ];
    check_passed(&mut bench, Verdict::PassNotIp, &rows);
    for tags in TAGS {
        let whole = frame(EVERYBODY, Frame::SOURCE, tags, &request(sender, vip));
        for len in whole.len() - 28..whole.len() {
            check_passed(&mut bench, Verdict::PassNotIp, &[("cut short", whole[..len].to_vec())]);
        }
    }
}

// ---- neighbour discovery

/// The group an address is solicited in.
fn group(address: IpAddr) -> IpAddr {
    let IpAddr::V6(address) = address else { panic!("{address} is no IPv6 address") };
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low).into()
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(_) => panic!("neighbour discovery is for IPv6"),
    }
}

/// The option that tells the sender's MAC address.
const SOURCE_OPTION: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 5];
/// A nonce (RFC 7527).
const NONCE: [u8; 8] = [14, 1, 9, 8, 7, 6, 5, 4];

fn solicit(from: IpAddr, to: IpAddr, target: IpAddr, options: &[u8]) -> Frame {
    let [.., a, b, c, d] = octets(to);
    let mac = if octets(to)[0] == 0xff { [0x33, 0x33, a, b, c, d] } else { MAC };
    let message = [&[0; 4][..], &octets(target), options].concat();
    let [from, to] = [from, to].map(|address| SocketAddr::new(address, 0));
    Frame::icmp(from, to, 135, 0).payload(&message).hops(255).macs(mac, Frame::SOURCE)
}

/// "Who has this address?", to its group.
pub(crate) fn solicitation(from: SocketAddr, target: SocketAddr) -> Frame {
    solicit(from.ip(), group(target.ip()), target.ip(), &SOURCE_OPTION)
}

/// The bytes of an advertisement of the VIP; its flow label and class are none.
fn advertisement(to: IpAddr, to_mac: [u8; 6], tags: &[Tag], flags: u8) -> Vec<u8> {
    let vip = vip(Family::V6, 0);
    let message = [&[flags, 0, 0, 0][..], &octets(vip.ip()), &[2, 1], &MAC].concat();
    let frame = Frame::icmp(vip, SocketAddr::new(to, 0), 136, 0).payload(&message).hops(255);
    frame.macs(to_mac, MAC).tags(tags).patch(At::Network(0), &[0x60, 0, 0, 0]).build()
}

#[test]
fn solicitations_for_a_vip_are_answered_to_who_asks() {
    let mut bench = bench();
    let vip = vip(Family::V6, 0).ip();
    for from in ["fd00::2", "fe80::2"].map(|text| text.parse().unwrap()) {
        for to in [group(vip), vip] {
            for options in
                [&[][..], &SOURCE_OPTION, &[SOURCE_OPTION, NONCE].concat(), &SOURCE_OPTION.repeat(8)]
            {
                for (tags, padding) in TAGS.into_iter().zip([0, 3, 0, 18]) {
                    let run = bench.send(&solicit(from, to, vip, options).tags(tags).padding(padding));
                    assert_eq!(
                        (run.verdict, run.action),
                        (Verdict::AnswerNeighbour, Action::Tx),
                        "{from} {to}"
                    );
                    let expected = advertisement(from, Frame::SOURCE, tags, 0x60);
                    let (answer, rest) = run.bytes.split_at(expected.len());
                    assert_eq!(answer, expected, "{from} {to} {options:02x?} {tags:?}");
                    assert_eq!(rest.len(), padding);
                }
            }
        }
    }
}

#[test]
fn whoever_wants_to_take_a_vip_hears_that_it_is_taken() {
    let mut bench = bench();
    let vip = vip(Family::V6, 0).ip();
    let nobody = Ipv6Addr::UNSPECIFIED.into();
    let all: IpAddr = "ff02::1".parse().unwrap();
    for options in [&[][..], &NONCE] {
        for tags in TAGS {
            let run = bench.send(&solicit(nobody, group(vip), vip, options).tags(tags));
            assert_eq!((run.verdict, run.action), (Verdict::AnswerNeighbour, Action::Tx), "{tags:?}");
            assert_eq!(run.bytes, advertisement(all, [0x33, 0x33, 0, 0, 0, 1], tags, 0x20), "{tags:?}");
        }
    }
}

#[test]
fn other_solicitations_are_the_kernels() {
    let mut bench = bench();
    let family = Family::V6;
    let (vip, from) = (vip(family, 0).ip(), "fd00::2".parse().unwrap());
    let nobody = Ipv6Addr::UNSPECIFIED.into();
    let ask = |to, target| solicit(from, to, target, &SOURCE_OPTION);
    let host = host_vip(family, 0).ip();
    let good = ask(group(vip), vip);
    // The checksum fits only what was there before.
    let patched = |at, bytes: &[u8]| good.clone().patch(at, bytes).build();
    let icmp = |kind, code, payload: &[u8]| {
        let [from, to] = [from, group(vip)].map(|address| SocketAddr::new(address, 0));
        Frame::icmp(from, to, kind, code).payload(payload).hops(255).macs([0x33; 6], Frame::SOURCE).build()
    };
    let whole = [&[0; 4][..], &octets(vip)].concat();
    let rows = [
        ("from another link", good.clone().hops(254).build()),
        ("a wrong checksum", patched(At::Transport(3), &[0xab])),
        ("another target than the checksum's", patched(At::Transport(23), &[0xab])),
        ("code 1", icmp(135, 1, &whole)),
        ("an advertisement", icmp(136, 0, &whole)),
        ("too short", icmp(135, 0, &whole[..16])),
        ("for a group", ask(group(vip), group(vip)).build()),
        ("in the group of another", ask(group(from), vip).build()),
        ("a probe that says who asks", solicit(nobody, group(vip), vip, &SOURCE_OPTION).build()),
        ("an option of no length", solicit(from, group(vip), vip, &[1, 0, 0, 0, 0, 0, 0, 0]).build()),
        ("an option beyond the end", solicit(from, group(vip), vip, &[1, 2, 0, 0, 0, 0, 0, 0]).build()),
        ("half an option", solicit(from, group(vip), vip, &[1, 1, 0, 0]).build()),
        ("more options than anybody sends", solicit(from, group(vip), vip, &SOURCE_OPTION.repeat(9)).build()),
        ("for the host's own VIP", ask(group(host), host).build()),
        ("for a SNAT address", ask(group(snat(family, 0).ip()), snat(family, 0).ip()).build()),
        ("for a stranger", ask(group(stranger(family, 0).ip()), stranger(family, 0).ip()).build()),
        ("for another station", good.clone().macs([2, 9, 9, 9, 9, 9], Frame::SOURCE).build()),
        ("from a group of stations", good.clone().macs([0x33; 6], [3, 0, 0, 0, 0, 5]).build()),
    ];
    check_passed(&mut bench, Verdict::PassNotOurs, &rows);
    let to_vip = [
        ("a probe to the VIP itself", solicit(nobody, vip, vip, &[]).build()),
        ("for another, to the VIP", ask(vip, stranger(family, 0).ip()).build()),
        ("from another link, to the VIP", ask(vip, vip).hops(254).build()),
    ];
    check_passed(&mut bench, Verdict::PassProtocol, &to_vip);
}

#[test]
fn a_solicitation_cut_short_is_never_answered() {
    let mut bench = bench();
    let target = vip(Family::V6, 0);
    for tags in TAGS {
        let whole = solicitation(client(Family::V6, 0), target).tags(tags).build();
        for len in 14..whole.len() {
            let run = bench.run(&whole[..len]);
            assert_eq!((run.action, &run.bytes[..]), (Action::Pass, &whole[..len]), "{len} bytes {tags:?}");
        }
        // The packet's own length says less than there is.
        let payload = 32;
        for len in 0..payload {
            let short = solicitation(client(Family::V6, 0), target).tags(tags);
            let run = bench.send(&short.patch(At::Network(4), &[0, len]));
            assert_eq!(run.action, Action::Pass, "{len} bytes {tags:?}");
        }
    }
}

// ---- both

#[test]
fn nobody_answers_for_a_vip_that_is_not_announced_or_on_an_interface_that_is_not_known() {
    let mut bench = bench();
    let [four, six] = Family::ALL.map(|family| vip(family, 0));
    let questions = || {
        let arp = frame(EVERYBODY, Frame::SOURCE, &[], &request(client(Family::V4, 0).ip(), four.ip()));
        (arp, solicitation(client(Family::V6, 0), six).build())
    };
    let check = |bench: &mut Bench, answered: bool| {
        let (arp, solicitation) = questions();
        let expected = if answered {
            [Verdict::AnswerArp, Verdict::AnswerNeighbour]
        } else {
            [Verdict::PassNotIp, Verdict::PassNotOurs]
        };
        assert_eq!([bench.run(&arp).verdict, bench.run(&solicitation).verdict], expected);
    };
    check(&mut bench, true);
    bench.apply(&[Op::RemoveInterface(LOOPBACK), Op::PutInterface(77, MAC)]);
    check(&mut bench, false);
    bench.apply(&ops());
    check(&mut bench, true);
    for vip_now in [Some(scene::vip_id(Family::V4)), None] {
        for address in [four.ip(), six.ip()] {
            // A VIP that is not announced, and what is no VIP at all.
            let local = LocalAddress {
                vip: vip_now,
                announce: vip_now.is_none(),
                echo: true,
                ..LocalAddress::default()
            };
            bench.apply(&[Op::PutAddress(address, local)]);
        }
        check(&mut bench, false);
    }
}
