//! Security groups: which clients may use a listener, and what becomes of the flows of those that no longer may.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use nlb_agent::{
    datapath::{Access, Acl, AclId, Datapath as _, Family, Listener, Op, Tracking},
    model::{Cidr, Protocol},
};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Frame, flag};

use crate::{
    bench::Bench,
    connection::Connection,
    scene::{self, TCP_PORT, UDP_PORT},
    tunnel,
};

/// A listener with an access list of that number and these entries, written first; `None`: without one.
pub(crate) fn ops(
    family: Family,
    protocol: Protocol,
    acl: Option<u32>,
    entries: &[(&str, Access)],
) -> Vec<Op> {
    let (id, listener) = scene::listener(family, protocol);
    let acl = acl.map(AclId);
    let list = acl.map(|acl| Op::PutAcl(acl, list(entries)));
    list.into_iter().chain([Op::PutListener(id, Listener { acl, ..listener })]).collect()
}

fn list(entries: &[(&str, Access)]) -> Arc<Acl> {
    let entries = entries.iter().map(|(cidr, access)| (cidr.parse().unwrap(), *access)).collect();
    Arc::new(Acl { entries })
}

/// Gives a listener of the bench another access list, and changes nothing else of it.
fn guard(
    bench: &mut Bench,
    family: Family,
    protocol: Protocol,
    acl: Option<u32>,
    entries: &[(&str, Access)],
) {
    let (id, _) = scene::listener(family, protocol);
    let listener = bench.datapath().image().unwrap().listeners[&id];
    let acl = acl.map(AclId);
    if let Some(acl) = acl {
        bench.apply(&[Op::PutAcl(acl, list(entries))]);
    }
    bench.apply(&[Op::PutListener(id, Listener { acl, ..listener })]);
}

/// Everybody of a family but these.
fn all_but(cidrs: &[&'static str]) -> Vec<(&'static str, Access)> {
    let denied = cidrs.iter().map(|cidr| (*cidr, Access::Deny));
    [("0.0.0.0/0", Access::Allow), ("::/0", Access::Allow)].into_iter().chain(denied).collect()
}

/// The clients of most tests.
const CLIENTS: [&str; 2] = ["10.9.0.0/16", "fd00:9::/32"];

fn at(family: Family, v4: &str, v6: &str) -> SocketAddr {
    let text = if family == Family::V4 { v4 } else { v6 };
    SocketAddr::new(text.parse().unwrap(), 4242)
}

/// A SYN and a datagram, in every form that takes another way through the programs.
fn packets(family: Family, client: SocketAddr) -> Vec<(Protocol, Frame)> {
    let syn = Frame::tcp(client, scene::vip(family, TCP_PORT), flag::SYN);
    let datagram = Frame::udp(client, scene::vip(family, UDP_PORT));
    let mut packets = Vec::new();
    for (protocol, plain) in [(Protocol::Tcp, syn), (Protocol::Udp, datagram)] {
        packets.push((protocol, plain.clone().tags(&[(0x8100, 7)])));
        if family == Family::V4 {
            packets.push((protocol, plain.clone().ip_options(&[1, 1, 1, 1])));
        }
        packets.push((protocol, plain));
    }
    packets
}

#[test]
fn the_longest_prefix_decides_and_who_is_in_none_is_denied() {
    let rows: &[(&str, &str, bool)] = &[
        ("192.0.2.1", "2001:db8::1", false),
        ("10.8.0.1", "fd00:8::1", true),
        ("10.9.0.5", "fd00:9::5", false),
        ("10.9.1.5", "fd00:9:1::5", true),
        ("10.9.1.6", "fd00:9:1::6", false),
        ("11.0.0.0", "fe00::", false),
    ];
    let entries = [
        ("10.0.0.0/8", Access::Allow),
        ("10.9.0.0/16", Access::Deny),
        ("10.9.1.5", Access::Allow),
        ("fd00::/16", Access::Allow),
        ("fd00:9::/32", Access::Deny),
        ("fd00:9:1::5", Access::Allow),
    ];
    let modes = [Tracking::Nat, Tracking::Full, Tracking::Transition, Tracking::None];
    for mode in modes {
        let mut bench = match mode {
            Tracking::Nat => scene::bench(),
            mode => tunnel::bench(mode, tunnel::round_robin),
        };
        for family in Family::ALL {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                guard(&mut bench, family, protocol, Some(7), &entries);
            }
            for (v4, v6, is_allowed) in rows {
                let verdict = if *is_allowed { Verdict::Forward } else { Verdict::DropSecurityGroup };
                for (_, packet) in packets(family, at(family, v4, v6)) {
                    bench.expect(&packet, verdict);
                }
            }
        }
    }
}

#[test]
fn a_listener_has_a_list_of_its_own_and_protocols_and_families_are_apart() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let client = scene::client(family, 0);
        // A number that stands for another list is another number.
        let first = 10 * (1 + family.index() as u32);
        for guarded in [Protocol::Tcp, Protocol::Udp] {
            guard(&mut bench, family, guarded, Some(first), &[]);
            for (protocol, packet) in packets(family, client) {
                let verdict = if protocol == guarded { Verdict::DropSecurityGroup } else { Verdict::Forward };
                bench.expect(&packet, verdict);
            }
            guard(&mut bench, family, guarded, None, &[]);
        }
        guard(
            &mut bench,
            family,
            Protocol::Tcp,
            Some(first + 1),
            &[("10.9.0.5", Access::Allow), ("fd00:9::5", Access::Allow)],
        );
        guard(&mut bench, family, Protocol::Udp, Some(first + 2), &all_but(&CLIENTS));
        for (protocol, packet) in packets(family, client) {
            let verdict =
                if protocol == Protocol::Tcp { Verdict::Forward } else { Verdict::DropSecurityGroup };
            bench.expect(&packet, verdict);
        }
        guard(&mut bench, family, Protocol::Udp, None, &[]);
    }
    let other = scene::client(Family::V4, 1);
    bench.expect(&Frame::udp(other, scene::vip(Family::V4, UDP_PORT)), Verdict::Forward);
}

/// What is no listener's is not filtered, and a denied packet tells nobody what it would have met.
#[test]
fn only_packets_to_the_listener_are_filtered_and_nothing_else_is_said_to_a_denied_client() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let client = scene::client(family, 0);
        guard(&mut bench, family, Protocol::Tcp, Some(1), &[]);
        let vip = scene::vip(family, TCP_PORT);
        for flags in [flag::SYN, flag::ACK, flag::RST, flag::FIN_ACK] {
            bench.expect(&Frame::tcp(client, vip, flags), Verdict::DropSecurityGroup);
        }
        bench.expect(&Frame::tcp(client, scene::vip(family, 81), flag::SYN), Verdict::DropNoListener);
        bench.expect(&Frame::tcp(client, scene::host_vip(family, 22), flag::SYN), Verdict::PassHost);
        bench.expect(&Frame::other(client, scene::vip(family, 0), 89), Verdict::PassProtocol);
    }
}

#[test]
fn a_connection_of_a_client_that_is_denied_from_now_on_ends_with_its_next_packet() {
    for family in Family::ALL {
        for tagged in [false, true] {
            let mut bench = scene::bench();
            guard(&mut bench, family, Protocol::Tcp, Some(1), &all_but(&[]));
            let connection = Connection::established(&mut bench, family, 1);
            assert_eq!(tunnel::active(&mut bench, family).iter().sum::<u64>(), 1);
            guard(&mut bench, family, Protocol::Tcp, Some(2), &all_but(&CLIENTS));
            let segment = connection.request(flag::ACK);
            let segment = if tagged { segment.tags(&[(0x8100, 7)]) } else { segment };
            bench.expect(&segment, Verdict::DropSecurityGroup);
            let ids = scene::backends(family);
            let traffic = bench.datapath().traffic(&ids).unwrap();
            assert_eq!(traffic.values().map(|traffic| traffic.active).sum::<u64>(), 0);
            // The host's own kernel tells the server that there is no such connection.
            bench.expect(&connection.answer(flag::ACK), Verdict::PassNoFlow);
            bench.expect(&segment, Verdict::DropSecurityGroup);

            guard(&mut bench, family, Protocol::Tcp, Some(3), &all_but(&[]));
            bench.expect(&connection.request(flag::ACK), Verdict::ResetUnknownFlow);
            let again = Connection::established(&mut bench, family, 1);
            again.goes_on(&mut bench);
            assert_eq!(tunnel::active(&mut bench, family).iter().sum::<u64>(), 1);
        }
    }
}

#[test]
fn a_udp_flow_and_a_half_open_connection_end_as_well_and_others_go_on() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        let other = at(family, "10.8.0.1", "fd00:8::1");
        let flow = Connection::datagram(&mut bench, family, 1);
        let half_open = Connection::syn(&mut bench, family, 2);
        let stays = Connection::open(&mut bench, &Frame::udp(other, scene::vip(family, UDP_PORT)));
        assert_eq!(tunnel::active(&mut bench, family).iter().sum::<u64>(), 3);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            guard(&mut bench, family, protocol, Some(1), &all_but(&CLIENTS));
        }
        bench.expect(&flow.question(), Verdict::DropSecurityGroup);
        bench.expect(&half_open.request(flag::ACK), Verdict::DropSecurityGroup);
        assert_eq!(tunnel::active(&mut bench, family).iter().sum::<u64>(), 1);
        bench.expect(&flow.reply(), Verdict::PassNoFlow);
        bench.expect(&half_open.answer(flag::SYN_ACK), Verdict::PassNoFlow);
        assert_eq!(Connection::open(&mut bench, &stays.question()), stays);
        bench.expect(&stays.reply(), Verdict::Reply);
    }
}

/// A server that goes on sending would have its answers translated, if the sweep did not look.
#[test]
fn the_sweep_ends_connections_of_denied_clients_that_say_nothing_any_more() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        let other = at(family, "10.8.0.1", "fd00:8::1");
        let connection = Connection::established(&mut bench, family, 1);
        let flow = Connection::datagram(&mut bench, family, 1);
        let stays = Connection::open(&mut bench, &Frame::udp(other, scene::vip(family, UDP_PORT)));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            guard(&mut bench, family, protocol, Some(1), &all_but(&CLIENTS));
        }
        assert_eq!(bench.datapath().sweep().unwrap().ended, 2);
        bench.expect(&connection.answer(flag::ACK), Verdict::PassNoFlow);
        bench.expect(&flow.reply(), Verdict::PassNoFlow);
        bench.expect(&stays.reply(), Verdict::Reply);
        bench.restart();
        assert_eq!(bench.datapath().sweep().unwrap().ended, 0);
        assert_eq!(tunnel::active(&mut bench, family).iter().sum::<u64>(), 1);
    }
}

#[test]
fn a_tunnels_flow_of_a_denied_client_ends_with_its_next_packet() {
    for mode in [Tracking::Full, Tracking::Transition, Tracking::None] {
        for family in Family::ALL {
            let mut bench = tunnel::bench(mode, tunnel::round_robin);
            if mode == Tracking::Transition {
                // Every slot changes hands: all flows are recorded.
                let (id, mut service) =
                    (scene::SERVICE, bench.datapath().image().unwrap().services[&scene::SERVICE].clone());
                for slot in &mut service.picks[family.index()].ring.slots {
                    let [first, second, _] = scene::backends(family);
                    *slot = nlb_common::abi::ring::Slot(first.0 | second.0 << 16);
                }
                bench.apply(&[Op::PutService(id, service)]);
            }
            let (vip, dns) = (scene::vip(family, TCP_PORT), scene::vip(family, UDP_PORT));
            let segment = |n, flags| Frame::tcp(scene::client(family, n), vip, flags);
            // Established, half-open, and a datagram's.
            for packet in [
                segment(1, flag::SYN),
                segment(1, flag::ACK),
                segment(2, flag::SYN),
                Frame::udp(scene::client(family, 3), dns),
                Frame::udp(scene::client(family, 3), dns),
            ] {
                bench.expect(&packet, Verdict::Forward);
            }
            let expected = if mode == Tracking::None { 0 } else { 3 };
            assert_eq!(tunnel::active(&mut bench, family).iter().sum::<u64>(), expected, "{mode}");
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                guard(&mut bench, family, protocol, Some(1), &all_but(&CLIENTS));
            }
            for packet in
                [segment(1, flag::ACK), segment(2, flag::ACK), Frame::udp(scene::client(family, 3), dns)]
            {
                bench.expect(&packet, Verdict::DropSecurityGroup);
            }
            assert_eq!(tunnel::active(&mut bench, family), [0; 3], "{mode}");
        }
    }
}

/// Through a guarded listener a flow is what it is through one that is open.
#[test]
fn an_allowed_clients_flow_is_like_any_other() {
    for family in Family::ALL {
        let mut bench = tunnel::bench(Tracking::Full, tunnel::round_robin);
        guard(&mut bench, family, Protocol::Tcp, Some(1), &all_but(&[]));
        let segment = |n, flags| Frame::tcp(scene::client(family, n), scene::vip(family, TCP_PORT), flags);
        let mut servers = Vec::new();
        for n in 0..6 {
            let first = bench.expect(&segment(n, flag::SYN), Verdict::Forward).bytes[5];
            for flags in [flag::SYN, flag::ACK, flag::ACK] {
                assert_eq!(bench.expect(&segment(n, flags), Verdict::Forward).bytes[5], first);
            }
            servers.push(first);
        }
        servers.sort_unstable();
        assert_eq!(servers, [0, 0, 1, 1, 2, 2], "by turns");
        assert_eq!(tunnel::active(&mut bench, family), [2; 3]);
        for n in 0..6 {
            bench.expect(&segment(n, flag::RST), Verdict::Forward);
        }
        assert_eq!(tunnel::active(&mut bench, family), [0; 3]);
    }
}

#[test]
fn a_thousand_networks_and_their_change_while_packets_come() {
    let nth = |family, n: u32, host: u32| -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::from_bits(10 << 24 | n << 10 | host).into(),
            Family::V6 => Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(n) << 70 | u128::from(host)).into(),
        }
    };
    let thousand = |family, odd: Access| {
        let len = if family == Family::V4 { 22 } else { 58 };
        let access = |n: u32| if n % 2 == 1 { odd } else { Access::Allow };
        let entries = (0..1000).map(|n| (Cidr::around(nth(family, n, 0), len), access(n))).collect();
        Arc::new(Acl { entries })
    };
    let mut bench = scene::bench();
    for family in Family::ALL {
        let (id, listener) = scene::listener(family, Protocol::Tcp);
        let send = |bench: &mut Bench, n, host, is_allowed| {
            let client = SocketAddr::new(nth(family, n, host), 4242);
            let syn = Frame::tcp(client, scene::vip(family, TCP_PORT), flag::SYN);
            bench.expect(&syn, if is_allowed { Verdict::Forward } else { Verdict::DropSecurityGroup });
        };
        let began = Instant::now();
        let mut before = None;
        for (number, odd) in [(1, Access::Deny), (2, Access::Allow), (3, Access::Deny)] {
            let (acl, list) = (AclId(number), thousand(family, odd));
            bench.apply(&[Op::PutAcl(acl, Arc::clone(&list))]);
            if before.is_some() {
                // Not named yet: what was, is.
                send(&mut bench, 1, 0, odd == Access::Deny);
            }
            bench.apply(&[Op::PutListener(id, Listener { acl: Some(acl), ..listener })]);
            if let Some((acl, list)) = before.replace((acl, list)) {
                bench.apply(&[Op::RemoveAcl(acl, list)]);
            }
            for n in [0, 1, 2, 499, 500, 998, 999] {
                for host in [0, 1, 1023] {
                    send(&mut bench, n, host, n % 2 == 0 || odd == Access::Allow);
                }
            }
            send(&mut bench, 1000, 0, false);
        }
        println!("{family}: three lists of a thousand networks took {:?}", began.elapsed());
        let image = bench.datapath().image().unwrap();
        assert_eq!(image.acls.keys().collect::<Vec<_>>(), [&AclId(3)]);
        assert_eq!(image.acls[&AclId(3)], thousand(family, Access::Deny));
        bench
            .apply(&[Op::PutListener(id, listener), Op::RemoveAcl(AclId(3), thousand(family, Access::Deny))]);
    }
    assert!(bench.datapath().image().unwrap().acls.is_empty());
}
