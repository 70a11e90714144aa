//! What loading the program costs, and its variants.

use std::time::Instant;

use nlb_agent::{
    datapath::{Datapath as _, Family, aya::Options},
    status::InterfaceStatus,
};
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
    let verified = bench.datapath().verified_instructions().expect("Linux 5.16 and newer tell");
    // `cargo xtask test kernels` reads this line.
    println!("program loaded in {:.2} s, maps made; {verified} instructions verified", took.as_secs_f64());
    // The kernel lets each program have a million; what is far beyond today's cost is worth a look.
    assert!((100_000..4_000_000).contains(&verified), "{verified}");
}

/// With what is dead code in the program that all other tests run.
#[test]
fn the_program_that_logs_drops_is_attached_to_a_veth_in_its_driver_and_works() {
    in_a_network(|| {
        let interfaces = vec![OUT.to_owned()];
        let mut bench = Bench::special(Options { log_drops: true, interfaces, ..loaded::options() });
        let attached = bench.datapath().interfaces();
        assert_eq!(attached, [InterfaceStatus { name: OUT.to_owned(), xdp_mode: "driver" }]);
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
