//! ARP: who has a VIP.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::vip::{LocalAddress, flags},
    packet::{Ipv4, Link, Macs, arp::Arp},
    verdict::Verdict,
};

use crate::{family::Tables as _, interface, outcome::Outcome, packet::frame, transmit};

/// Answers a request for a VIP that is announced; everything else is the kernel's.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> Outcome {
    match answer(ctx) {
        Some(()) => Outcome::new(Verdict::AnswerArp, transmit::back(ctx)),
        None => Outcome::pass(Verdict::PassNotIp),
    }
}

#[inline(always)]
fn answer(ctx: &XdpContext) -> Option<()> {
    let frame = frame(ctx);
    let link = Link::parse(frame)?;
    let packet = frame.after(link.len());
    let request = Arp::request(packet)?;
    // SAFETY: the agent replaces entries, it does not write into them.
    let local: &LocalAddress = unsafe { Ipv4::addresses().get(request.target) }?;
    if !local.answers(flags::ANNOUNCE) {
        return None;
    }
    let ends = interface::ends(ctx, Macs::read(frame)?)?;
    request.reply(ends.own).write(packet)?;
    Macs::from_words(ends.from, ends.own).write(frame)
}
