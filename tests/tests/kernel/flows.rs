//! A flow stays where it is, whatever is reconfigured.

use std::collections::BTreeSet;

use nlb_agent::{
    datapath::{Backend, Family, Op, Service},
    model::Protocol,
};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Frame, flag};

use crate::{
    connection::Connection,
    scene::{self, FIRST_PORT, PORTS, SERVICE, changed, wheel},
};

#[test]
fn every_flow_has_a_snat_port_of_its_own_and_keeps_it() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connections: Vec<_> = (0..50).map(|n| Connection::established(&mut bench, family, n)).collect();
        let flows: Vec<_> = (0..50).map(|n| Connection::datagram(&mut bench, family, n)).collect();
        let ports: BTreeSet<u16> = connections.iter().chain(&flows).map(|flow| flow.snat.port()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| (FIRST_PORT..FIRST_PORT + PORTS).contains(port)), "{ports:?}");
        for (connection, flow) in connections.iter().zip(&flows) {
            for _ in 0..3 {
                connection.goes_on(&mut bench);
                assert_eq!(Connection::open(&mut bench, &flow.question()), *flow);
            }
        }
    }
}

#[test]
fn flows_stay_and_new_clients_follow_the_new_wheel() {
    let changes: [(&str, &[usize]); 4] = [
        ("weights change", &[0, 1, 1, 2, 2, 2]),
        ("servers leave", &[2, 2]),
        ("all leave", &[]),
        ("they return", &[1, 0]),
    ];
    for family in Family::ALL {
        let mut bench = scene::bench();
        let connections: Vec<_> = (0..6).map(|n| Connection::established(&mut bench, family, n)).collect();
        let flows: Vec<_> = (0..6).map(|n| Connection::datagram(&mut bench, family, n)).collect();
        let mut newcomer = 1000;
        for (name, slots) in changes {
            bench.apply(&[wheel(slots)]);
            for (connection, flow) in connections.iter().zip(&flows) {
                connection.goes_on(&mut bench);
                bench.expect(&connection.answer(flag::ACK), Verdict::Reply);
                assert_eq!(Connection::open(&mut bench, &flow.question()), *flow, "{name}");
                bench.expect(&flow.reply(), Verdict::Reply);
            }
            let new: BTreeSet<_> = (0..12)
                .filter(|_| !slots.is_empty())
                .map(|_| {
                    newcomer += 1;
                    Connection::syn(&mut bench, family, newcomer).server
                })
                .collect();
            let expected: BTreeSet<_> = slots.iter().map(|&slot| scene::server(family, slot)).collect();
            assert_eq!(new, expected, "{name}");
        }
    }
}

/// The next hop is the one thing about a flow that does change: another MAC address, another way.
#[test]
fn flows_follow_their_servers_next_hop() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 0);
        let index = (0..3).find(|&index| scene::server(family, index) == connection.server).unwrap();
        let mac = [0x02, 7, 7, 7, 7, 7];
        let moved = |backend: &mut Backend| backend.next_hop.as_mut().unwrap().mac = mac;
        bench.apply(&[changed(family, index, moved)]);
        assert_eq!(bench.expect(&connection.request(flag::ACK), Verdict::Forward).parsed().to_mac, mac);
        connection.goes_on(&mut bench);
    }
}

#[test]
fn a_listener_that_is_gone_ends_its_flows_and_one_that_is_disabled_does_not() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 0);
        let (id, mut listener) = scene::listener(family, Protocol::Tcp);
        listener.closed_to_new = true;
        bench.apply(&[Op::PutListener(id, listener)]);
        connection.goes_on(&mut bench);
        bench.expect(&connection.answer(flag::ACK), Verdict::Reply);
        let late = Frame::tcp(scene::client(family, 1), connection.vip, flag::SYN);
        bench.expect(&late, Verdict::DropListenerDisabled);

        bench.apply(&[Op::RemoveListener(id, listener)]);
        bench.expect(&connection.request(flag::ACK), Verdict::DropNoListener);
        bench.expect(&late, Verdict::DropNoListener);
    }
}

#[test]
fn a_service_without_eligible_servers_takes_nobody() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let connection = Connection::established(&mut bench, family, 0);
        bench.apply(&[Op::PutService(SERVICE, Service::default())]);
        let syn = Frame::tcp(scene::client(family, 1), connection.vip, flag::SYN);
        bench.expect(&syn, Verdict::DropNoBackend);
        let question = Frame::udp(scene::client(family, 1), scene::vip(family, scene::UDP_PORT));
        bench.expect(&question, Verdict::DropNoBackend);
        connection.goes_on(&mut bench);
        bench.apply(&[wheel(&[0])]);
        bench.expect(&syn, Verdict::Forward);
    }
}
