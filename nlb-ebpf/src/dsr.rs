//! Direct server return: the packet as it is, but for a hop, to the MAC address of a server that has the VIP, too.

use nlb_common::verdict::Verdict;

use crate::{
    family::Tables,
    outcome::{Outcome, Step},
    packet::Packet,
    transmit,
};

/// Sends a client's packet to its server. Only by a next hop that the agent knows: the kernel would look for the VIP.
#[inline(always)]
pub(crate) fn send<F: Tables>(packet: &Packet<'_, F>, next_hop: u64) -> Step<Outcome> {
    let path = transmit::known(next_hop).ok_or(Outcome::drop(Verdict::DropNoNextHop))?;
    F::decrement_hops(packet.packet, &packet.network).ok_or(Outcome::drop(Verdict::DropInternal))?;
    Ok(transmit::along::<F>(packet.ctx, &packet.link, path, Verdict::Forward))
}
