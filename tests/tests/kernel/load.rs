//! What loading the program costs, and its variants.

use std::time::Instant;

use nlb_agent::datapath::{Family, aya::Options};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Frame, flag};

use crate::{
    bench::{Action, Bench},
    fib::{OUT, in_a_network},
    loaded,
    scene::{self, OTHER_PORT, TCP_PORT, client, vip},
};

#[test]
fn the_program_loads_and_says_what_the_verifier_had_to_do() {
    let started = Instant::now();
    let mut bench = Bench::special(loaded::options());
    let took = started.elapsed();
    let info = bench.datapath().program().unwrap().info().unwrap();
    let verified = info.verified_instruction_count().expect("Linux 5.16 and newer tell");
    println!("program loaded in {took:?}, maps made; {verified} instructions verified");
    assert!((1_000..1_000_000).contains(&verified), "{verified}: the kernel's limit is one million");
}

/// What is dead code in the program that all other tests run.
#[test]
fn the_program_that_logs_drops_and_redirects_to_veth_loads_and_works_as_well() {
    in_a_network(|| {
        let interfaces = vec![OUT.to_owned()];
        let mut bench = Bench::special(Options { log_drops: true, interfaces, ..loaded::options() });
        bench.apply(&scene::ops());
        for family in Family::ALL {
            let syn = Frame::tcp(client(family, 0), vip(family, TCP_PORT), flag::SYN);
            assert_eq!(bench.expect(&syn, Verdict::Forward).action, Action::Redirect, "not XDP_TX");
            bench.expect(
                &Frame::tcp(client(family, 0), vip(family, OTHER_PORT), flag::SYN),
                Verdict::DropNoListener,
            );
        }
    });
}
