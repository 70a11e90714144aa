//! Security groups, from manifests to packets.

use nlb_agent::datapath::Family;
use nlb_common::verdict::Verdict;
use nlb_tests::packet::flag;

use crate::{
    agent::End,
    client::Client,
    program::Answer,
    shop::Shop,
    world::{Setup, World},
};

/// The shop behind these security groups, which are written first.
fn guarded(shop: &Shop, groups: &[(&str, &str)]) -> String {
    let mut yaml = String::new();
    for (name, rules) in groups {
        yaml += &format!("{{kind: SecurityGroup, name: {name}, rules: [{rules}]}}\n---\n");
    }
    let names: Vec<_> = groups.iter().map(|(name, _)| *name).collect();
    yaml + &shop.yaml().replacen("]}\n", &format!("], security_groups: [{}]}}\n", names.join(", ")), 1)
}

/// Whether the first packets of the `n`-th client pass, over TCP and UDP.
fn pass(world: &World, family: Family, n: usize) -> [bool; 2] {
    let client = Client::new(family, n, 4242);
    [client.segment(flag::SYN), client.datagram()].map(|packet| {
        let before = world.verdict(Verdict::DropSecurityGroup);
        let passes = matches!(world.send(&packet), Answer::Server(_));
        let denied = world.verdict(Verdict::DropSecurityGroup) - before;
        assert_eq!(denied == 0, passes, "{packet:?}");
        passes
    })
}

/// Rows: the rules of groups, who passes of clients 1 (11.0.0.1, fd00:9::1) and 300 (11.0.1.44, fd00:9::12c), over TCP to
/// port 80 and UDP to port 53.
#[test]
fn rules_decide_by_order_protocol_port_and_network() {
    const ALL: [bool; 2] = [true, true];
    const NONE: [bool; 2] = [false, false];
    type Row<'a> = (&'a [(&'a str, &'a str)], [[bool; 2]; 2]);
    let rows: &[Row<'_>] = &[
        (&[], [ALL, ALL]),
        (&[("a", "")], [NONE, NONE]),
        (&[("a", "{action: allow}")], [ALL, ALL]),
        (&[("a", "{action: deny}, {action: allow}")], [NONE, NONE]),
        (&[("a", "{action: allow, protocol: tcp}")], [[true, false], [true, false]]),
        (&[("a", "{action: allow, protocol: udp, ports: 53}")], [[false, true], [false, true]]),
        (&[("a", "{action: allow, ports: 80-100}")], [[true, false], [true, false]]),
        (&[("a", "{action: allow, protocol: icmp}")], [NONE, NONE]),
        (&[("a", "{action: allow, cidrs: [11.0.0.0/24, 'fd00:9::/120']}")], [ALL, NONE]),
        (&[("a", "{action: deny, cidrs: [11.0.0.0/24, 'fd00:9::/120']}, {action: allow}")], [NONE, ALL]),
        (
            &[(
                "a",
                "{action: allow, cidrs: [11.0.0.1, 'fd00:9::1']}, {action: deny, cidrs: [11.0.0.0/8, 'fd00::/16']}",
            )],
            [ALL, NONE],
        ),
        (
            &[
                ("a", "{action: deny, protocol: tcp}"),
                ("b", "{action: allow, cidrs: [11.0.1.0/24, 'fd00:9::100/120']}"),
            ],
            [NONE, ALL],
        ),
        (&[("a", "{action: deny}"), ("b", "{action: allow, ports: 80}")], [[true, false], [true, false]]),
    ];
    for (family, product) in [(Family::V4, "nlb"), (Family::V6, "dnlb")] {
        let mut world = World::new(Setup::default());
        let shop = Shop { product, ..Shop::new(family, &[1, 1], "scheduler: flow_hash") };
        for (groups, expected) in rows {
            world.apply_yaml(&guarded(&shop, groups));
            let found = [1, 300].map(|n| pass(&world, family, n));
            assert_eq!(found, *expected, "{family} {product} {groups:?}");
        }
    }
}

#[test]
fn a_connection_ends_when_its_client_is_denied_and_nobody_elses_does() {
    for family in Family::ALL {
        let tunnels = Shop::new(family, &[1, 1, 1], "scheduler: weighted_round_robin");
        for shop in [tunnels.clone().by_nat(), tunnels] {
            let mut world = World::with(&shop);
            let (bad, good) = (Client::new(family, 1, 4242), Client::new(family, 300, 4242));
            let servers = [bad, good].map(|client| client.connect(&world));
            let rules = "{action: deny, cidrs: [11.0.0.0/24, 'fd00:9::/120']}, {action: allow}";
            world.apply_yaml(&guarded(&shop, &[("a", rules)]));
            assert_eq!(bad.send(&world, flag::ACK), Answer::Dropped);
            assert_eq!(good.send(&world, flag::ACK), Answer::Server(servers[1]));
            assert_eq!(world.active(3).iter().sum::<u64>(), 1);

            for how in [End::Killed, End::Stopped] {
                world.restart(how);
                assert_eq!(bad.send(&world, flag::SYN), Answer::Dropped);
                assert_eq!(good.send(&world, flag::ACK), Answer::Server(servers[1]));
            }
            world.apply_yaml(&guarded(&shop, &[]));
            bad.connect(&world);
            assert_eq!(world.active(3).iter().sum::<u64>(), 2);
        }
    }
}
