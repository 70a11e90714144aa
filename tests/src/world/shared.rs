//! A link that a client and two balancers are on. Nobody has the VIPs there, unless an agent says so.
//!
//! ```text
//!   client eth0 ──┐      ┌── front balancer back ──┐
//!                 ├ link ┤                         ├ switch ── servers
//!                 ┘      └── front standby  back ──┘
//! ```

use anyhow::Result;

use super::{
    Namespace, World,
    address::{BALANCER_FRONT, CLIENT, STANDBY_BACK, STANDBY_FRONT},
    wiring::{BACK, BALANCER, EVERYWHERE, FRONT, cable, plug, set_all, up},
};

/// What there is more in such a world.
#[derive(Debug)]
pub struct Shared {
    /// The second balancer, with the same interfaces as the first.
    pub standby: Namespace,
    /// Joins the client and the balancers.
    _link: Namespace,
}

impl World {
    /// Puts the client and two balancers on one link, before an agent is started.
    ///
    /// # Errors
    /// A namespace, link, address or kernel parameter cannot be set.
    pub fn share_link(&mut self) -> Result<()> {
        let standby = Namespace::create(format!("{}-standby", self.name))?;
        let link = Namespace::create(format!("{}-link", self.name))?;
        set_all(&standby, EVERYWHERE)?;
        set_all(&standby, BALANCER)?;
        set_all(&link, EVERYWHERE)?;
        link.configure("link add bridge type bridge\nlink set bridge up")?;
        // Its other end goes with it, and so do addresses and routes.
        self.client.configure("link delete eth0")?;
        let ends = [
            ("client", &self.client, "eth0"),
            ("balancer", &self.balancer, FRONT),
            ("standby", &standby, FRONT),
        ];
        for (port, namespace, end) in ends {
            cable(&link, port, namespace, end)?;
            plug(&link, port)?;
        }
        cable(&self.switch, "standby", &standby, BACK)?;
        plug(&self.switch, "standby")?;
        self.client.configure(&up("eth0", CLIENT))?;
        self.balancer.configure(&up(FRONT, BALANCER_FRONT))?;
        standby.configure(&(up(FRONT, STANDBY_FRONT) + &up(BACK, STANDBY_BACK)))?;
        self.shared = Some(Shared { standby, _link: link });
        Ok(())
    }
}
