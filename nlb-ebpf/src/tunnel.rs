//! IP in IP (RFC 2003, RFC 2473), also with a UDP header in between ([`gue`]): an outer header in front of the client's
//! packet, to a server of the same family.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use nlb_common::{
    abi::{
        backend::{Backend, forwarding},
        conn::ReturnPath,
    },
    be::Be16,
    packet::{Link, Macs, Outer, gue, protocol},
    verdict::Verdict,
};

use crate::{
    family::Tables,
    outcome::{ASK_KERNEL, Outcome, Step},
    packet::{Packet, frame},
    transmit,
};

/// Puts the outer header in front of a client's packet and sends it to its server.
#[inline(always)]
pub(crate) fn send<F: Tables>(
    packet: &Packet<'_, F>,
    backend: *const Backend,
    mode: u8,
    next_hop: u64,
) -> Step<Outcome> {
    let is_gue = !packet.is_plain && mode == forwarding::GUE;
    let (protocol, between) = if is_gue { (protocol::UDP, gue::HEADER_LEN) } else { (F::INSIDE, 0) };
    let failed = Outcome::drop(Verdict::DropInternal);
    let network = &packet.network;
    F::decrement_hops(packet.packet, network).ok_or(failed)?;
    // SAFETY: a map value; but for the next hop, nothing of it changes while the number is in use.
    let outer = unsafe {
        Outer {
            source: F::narrow((*backend).tunnel_source),
            destination: F::narrow((*backend).address),
            sum: (*backend).tunnel_sum,
            protocol,
            class: network.class,
            payload_len: network.len as u16 + between as u16,
        }
    };
    // Without a known way the tags stay what they are, until the kernel has told.
    let unknown = ReturnPath { macs: Macs::default(), ifindex: 0, tags: packet.link.tags };
    let path = transmit::known(next_hop).unwrap_or(unknown);
    let link = Link { tags: path.tags, ethertype: F::ETHERTYPE };
    let longer = between as i32 + F::HEADER_LEN as i32 + link.len() as i32 - packet.link.len() as i32;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    if unsafe { bpf_xdp_adjust_head(packet.ctx.ctx, -longer) } != 0 {
        return Err(failed);
    }
    let frame = frame(packet.ctx);
    link.write(frame, path.macs).ok_or(failed)?;
    let header = frame.after(link.len());
    F::write_outer(header, &outer).ok_or(failed)?;
    if is_gue {
        // A port of the flow's own, so that who spreads load by ports keeps it on one way. Read where it lies without
        // options; with them another one will do.
        let udp = header.after(F::HEADER_LEN);
        let client: Be16 = udp.after(gue::HEADER_LEN + F::HEADER_LEN).read(0).ok_or(failed)?;
        gue::write(udp, Be16::new(0xc000 | client.get()), F::INSIDE, outer.payload_len).ok_or(failed)?;
    }
    let action = if path.ifindex == 0 { ASK_KERNEL } else { transmit::action(packet.ctx, path.ifindex) };
    Ok(Outcome::new(Verdict::Forward, action))
}
