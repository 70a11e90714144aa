//! What `--check` asserts about a server that fails while connections run, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nlb_tests::{
    agent::Agent,
    client::{Exchange, Load},
    manifest::VIP_PORT,
    servers::{self, Servers},
    wait,
    world::{VIP, World},
};

use super::{PATIENCE, Split};

const CLIENTS: usize = 16;
const PAUSE: Duration = Duration::from_millis(10);
/// The server that fails.
const VICTIM: usize = 1;
/// Connections that must begin, and succeed, in each of the states a server can be known to be in.
const CONNECTIONS: usize = 600;

/// Kills a server and brings it back, under load.
///
/// # Errors
/// A connection failed that began when the failure was already known; the failure or the recovery was not noticed; or the
/// server does not get its share again.
pub(super) fn failing_server(world: &World, servers: &mut Servers<'_>, agent: &Agent<'_>) -> Result<()> {
    let victim = servers::name(VICTIM);
    let load = Load::start(&world.client, &VIP.sockets(VIP_PORT), CLIENTS, PAUSE)?;
    let mut exchanges = Vec::new();

    let killed = Instant::now();
    servers.kill(VICTIM)?;
    agent.ctl().await_health(victim, "unhealthy", PATIENCE)?;
    let detected = Instant::now();
    println!(
        "failure  server {victim} was killed and found unhealthy after {:.1} s",
        (detected - killed).as_secs_f64()
    );
    await_connections(&load, &mut exchanges, detected)?;

    let restarted = Instant::now();
    servers.restart(VICTIM)?;
    agent.ctl().await_health(victim, "healthy", PATIENCE)?;
    let recovered = Instant::now();
    println!(
        "recovery server {victim} was started and found healthy after {:.1} s",
        (recovered - restarted).as_secs_f64()
    );
    await_connections(&load, &mut exchanges, recovered)?;
    exchanges.extend(load.stop());

    let failures = |begin: Instant, end: Option<Instant>| {
        let within =
            move |exchange: &&Exchange| exchange.began >= begin && end.is_none_or(|end| exchange.began < end);
        exchanges.iter().filter(within).filter_map(|exchange| exchange.answer.as_ref().err())
    };
    let undetected = failures(killed, Some(detected)).count();
    let after: Vec<_> = failures(detected, None).collect();
    println!(
        "load     {} connections; {undetected} failed between failure and detection, {} afterwards",
        exchanges.len(),
        after.len(),
    );
    ensure!(after.is_empty(), "connections failed after the detection, the first: {}", after[0]);

    for target in VIP.sockets(VIP_PORT) {
        let split = Split::of_burst(world, target)?;
        println!("{split}");
        split.check()?;
    }
    Ok(())
}

/// Waits until enough connections have begun and ended since `begin`.
fn await_connections(load: &Load, exchanges: &mut Vec<Exchange>, begin: Instant) -> Result<()> {
    wait::until("connections", PATIENCE, || {
        exchanges.extend(load.news());
        (exchanges.iter().filter(|exchange| exchange.began >= begin).count() >= CONNECTIONS).then_some(())
    })
    .with_context(|| format!("{} connections in all", exchanges.len()))
}
