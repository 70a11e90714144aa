//! SNAT ports: as many flows as there are, and none that the host uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::Duration,
};

use aya::programs::Xdp;
use nlb_agent::{
    datapath::{Datapath as _, Family, LocalAddress, Op, Snat, SnatSlot},
    model::Protocol,
};
use nlb_common::{
    abi::{
        conn_set::{self, WAYS},
        maps::{DEFAULT_DNATS, DEFAULT_SNATS, conn_sets},
    },
    addr::{Address, V4, V6},
    be::Be16,
    hash::Tuple,
    packet::protocol,
    verdict::Verdict,
};
use nlb_tests::{
    packet::{Frame, flag},
    wait,
};

use crate::{
    bench::{Bench, test_run},
    connection::Connection,
    parsed::Parsed,
    restart::meta,
    scene::{self, FIRST_PORT, TCP_PORT, client, vip},
};

fn bench(family: Family, ports: u16) -> Bench {
    let mut bench = scene::bench();
    bench.apply(&[scene::snat_op(family, ports)]);
    bench
}

#[test]
fn when_all_ports_are_taken_new_connections_are_dropped_and_old_ones_go_on() {
    for family in Family::ALL {
        let mut bench = bench(family, 2);
        let first = Connection::established(&mut bench, family, 0);
        let second = Connection::datagram(&mut bench, family, 0);
        let ports = BTreeSet::from([first.snat.port(), second.snat.port()]);
        assert_eq!(ports, BTreeSet::from([FIRST_PORT, FIRST_PORT + 1]));
        for n in 1..5 {
            let syn = Frame::tcp(client(family, n), vip(family, TCP_PORT), flag::SYN);
            bench.expect(&syn, Verdict::DropPortsExhausted);
        }
        first.goes_on(&mut bench);
        bench.expect(&second.reply(), Verdict::Reply);
        let counts = bench.datapath().sweep().unwrap();
        assert_eq!(counts.snats[&(family, SnatSlot(0))], 2);
    }
}

#[test]
fn excluded_ports_are_never_used_until_they_are_free_again() {
    for family in Family::ALL {
        let mut bench = bench(family, 8);
        let excluded: BTreeSet<u16> = [0, 2, 3, 7].map(|n| FIRST_PORT + n).into();
        bench.datapath().exclude_ports(family, SnatSlot(0), &excluded).unwrap();
        let mut used = BTreeSet::new();
        for n in 0..4 {
            used.insert(Connection::syn(&mut bench, family, n).snat.port());
        }
        assert_eq!(used, [1, 4, 5, 6].map(|n| FIRST_PORT + n).into());
        let syn = Frame::tcp(client(family, 9), vip(family, TCP_PORT), flag::SYN);
        bench.expect(&syn, Verdict::DropPortsExhausted);
        // A reply to a port that is the host's is the host's.
        let answer = Frame::tcp(scene::server(family, 0), scene::snat(family, FIRST_PORT), flag::ACK);
        bench.expect(&answer, Verdict::PassNoFlow);

        bench.datapath().exclude_ports(family, SnatSlot(0), &BTreeSet::new()).unwrap();
        let late = Connection::open(&mut bench, &syn);
        assert!(excluded.contains(&late.snat.port()), "{late:?}");
    }
}

/// A port that a flow has when a socket of the host asks for it stays the flow's.
#[test]
fn excluding_a_port_does_not_end_its_flow() {
    for family in Family::ALL {
        let mut bench = bench(family, 4);
        let connection = Connection::established(&mut bench, family, 0);
        let excluded = BTreeSet::from([connection.snat.port()]);
        bench.datapath().exclude_ports(family, SnatSlot(0), &excluded).unwrap();
        connection.goes_on(&mut bench);
        bench.expect(&connection.answer(flag::ACK), Verdict::Reply);
    }
}

#[test]
fn a_backend_without_snat_addresses_gets_no_connection() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        for index in 0..3 {
            bench.apply(&[scene::changed(family, index, |backend| backend.snat.count = 0)]);
        }
        let syn = Frame::tcp(client(family, 0), vip(family, TCP_PORT), flag::SYN);
        bench.expect(&syn, Verdict::DropPortsExhausted);
    }
}

#[test]
fn flows_of_a_backend_spread_over_all_its_snat_addresses() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        let second = scene::stranger(family, 0).ip();
        let local = LocalAddress { snat: Some(SnatSlot(1)), ..LocalAddress::default() };
        bench.apply(&[
            Op::PutSnat(family, SnatSlot(1), Snat { address: second, first_port: 40_000, ports: 1000 }),
            Op::PutAddress(second, local),
        ]);
        for index in 0..3 {
            bench.apply(&[scene::changed(family, index, |backend| backend.snat.count = 2)]);
        }
        let mut used = BTreeMap::<IpAddr, u32>::new();
        for n in 0..200 {
            let connection = Connection::established(&mut bench, family, n);
            *used.entry(connection.snat.ip()).or_default() += 1;
        }
        assert_eq!(used.len(), 2, "{used:?}");
        // 100 each, with a standard deviation of 7.
        assert!(used.values().all(|count| (50..=150).contains(count)), "{used:?}");
    }
}

/// A balancer with a single address: replies and clients' packets both come to it.
#[test]
fn an_address_may_be_vip_and_snat_address_at_once() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        let address = vip(family, 0).ip();
        let local = LocalAddress {
            vip: Some(scene::vip_id(family)),
            snat: Some(SnatSlot(0)),
            host: true,
            ..LocalAddress::default()
        };
        bench.apply(&[
            Op::PutSnat(family, SnatSlot(0), Snat { address, first_port: FIRST_PORT, ports: 100 }),
            Op::PutAddress(address, local),
        ]);
        let connection = Connection::established(&mut bench, family, 1);
        assert_eq!(connection.snat.ip(), address);
        bench.expect(&Frame::tcp(client(family, 1), vip(family, 22), flag::SYN), Verdict::PassHost);
        bench.expect(&Frame::tcp(client(family, 1), connection.snat, flag::ACK), Verdict::PassHost);
    }
}

/// Test runs of two threads are on two CPUs at once, as packets of two queues are.
#[test]
fn two_cpus_share_ports_and_wheel_without_a_collision() {
    const EACH: u16 = 3000;
    for family in Family::ALL {
        let mut bench = scene::bench();
        let program: &Xdp = bench.datapath().program().unwrap();
        let open = |first: u16| -> Vec<Parsed> {
            let syns = (first..first + EACH)
                .map(|n| Frame::tcp(client(family, n), vip(family, TCP_PORT), flag::SYN));
            syns.map(|syn| Parsed::of(&test_run(program, &syn.build()).1)).collect()
        };
        let opened = thread::scope(|scope| {
            let workers = [0, EACH].map(|first| scope.spawn(move || open(first)));
            workers.map(|worker| worker.join().unwrap()).concat()
        });
        let ports: BTreeSet<u16> = opened.iter().map(|out| out.from.port()).collect();
        assert_eq!(ports.len(), usize::from(2 * EACH));
        for index in 0..3 {
            let share = opened.iter().filter(|out| out.to == scene::server(family, index)).count();
            assert_eq!(share, usize::from(2 * EACH / 3));
        }
        let counts = bench.datapath().sweep().unwrap();
        assert_eq!(counts.snats[&(family, SnatSlot(0))], u64::from(2 * EACH));
        assert_eq!(bench.datapath().verdicts().unwrap()[Verdict::Forward as usize], u64::from(2 * EACH));
    }
}

/// Fills a set of the flow table; its connections, and the SYN of one more client whose flow falls into it.
pub(crate) fn one_too_many(bench: &mut Bench, family: Family) -> (Vec<Connection>, Frame) {
    const SET: u32 = 77;
    const MASK: u32 = conn_sets(DEFAULT_SNATS, DEFAULT_DNATS) - 1;
    let seed = meta(bench).hash_seed;
    let target = vip(family, TCP_PORT);
    let candidates = (0..u32::MAX).map(|n| SocketAddr::new(numbered(family, n), 4242));
    let mut clients =
        candidates.filter(|&client| conn_set::set_index(hash(client, target, seed), MASK) == SET);
    let connections = (clients.by_ref().take(WAYS))
        .map(|client| Connection::open(bench, &Frame::tcp(client, target, flag::SYN)))
        .collect();
    let client = clients.next().expect("one in 131 072 falls into the set");
    (connections, Frame::tcp(client, target, flag::SYN))
}

fn numbered(family: Family, n: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(0x0b00_0000 + n).into(),
        Family::V6 => Ipv6Addr::from(0xfd00_0009u128 << 96 | u128::from(n)).into(),
    }
}

/// The hash of a flow, as the program computes it.
fn hash(client: SocketAddr, vip: SocketAddr, seed: u64) -> u64 {
    fn tuple<A: Address>(client: (A, u16), vip: (A, u16)) -> Tuple<A> {
        let (client_port, vip_port) = (Be16::new(client.1), Be16::new(vip.1));
        Tuple { client: client.0, vip: vip.0, client_port, vip_port, protocol: protocol::TCP }
    }
    match (client, vip) {
        (SocketAddr::V4(client), SocketAddr::V4(vip)) => {
            let [client, vip] = [client, vip].map(|side| (V4::from_octets(side.ip().octets()), side.port()));
            tuple(client, vip).hash(seed)
        }
        (SocketAddr::V6(client), SocketAddr::V6(vip)) => {
            let [client, vip] = [client, vip].map(|side| (V6::from_octets(side.ip().octets()), side.port()));
            tuple(client, vip).hash(seed)
        }
        (client, vip) => unreachable!("{client} and {vip} are of one family"),
    }
}

/// A set of the flow table has eight places; no live flow leaves its own for a newcomer.
#[test]
fn a_full_set_of_the_flow_table_takes_nobody_and_loses_nobody() {
    for family in Family::ALL {
        let mut bench = scene::bench();
        let (connections, ninth) = one_too_many(&mut bench, family);
        bench.expect(&ninth, Verdict::DropFlowTableFull);
        connections.iter().for_each(|connection| connection.goes_on(&mut bench));
        // The SNAT port that it had taken is given back.
        let counts = bench.datapath().sweep().unwrap();
        assert_eq!(counts.snats[&(family, SnatSlot(0))], WAYS as u64);
        // A closed connection keeps its place as long as its last packets may come.
        connections[0].finish(&mut bench);
        bench.expect(&ninth, Verdict::DropFlowTableFull);
        connections[0].goes_on(&mut bench);
    }
}

/// A server in TIME_WAIT may refuse a connection from a port it has just seen, so such a port is taken last.
#[test]
fn a_port_that_the_server_may_remember_is_taken_last() {
    for family in Family::ALL {
        let mut bench = bench(family, 2);
        let (id, mut listener) = scene::listener(family, Protocol::Udp);
        listener.idle_timeout = Duration::from_secs(1);
        bench.apply(&[Op::PutListener(id, listener), scene::wheel(&[0])]);
        let seen = Connection::datagram(&mut bench, family, 0).snat;
        bench.apply(&[scene::wheel(&[1])]);
        let unseen = Connection::datagram(&mut bench, family, 1).snat;
        wait::until("both flows to end", Duration::from_secs(5), || {
            bench.datapath().sweep().unwrap().backends.is_empty().then_some(())
        })
        .unwrap();
        bench.apply(&[scene::wheel(&[0])]);
        assert_eq!(
            Connection::datagram(&mut bench, family, 2).snat,
            unseen,
            "the next in turn is the one it has seen"
        );
        assert_eq!(Connection::datagram(&mut bench, family, 3).snat, seen, "better than none");
    }
}
