//! `type: dnlb`: every node with the same resources and the same seed picks the same server for the same packet.

use nlb_agent::{
    datapath::Family,
    health::{Health, Reason},
};
use nlb_tests::packet::{Frame, flag};

use crate::{
    agent::End,
    client::Client,
    program::Answer,
    random::Random,
    shop::{Server, Shop},
    world::{Setup, World},
};

fn shop(family: Family, scheduler: &str) -> Shop {
    let mut random = Random::new(5);
    let weights: Vec<u8> = (0..40).map(|_| random.below(101) as u8).collect();
    let fields = format!("scheduler: {scheduler}, health_check: {{protocol: tcp}}");
    Shop { product: "dnlb", ..Shop::new(family, &weights, &fields) }
}

fn node(hash_seed: u64) -> World {
    World::new(Setup { hash_seed: Some(hash_seed), ..Setup::default() })
}

/// A node that got where it is at once.
fn straight(shop: &Shop, hash_seed: u64) -> World {
    let mut world = node(hash_seed);
    world.apply(shop);
    world
}

/// A node with a past: other servers, another order, health that came and went, restarts.
fn roundabout(shop: &Shop, hash_seed: u64) -> World {
    let mut world = node(hash_seed);
    let mut other = shop.clone();
    other.servers.reverse();
    other.servers.truncate(11);
    for server in &mut other.servers {
        server.weight = 100 - server.weight;
    }
    world.apply(&other);
    other.servers = (200..500).map(|index| Server { index, weight: 7, admin_state: "enabled" }).collect();
    world.apply(&other);
    world.restart(End::Killed);
    let mut reversed = shop.clone();
    reversed.servers.reverse();
    reversed.servers[3].admin_state = "disabled";
    world.apply(&reversed);
    world.flip(7, Health::Unhealthy(Reason::ConnectFailed));
    world.seconds(3);
    world.flip(7, Health::Healthy);
    world.restart(End::Stopped);
    world.apply(shop);
    world
}

/// Any packet of any flow: of TCP whatever flags, of UDP.
fn packet(family: Family, random: &mut Random) -> Frame {
    let client = Client::new(family, random.below(1 << 24), 1024 + random.below(60_000) as u16);
    match random.below(5) {
        0 => client.datagram(),
        1 => client.segment(flag::SYN),
        2 => client.segment(flag::FIN_ACK),
        _ => client.segment(flag::ACK),
    }
}

#[test]
fn two_nodes_of_different_pasts_agree_on_every_packet_and_another_seed_does_not() {
    for (family, scheduler) in [(Family::V4, "source_ip"), (Family::V6, "flow_hash")] {
        let shop = shop(family, scheduler);
        let nodes = [straight(&shop, 0x1234), roundabout(&shop, 0x1234)];
        let stranger = straight(&shop, 0x1235);
        let mut random = Random::new(9);
        let mut differ = 0;
        for n in 0..50_000 {
            let packet = packet(family, &mut random);
            let [here, there] = [&nodes[0], &nodes[1]].map(|node| node.send(&packet));
            assert_eq!(here, there, "{packet:?}");
            assert!(matches!(here, Answer::Server(_)), "{here:?}: {packet:?}");
            if n < 2000 {
                differ += usize::from(stranger.send(&packet) != here);
            }
        }
        assert!(differ > 1800, "another seed, but only {differ} of 2000 packets go to other servers");
        assert_eq!(nodes[0].active(40), [0; 40], "nothing is remembered");
    }
}
