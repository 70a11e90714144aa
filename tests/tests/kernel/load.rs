//! What loading the program costs.

use std::time::Instant;

use crate::bench::Bench;

#[test]
fn the_program_loads_and_says_what_the_verifier_had_to_do() {
    let started = Instant::now();
    let mut bench = Bench::new();
    let took = started.elapsed();
    let info = bench.datapath().program().unwrap().info().unwrap();
    let verified = info.verified_instruction_count().expect("Linux 5.16 and newer tell");
    println!("program loaded in {took:?}, maps made; {verified} instructions verified");
    assert!((1_000..1_000_000).contains(&verified), "{verified}: the kernel's limit is one million");
}
