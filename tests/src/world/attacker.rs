//! A namespace with a cable of its own to the balancer, so that what it sends takes nobody's room on a wire.

use anyhow::Result;

use super::{
    Namespace, World,
    wiring::{EVERYWHERE, cable, set_all},
};

/// The balancer's interface on the attacker's side.
pub(super) const FLOODED: &str = "flooded";
/// MAC address of [`FLOODED`].
const BALANCER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xa, 0x1];

/// Somebody who sends what he likes to the balancer.
#[derive(Debug)]
pub struct Attacker {
    /// Where it comes from.
    pub namespace: Namespace,
}

impl Attacker {
    /// His interface.
    pub const INTERFACE: &str = "eth0";
    /// Destination and source MAC address of what he sends.
    pub const MACS: [[u8; 6]; 2] = [BALANCER_MAC, [0x02, 0, 0, 0, 0xa, 0x2]];
}

impl World {
    /// Adds an attacker, before an agent is started. He has no address: answers to whomever he pretends to be
    /// end at his interface.
    ///
    /// # Errors
    /// The namespace, the link or a kernel parameter cannot be set.
    pub fn add_attacker(&mut self) -> Result<()> {
        let namespace = Namespace::create(format!("{}-attacker", self.name))?;
        set_all(&namespace, EVERYWHERE)?;
        cable(&self.balancer, FLOODED, &namespace, Attacker::INTERFACE)?;
        let [balancer, attacker] = Attacker::MACS.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
        self.balancer.configure(&format!("link set {FLOODED} address {balancer} up"))?;
        namespace.configure(&format!("link set {} address {attacker} up", Attacker::INTERFACE))?;
        self.attacker = Some(Attacker { namespace });
        Ok(())
    }
}
