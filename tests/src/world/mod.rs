//! Worlds: network namespaces wired up as a client, a balancer and servers behind a switch.
//!
//! ```text
//!   client            balancer              switch                server 1..=N
//!   eth0 ───────── front    back ───────── uplink  port1 ───────── eth0
//!   10.0.0.2    10.0.0.1    10.1.0.1         └─ bridge ┘           10.1.0.11, .12, …
//!   fd00::2      fd00::1    fd00:1::1                              fd00:1::11, ::12, …
//! ```
//!
//! The VIPs, 10.0.0.10 and fd00::10, are on no interface; the client has routes for them through the
//! balancer. With direct return ([`World::return_directly`]) they are on the servers' loopbacks, and the client is on
//! the switch as well. On a shared link ([`World::share_link`]) the client has two balancers as neighbours, and no route for the
//! VIPs. An attacker ([`World::add_attacker`]) has a cable of his own to the balancer. Everything is
//! removed when the world is dropped, also by a panic; what a killed process left behind is removed before the next
//! world is made.

mod address;
mod attacker;
mod direct;
mod leftovers;
mod namespace;
mod process;
mod shared;
mod wiring;

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

pub use self::{
    address::{
        BALANCER_BACK, BALANCER_FRONT, CLIENT, CLIENT_BACK, Dual, STANDBY_BACK, STANDBY_FRONT, VIP,
        server_address,
    },
    attacker::Attacker,
    leftovers::remove_own,
    namespace::Namespace,
    process::Process,
    shared::Shared,
    wiring::{BACK, FRONT},
};

/// What the names of our namespaces and bpffs directories begin with.
const PREFIX: &str = "nlb-test-";

/// A client, a balancer and servers, each in its network namespace; perhaps an attacker.
#[derive(Debug)]
pub struct World {
    /// Where connections come from.
    pub client: Namespace,
    /// Where the agent runs; its interfaces are [`FRONT`] and [`BACK`].
    pub balancer: Namespace,
    /// Where the servers run, at [`server_address`].
    pub servers: Vec<Namespace>,
    /// Who floods the balancer: see [`World::add_attacker`].
    pub attacker: Option<Attacker>,
    /// The second balancer: see [`World::share_link`].
    pub shared: Option<Shared>,
    /// Joins the balancer and the servers.
    switch: Namespace,
    /// Logs, configurations, contents.
    dir: TempDir,
    name: String,
}

impl World {
    /// Makes a world with `servers` server namespaces; `name` is for people who look at `ip netns`.
    ///
    /// # Errors
    /// A namespace, link, address or kernel parameter cannot be set; most often for want of root.
    pub fn new(name: &str, servers: usize) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);

        leftovers::remove();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}-{name}", std::process::id());
        let namespace = |role: &str| Namespace::create(format!("{name}-{role}"));
        let world = Self {
            client: namespace("client")?,
            balancer: namespace("balancer")?,
            servers: (1..=servers)
                .map(|number| namespace(&format!("server{number}")))
                .collect::<Result<_>>()?,
            attacker: None,
            shared: None,
            switch: namespace("switch")?,
            dir: tempfile::Builder::new()
                .prefix(&format!("{name}-"))
                .tempdir()
                .context("cannot make a directory for logs")?,
            name,
        };
        wiring::connect(&world.client, &world.balancer, &world.switch, &world.servers)?;
        Ok(world)
    }

    /// The balancer's interfaces.
    pub fn interfaces(&self) -> Vec<&'static str> {
        let attacked = self.attacker.is_some().then_some(attacker::FLOODED);
        [FRONT, BACK].into_iter().chain(attacked).collect()
    }

    /// A name that no other world on this machine has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A directory for this world's files, removed with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
