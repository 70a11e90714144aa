//! Pools of SNAT addresses: as many as the tables are made for.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use nlb_agent::datapath::{
    Datapath as _, Family, LocalAddress, Op, Slots, Snat, SnatRange, SnatSlot, aya::Sizes,
};
use nlb_common::{event::Event, verdict::Verdict};
use nlb_tests::packet::{Frame, flag};

use crate::{
    bench::Bench,
    connection::Connection,
    scene::{self, TCP_PORT, client, vip},
};

/// Addresses of each family.
const POOL: u16 = 9;

/// The `n`-th address of a pool.
fn address(family: Family, n: u16) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(0x0a01_0100 + u32::from(n)).into(),
        Family::V6 => Ipv6Addr::from((0xfd00_0001u128 << 96) + 0x100 + u128::from(n)).into(),
    }
}

/// A bench whose backends have all of a pool, with so many ports of each address.
fn bench(ports: u16) -> Bench {
    let slots = Slots { snats: [POOL.into(); 2], dnats: 1 };
    let mut bench = Bench::sized(Sizes { flows: 1 << 10, persistence: 1 << 10, slots });
    bench.apply(&scene::ops());
    for family in Family::ALL {
        for n in 0..POOL {
            let (slot, address) = (SnatSlot(n), address(family, n));
            let local = LocalAddress { snat: Some(slot), ..LocalAddress::default() };
            bench.apply(&[
                Op::PutSnat(family, slot, Snat { address, first_port: 40_000, ports }),
                Op::PutAddress(address, local),
            ]);
        }
        let snat = SnatRange { first: SnatSlot(0), count: POOL };
        (0..3).for_each(|index| bench.apply(&[scene::changed(family, index, |backend| backend.snat = snat)]));
    }
    bench
}

#[test]
fn connections_spread_over_all_addresses_and_are_found_from_all() {
    let mut bench = bench(1000);
    assert_eq!(bench.datapath().slots(), Slots { snats: [POOL.into(); 2], dnats: 1 });
    for family in Family::ALL {
        let mut used = BTreeMap::<IpAddr, u32>::new();
        let connections: Vec<_> = (0..450).map(|n| Connection::established(&mut bench, family, n)).collect();
        for connection in &connections {
            *used.entry(connection.snat.ip()).or_default() += 1;
        }
        // 50 each, with a standard deviation of 7.
        assert_eq!(used.len(), usize::from(POOL), "{used:?}");
        assert!(used.values().all(|count| (15..=85).contains(count)), "{used:?}");
        connections.iter().for_each(|connection| connection.goes_on(&mut bench));
        let counts = bench.datapath().sweep().unwrap();
        let held: u64 = (0..POOL).map(|n| counts.snats[&(family, SnatSlot(n))]).sum();
        assert_eq!(held, 450);
    }
    let events = bench.datapath().events().unwrap();
    assert_eq!(events[Event::SnatExhausted as usize], 0);
    // A new agent finds as many slots as there are, whatever it is told to make.
    bench.restart();
    assert_eq!(bench.datapath().slots().snats, [u32::from(POOL); 2]);
}

/// An address without a free port leaves its connections to the others, to the last port of the last one.
#[test]
fn every_port_of_every_address_is_given_before_a_connection_is_refused() {
    const PORTS: u16 = 4;
    let mut bench = bench(PORTS);
    for family in Family::ALL {
        let room = POOL * PORTS;
        let connections: Vec<_> = (0..room).map(|n| Connection::established(&mut bench, family, n)).collect();
        let counts = bench.datapath().sweep().unwrap();
        for n in 0..POOL {
            assert_eq!(counts.snats[&(family, SnatSlot(n))], u64::from(PORTS), "address {n}");
        }
        let exhausted = |bench: &mut Bench| bench.datapath().events().unwrap()[Event::SnatExhausted as usize];
        let before = exhausted(&mut bench);
        assert!(before > 0, "some found their address full");
        let syn = Frame::tcp(client(family, room), vip(family, TCP_PORT), flag::SYN);
        for _ in 0..5 {
            bench.expect(&syn, Verdict::DropPortsExhausted);
        }
        // One that every one of them was meant for, and at most once a second one more.
        let more = exhausted(&mut bench) - before;
        assert!((5..=5 + u64::from(POOL)).contains(&more), "{more}");
        connections.iter().for_each(|connection| connection.goes_on(&mut bench));
    }
}
