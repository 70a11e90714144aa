//! Direct return: servers behind a tunnel answer to the client without the balancer.
//!
//! ```text
//!   client eth0 ──────── balancer ──────── switch ──────── server: VIPs on lo
//!          eth1 ───────────────────────────── ┘            default route: the client
//! ```

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    World,
    address::{CLIENT_BACK, Dual, VIP},
    wiring::{cable, plug, up},
};

/// The switch's port of the client.
const PORT: &str = "client";
/// The segments that a server's peers may send, so that they fit into 1500 bytes with an outer header of 20 bytes (IPv4) or
/// 40 bytes (IPv6) and the 12 bytes of GUE in front.
const SEGMENT: [u16; 2] = [1428, 1388];

impl World {
    /// Has the servers of [`World::return_directly`] announce segments as large as their own link takes, as servers do of which
    /// nobody has told that there is a tunnel on the way.
    ///
    /// # Errors
    /// A route cannot be set.
    pub fn announce_whole_segments(&self) -> Result<()> {
        let Dual { v4, v6 } = CLIENT_BACK;
        let script = format!("route replace default via {v4}\nroute replace default via {v6}\n");
        self.servers.iter().try_for_each(|server| server.configure(&script))
    }

    /// Has the servers accept what is addressed to the VIPs, and answer to the client directly. They announce segments
    /// that leave room for the tunnel, as one would in production where the MTU cannot be raised.
    ///
    /// # Errors
    /// A link, address or route cannot be set.
    pub fn return_directly(&self) -> Result<()> {
        cable(&self.switch, PORT, &self.client, "eth1")?;
        plug(&self.switch, PORT)?;
        self.client.configure(&up("eth1", CLIENT_BACK))?;
        let (Dual { v4, v6 }, [segment4, segment6]) = (CLIENT_BACK, SEGMENT);
        let mut script = String::new();
        let _ = writeln!(script, "address add {}/32 dev lo", VIP.v4);
        let _ = writeln!(script, "address add {}/128 dev lo nodad", VIP.v6);
        let _ = writeln!(script, "route replace default via {v4} advmss {segment4}");
        let _ = writeln!(script, "route replace default via {v6} advmss {segment6}");
        self.servers.iter().try_for_each(|server| server.configure(&script))
    }
}
