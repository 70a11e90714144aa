//! Packets that do not fit the way to their server: their sender is told how long they may be (RFC 1191, RFC 8201). One
//! message for one packet, and a shorter one, so there is no limit to their rate.

use aya_ebpf::{
    helpers::generated::{bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use nlb_common::{
    abi::handover,
    bytes::Bytes,
    checksum::Sum,
    packet::{
        Link, Macs, protocol,
        too_big::{HEADER_LEN, QUOTED, TooBig, write_message},
    },
    verdict::Verdict,
};

use crate::{family::Tables, handover::take, outcome::Outcome, packet::frame, transmit};

/// Turns the packet into a message to its sender; how long it may be was handed over.
#[inline(always)]
pub(crate) fn run<F: Tables + TooBig>(ctx: &XdpContext) -> Outcome {
    let word = take();
    let max_len = word as u16;
    if word & handover::TOO_BIG == 0 {
        return Outcome::drop(Verdict::DropInternal);
    }
    let frame = frame(ctx);
    let Some(link) = Link::parse(frame) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    let packet = frame.after(link.len());
    let Ok(network) = F::parse(packet) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    let is_balanced = !matches!(network.protocol, protocol::ICMP | protocol::ICMPV6);
    if !is_balanced || u32::from(max_len) < F::LEAST_MTU || !F::may_be_told(packet) {
        return Outcome::drop(Verdict::DropTooBig);
    }
    match answer::<F>(ctx, max_len) {
        Some(()) => Outcome::new(Verdict::AnswerTooBig, transmit::action(ctx, ctx.ingress_ifindex() as u32)),
        None => Outcome::drop(Verdict::DropTooBig),
    }
}

#[inline(always)]
fn answer<F: Tables + TooBig>(ctx: &XdpContext, max_len: u16) -> Option<()> {
    let before = frame(ctx);
    let link = Link::parse(before)?;
    let macs = Macs::read(before)?.swapped();
    let packet = before.after(link.len());
    let network = F::parse(packet).ok()?;
    let mut quoted = Sum::new();
    quoted.add_u32(quoted_sum(packet.proven(QUOTED)?));
    let excess = before.len() as i32 - (link.len() + QUOTED) as i32;
    let longer = (F::HEADER_LEN + HEADER_LEN) as i32;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    unsafe {
        if bpf_xdp_adjust_tail(ctx.ctx, -excess) != 0 || bpf_xdp_adjust_head(ctx.ctx, -longer) != 0 {
            return None;
        }
    }
    let after = frame(ctx);
    link.write(after, macs)?;
    let message = after.after(link.len()).proven(F::HEADER_LEN + HEADER_LEN)?;
    write_message::<F>(message, &network, max_len, quoted)
}

/// The one's complement sum of what is quoted.
#[inline(always)]
fn quoted_sum(packet: Bytes) -> u32 {
    // SAFETY: so many bytes are there, as was proven; the helper only reads them.
    unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, packet.pointer().cast(), QUOTED as u32, 0) as u32 }
}
