//! Weighted round robin.

use std::{collections::BTreeMap, net::SocketAddr};

use nlb_agent::datapath::Family;

use crate::{connection::Connection, scene};

#[test]
fn weights_1_2_3_share_600_connections_as_100_200_300() {
    let mut bench = scene::bench();
    bench.apply(&[scene::wheel(&[0, 1, 1, 2, 2, 2])]);
    for family in Family::ALL {
        let mut counts: BTreeMap<SocketAddr, u32> = BTreeMap::new();
        for n in 0..600 {
            *counts.entry(Connection::syn(&mut bench, family, n).server).or_default() += 1;
        }
        let shares = [0, 1, 2].map(|index| counts[&scene::server(family, index)]);
        assert_eq!(shares, [100, 200, 300], "{family}");
    }
}

#[test]
fn any_window_of_one_turn_holds_every_slot_once() {
    let mut bench = scene::bench();
    bench.apply(&[scene::wheel(&[2, 0, 2, 1, 2, 1])]);
    for family in Family::ALL {
        let order: Vec<_> = (0..24).map(|n| Connection::syn(&mut bench, family, n).server).collect();
        for window in order.windows(6) {
            let shares = [0, 1, 2].map(|index| {
                let server = scene::server(family, index);
                window.iter().filter(|&&picked| picked == server).count()
            });
            assert_eq!(shares, [1, 2, 3]);
        }
    }
}
