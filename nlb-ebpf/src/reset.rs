//! RST: the answer to what has no future.

use aya_ebpf::{helpers::generated::bpf_xdp_adjust_tail, programs::XdpContext};
use nlb_common::{
    addr::Address as _,
    be::Be16,
    checksum::Sum,
    packet::{Macs, protocol},
    tcp::{self, Flags},
    verdict::Verdict,
};

use crate::{
    family::Tables,
    outcome::Outcome,
    packet::{Packet, frame},
    transmit,
};

/// What a RST says.
struct Numbers {
    sequence: u32,
    acknowledgement: u32,
    flags: Flags,
}

/// Turns the packet into a RST to its sender (RFC 9293, section 3.10.7.1); `why` has the verdict. What cannot be
/// answered so, a RST or UDP, is dropped.
///
/// Seldom needed, hence apart, with a stack frame of its own.
#[inline(never)]
pub(crate) fn run<F: Tables>(ctx: &XdpContext, why: Outcome) -> Outcome {
    let expired = why.verdict() == Verdict::ResetExpired as u32;
    let (verdict, silent) = if expired {
        (Verdict::ResetExpired, Verdict::DropExpired)
    } else {
        (Verdict::ResetUnknownFlow, Verdict::DropUnknownFlow)
    };
    let Some(packet) = Packet::<F>::parse(ctx) else {
        return Outcome::drop(Verdict::DropInternal);
    };
    if packet.transport.protocol != protocol::TCP || packet.transport.flags.has(Flags::RST) {
        return Outcome::drop(silent);
    }
    match answer(&packet) {
        Some(()) => Outcome::new(verdict, transmit::back(ctx)),
        None => Outcome::drop(Verdict::DropInternal),
    }
}

#[inline(always)]
fn answer<F: Tables>(packet: &Packet<'_, F>) -> Option<()> {
    let numbers = numbers(packet)?;
    let len = packet.link.len() + F::HEADER_LEN + tcp::HEADER_LEN;
    let excess = packet.frame.len() as i32 - len as i32;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    if excess != 0 && unsafe { bpf_xdp_adjust_tail(packet.ctx.ctx, -excess) } != 0 {
        return None;
    }
    let frame = frame(packet.ctx);
    packet.link.write(frame, Macs::read(frame)?.swapped())?;

    let (from, to) = (packet.network.destination, packet.network.source);
    let answer = frame.after(packet.link.len()).proven(F::HEADER_LEN + tcp::HEADER_LEN)?;
    F::write_header(answer, from, to, protocol::TCP, tcp::HEADER_LEN as u16)?;

    let segment = F::after_plain_header(answer);
    let words = [
        packet.transport.destination.raw(),
        packet.transport.source.raw(),
        numbers.sequence as u16,
        (numbers.sequence >> 16) as u16,
        numbers.acknowledgement as u16,
        (numbers.acknowledgement >> 16) as u16,
        u16::from_ne_bytes([(tcp::HEADER_LEN as u8 / 4) << 4, numbers.flags.0]),
        0, // window
    ];
    let mut sum = Sum::new();
    from.add_to(&mut sum);
    to.add_to(&mut sum);
    sum.add_u16(Be16::new(u16::from(protocol::TCP)).raw());
    sum.add_u16(Be16::new(tcp::HEADER_LEN as u16).raw());
    for (index, word) in words.into_iter().enumerate() {
        segment.write(2 * index, word)?;
        sum.add_u16(word);
    }
    segment.write(16, sum.checksum())?;
    segment.write(18, 0u16)
}

/// Sequence numbers, as they lie in memory: what the sender expects if it has said so, else what it sent.
#[inline(always)]
fn numbers<F: Tables>(packet: &Packet<'_, F>) -> Option<Numbers> {
    let segment = packet.segment.proven(tcp::HEADER_LEN)?;
    let sequence = segment.read::<u32>(4)?;
    let acknowledgement = segment.read::<u32>(8)?;
    let flags = packet.transport.flags;
    if flags.has(Flags::ACK) {
        return Some(Numbers { sequence: acknowledgement, acknowledgement: 0, flags: Flags::RST });
    }
    let header_len = tcp::header_len(segment.read(12)?) as u32;
    let data = packet.network.len - u32::from(packet.network.header_len) - header_len;
    let len = data + u32::from(flags.has(Flags::SYN)) + u32::from(flags.has(Flags::FIN));
    let acknowledgement = u32::from_be(sequence).wrapping_add(len).to_be();
    Some(Numbers { sequence: 0, acknowledgement, flags: Flags::RST.with(Flags::ACK) })
}
