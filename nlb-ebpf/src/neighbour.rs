//! Neighbour discovery: who has a VIP.

use aya_ebpf::{
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use nlb_common::{
    abi::vip::flags,
    packet::{
        Ipv6, Link, Macs,
        neighbour::{self, Advertisement, Solicitation},
    },
    verdict::Verdict,
};

use crate::{family::Tables as _, icmp::Message, interface, outcome::Outcome, packet::frame, transmit};

/// Answers a solicitation for a VIP that is announced; `None`: it is something else, or not ours, and as it was.
#[inline(always)]
pub(crate) fn run(message: &Message<'_, Ipv6>) -> Option<Outcome> {
    let Message { ctx, frame, packet, link, network } = message;
    if !Solicitation::may_be(*packet) {
        return None;
    }
    let asked = Solicitation::read(*packet, network)?;
    // SAFETY: the agent replaces entries, it does not write into them.
    if !unsafe { Ipv6::addresses().get(asked.target) }?.answers(flags::ANNOUNCE) {
        return None;
    }
    let ends = interface::ends(ctx, Macs::read(*frame)?)?;
    let advertisement = asked.answer(ends.own, ends.from);
    // What padding there was stays behind the packet.
    let excess = network.len as i32 - neighbour::LEN as i32;
    Some(match resized(ctx, excess).and_then(|()| send(ctx, link, &advertisement)) {
        Some(()) => Outcome::new(Verdict::AnswerNeighbour, transmit::back(ctx)),
        None => Outcome::drop(Verdict::DropInternal),
    })
}

/// Makes the frame shorter. What is missing is put on at the front, where every driver has room.
#[inline(always)]
fn resized(ctx: &XdpContext, excess: i32) -> Option<()> {
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    let result = unsafe {
        if excess > 0 { bpf_xdp_adjust_tail(ctx.ctx, -excess) } else { bpf_xdp_adjust_head(ctx.ctx, excess) }
    };
    (result == 0).then_some(())
}

#[inline(always)]
fn send(ctx: &XdpContext, link: &Link, advertisement: &Advertisement) -> Option<()> {
    let frame = frame(ctx);
    link.write(frame, advertisement.macs())?;
    advertisement.write(frame.after(link.len()))
}
