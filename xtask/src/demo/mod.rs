//! `cargo xtask demo`: a world with a client, the balancer and three web servers of weights 1:2:3, and real connections over
//! IPv4 and IPv6.

mod check;
mod live;
mod split;

use std::{process, thread, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use nlb_tests::{
    agent::Agent,
    manifest::{Shop, VIP_PORT},
    servers::{self, Servers},
    world::{self, VIP, World},
};

use self::split::Split;
use crate::{
    build,
    setup::{self, Level},
};

const WEIGHTS: [u32; 3] = [1, 2, 3];
/// How long anything may take that takes two seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The exit status of a program ended by SIGINT, as shells see it.
const INTERRUPTED: i32 = 130;

/// The command's arguments.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Check the split and how a failed server is treated, then exit with 0 or 1
    #[arg(long, conflicts_with = "seconds")]
    check: bool,
    /// End after this many seconds instead of going on until Ctrl-C
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// `cargo xtask demo`.
///
/// # Errors
/// Something is missing or fails to start; with `--check`, what is not as it should be.
pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = setup::ensure(Level::Test)?;
    println!("build    nlb-agent, nlbctl");
    build::build(toolchain)?;
    clean_up_on_interrupt()?;

    let world = World::new("demo", WEIGHTS.len())?;
    let mut servers = Servers::start(&world)?;
    let members: Vec<_> = WEIGHTS
        .iter()
        .enumerate()
        .map(|(index, weight)| format!("{} (weight {weight})", servers::name(index)))
        .collect();
    println!("world    client -> {}, {} -> {}", VIP.v4, VIP.v6, members.join(", "));
    let agent = Agent::start(&world, &Shop::new(&WEIGHTS).yaml())?;
    agent.ctl().await_healthy(PATIENCE)?;
    println!("agent    runs; all servers are healthy");

    for target in VIP.sockets(VIP_PORT) {
        let split = Split::of_burst(&world, target)?;
        println!("{split}");
        if args.check {
            split.check()?;
        }
    }
    if args.check {
        check::failing_server(&world, &mut servers, &agent)?;
        println!("the demo is as it should be");
        Ok(())
    } else {
        live::run(&world, &agent, args.seconds.map(Duration::from_secs))
    }
}

/// The processes of a world have process groups of their own, so Ctrl-C does not reach them: nobody but us can end them.
fn clean_up_on_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context("cannot wait for Ctrl-C")?;
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            world::remove_own();
            process::exit(INTERRUPTED);
        }
    });
    Ok(())
}
