//! The interface that a packet came in by, as those see it who ask for a VIP there.

use aya_ebpf::programs::XdpContext;
use nlb_common::packet::{Mac, Macs};

use crate::maps::INTERFACES;

/// Who asked, and who answers: MAC addresses in the low 48 bits of words.
pub(crate) struct Ends {
    /// Where the question came from.
    pub from: u64,
    /// The interface's.
    pub own: u64,
}

/// The ends of a question; `None` if it is for another station, from none, or if the agent has not told of the interface.
#[inline(always)]
pub(crate) fn ends(ctx: &XdpContext, macs: Macs) -> Option<Ends> {
    // SAFETY: the agent replaces entries, it does not write into them.
    let own = unsafe { INTERFACES.get(ctx.ingress_ifindex() as u32) }?.mac;
    let (to, from) = macs.to_words();
    let is_for_us = to == own || Mac::is_group(to);
    if is_for_us && !Mac::is_group(from) { Some(Ends { from, own }) } else { None }
}
