//! The live table: who serves the connections, now.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nlb_tests::{
    agent::Agent,
    client::{self, Load},
    manifest::VIP_PORT,
    world::{VIP, World},
};

const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);
const PERIOD: Duration = Duration::from_secs(1);

/// Sends connections over both families and shows every second who serves them, for `duration` or for ever.
///
/// # Errors
/// The agent does not answer, or the output cannot be written.
pub(super) fn run(world: &World, agent: &Agent<'_>, duration: Option<Duration>) -> Result<()> {
    println!("live     connections go on; Ctrl-C ends the demo");
    let loads = VIP
        .sockets(VIP_PORT)
        .map(|target| Load::start(&world.client, &[target], CLIENTS, PAUSE).map(|load| (target, load)));
    let mut families = Vec::new();
    for load in loads {
        let (target, load) = load?;
        families.push(Family { heading: target.ip().to_string(), load, served: BTreeMap::new(), failed: 0 });
    }

    let mut screen = Screen { redraws: io::stdout().is_terminal(), lines: 0 };
    let end = duration.map(|duration| Instant::now() + duration);
    while end.is_none_or(|end| Instant::now() < end) {
        thread::sleep(PERIOD);
        families.iter_mut().for_each(Family::count);
        screen.show(&table(agent, &families)?)?;
    }
    Ok(())
}

/// The connections to one VIP.
struct Family {
    heading: String,
    load: Load,
    /// By server name.
    served: BTreeMap<String, usize>,
    failed: usize,
}

impl Family {
    fn count(&mut self) {
        let news = self.load.news();
        for (server, count) in client::shares(&news) {
            *self.served.entry(server.to_owned()).or_default() += count;
        }
        self.failed += news.iter().filter(|exchange| exchange.answer.is_err()).count();
    }

    fn cell(&self, server: &str) -> String {
        let served = self.served.get(server).copied().unwrap_or_default();
        let sum = self.served.values().sum::<usize>().max(1);
        format!("{served} ({}.{} %)", served * 100 / sum, served * 1000 / sum % 10)
    }
}

/// One line for each server, one for the failures.
fn table(agent: &Agent<'_>, families: &[Family]) -> Result<Vec<String>> {
    let mut servers = BTreeMap::new();
    for backend in agent.ctl().backends()? {
        let (_, health, active) =
            servers.entry(backend.server).or_insert((backend.weight, backend.health.clone(), 0));
        *active += backend.active_connections;
        if backend.health != "healthy" {
            *health = backend.health;
        }
    }
    let row = |cells: [&str; 4], families: Vec<String>| {
        let [server, weight, health, active] = cells;
        let families: String = families.iter().map(|family| format!("  {family:>17}")).collect();
        format!("{server:8} {weight:>6}  {health:9} {active:>6}{families}")
    };
    let headings = families.iter().map(|family| family.heading.clone()).collect();
    let mut lines = vec![row(["server", "weight", "health", "active"], headings)];
    for (server, (weight, health, active)) in &servers {
        let shares = families.iter().map(|family| family.cell(server)).collect();
        lines.push(row([server, &weight.to_string(), health, &active.to_string()], shares));
    }
    let failures = families.iter().map(|family| family.failed.to_string()).collect();
    lines.push(row(["failed", "", "", ""], failures));
    Ok(lines)
}

/// Draws a table over the one before on a terminal, below it elsewhere.
struct Screen {
    redraws: bool,
    /// How many were drawn last.
    lines: usize,
}

impl Screen {
    fn show(&mut self, lines: &[String]) -> Result<()> {
        let mut text = String::new();
        if self.redraws && self.lines > 0 {
            text = format!("\x1b[{}A\x1b[J", self.lines);
        }
        for line in lines {
            text += line;
            text.push('\n');
        }
        self.lines = lines.len();
        let mut stdout = io::stdout();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .context("cannot write to the standard output")
    }
}
