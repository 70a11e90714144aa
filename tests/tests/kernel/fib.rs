//! Without a next hop from the agent, the kernel's routes and neighbours show the way.

use std::{fs, process::Command, thread};

use nix::sched::{CloneFlags, unshare};
use nlb_agent::datapath::Family;
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Frame, SERVICE_VLAN, VLAN, flag};

use crate::{
    bench::{Action, Bench},
    parsed::Parsed,
    scene::{self, TCP_PORT, client, server, vip},
};

/// The interface to the servers, a veth.
pub(crate) const OUT: &str = "out";

const NETWORK: &str = "
    link set lo up
    link add out address 02:00:00:00:03:01 type veth peer name far
    link set out up
    link set far up
    address add 10.1.0.1/24 dev out
    address add fd00:1::1/64 dev out nodad
    neighbour add 10.1.0.11 lladdr 02:00:00:00:03:11 dev out nud permanent
    neighbour add fd00:1::11 lladdr 02:00:00:00:03:11 dev out nud permanent
";

/// Runs `work` in a network namespace of its own: a route to all servers, a neighbour entry for the first.
pub(crate) fn in_a_network(work: impl FnOnce() + Send + 'static) {
    let worker = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for command in NETWORK.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let status = Command::new("ip").args(command.split(' ')).status().unwrap();
            assert!(status.success(), "ip {command}");
        }
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            fs::write(format!("/proc/sys/net/{switch}"), "1").unwrap();
        }
        work();
    });
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn bench(server: usize) -> Bench {
    let mut bench = scene::bench();
    for family in Family::ALL {
        bench.apply(&[scene::changed(family, server, |backend| backend.next_hop = None)]);
    }
    bench.apply(&[scene::wheel(&[server])]);
    bench
}

#[test]
fn a_known_neighbour_is_reached_whatever_tags_the_packet_had() {
    in_a_network(|| {
        let mut bench = bench(0);
        for family in Family::ALL {
            for (n, tags) in (0..).zip([&[][..], &[(VLAN, 7)], &[(SERVICE_VLAN, 7), (VLAN, 8)]]) {
                let syn = Frame::tcp(client(family, n), vip(family, TCP_PORT), flag::SYN).tags(tags);
                let run = bench.expect(&syn, Verdict::Forward);
                assert_eq!(run.action, Action::Redirect);
                let out = run.parsed();
                let macs = [[2, 0, 0, 0, 3, 0x11], [2, 0, 0, 0, 3, 1]];
                assert_eq!(out, Parsed::of(&syn.build()).moved(&[], macs, out.from, server(family, 0)));
            }
        }
    });
}

#[test]
fn an_unknown_neighbour_is_not_reached() {
    in_a_network(|| {
        let mut bench = bench(1);
        for family in Family::ALL {
            let syn = Frame::tcp(client(family, 0), vip(family, TCP_PORT), flag::SYN);
            bench.expect(&syn, Verdict::DropNoNextHop);
        }
    });
}
