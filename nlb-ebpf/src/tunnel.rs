//! IP in IP (RFC 2003, RFC 2473): an outer header in front of the client's packet, to a server of the same family.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use nlb_common::{
    abi::backend::Backend,
    packet::{Link, Outer},
    verdict::Verdict,
};

use crate::{
    family::Tables,
    outcome::{ASK_KERNEL, Outcome, Step},
    pipeline::{Packet, frame},
    shared, transmit,
};

/// Puts the outer header in front of a client's packet and sends it to its server.
#[inline(always)]
pub(crate) fn send<F: Tables>(packet: &Packet<'_, F>, backend: *const Backend) -> Step<Outcome> {
    let failed = Outcome::drop(Verdict::DropInternal);
    let network = &packet.network;
    F::decrement_hops(packet.frame, network, network.source, network.destination).ok_or(failed)?;
    // SAFETY: a map value; but for the next hop, nothing of it changes while the number is in use.
    let (outer, next_hop) = unsafe {
        let outer = Outer {
            source: F::narrow((*backend).tunnel_source),
            destination: F::narrow((*backend).address),
            sum: (*backend).tunnel_sum,
            class: network.class,
            payload_len: (network.end - u32::from(network.offset)) as u16,
        };
        (outer, shared::read(&raw const (*backend).next_hop))
    };
    let path = transmit::known(next_hop);
    // Without a known way the link layer stays what it is, until the kernel has told.
    let tags = path.as_ref().map_or(packet.link.tags, |path| path.tags);
    let link = Link { tags, ethertype: F::ETHERTYPE };
    let longer = F::HEADER_LEN as i32 + link.len() as i32 - packet.link.len() as i32;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    if unsafe { bpf_xdp_adjust_head(packet.ctx.ctx, -longer) } != 0 {
        return Err(failed);
    }
    let frame = frame(packet.ctx);
    let macs = path.as_ref().map_or_else(Default::default, |path| path.macs);
    // Front to back: after a check of the header further back the compiler leaves out those of the front, and Linux 6.1
    // does not know why it may.
    link.write(frame, macs).ok_or(failed)?;
    F::write_outer(frame, link.len(), &outer).ok_or(failed)?;
    Ok(match path {
        Some(path) => Outcome::new(Verdict::Forward, transmit::action(packet.ctx, path.ifindex)),
        None => Outcome::new(Verdict::Forward, ASK_KERNEL),
    })
}
