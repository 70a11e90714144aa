//! Echo requests to a VIP. As many bytes go out as come in, to where they came from, so there is no limit to their rate.

use nlb_common::{
    abi::vip::{LocalAddress, flags},
    packet::{Mac, Macs, echo},
    verdict::Verdict,
};

use crate::{family::Tables, icmp::Message, outcome::Outcome, transmit};

/// Answers an echo request to a VIP; `None`: it is not to be answered here, and as it was.
#[inline(always)]
pub(crate) fn run<F: Tables>(message: &Message<'_, F>, local: &LocalAddress) -> Option<Outcome> {
    let Message { ctx, frame, packet, link: _, network } = message;
    let macs = Macs::read(*frame)?;
    let (to, from) = macs.to_words();
    // What went to a group of stations is not for one (RFC 1122, section 3.3.6).
    let is_for_one = !Mac::is_group(to) && !Mac::is_group(from);
    if !local.answers(flags::ECHO) || !is_for_one || !echo::is_request::<F>(*packet, network) {
        return None;
    }
    echo::answer::<F>(*packet, network)?;
    macs.swapped().write(*frame)?;
    Some(Outcome::new(Verdict::AnswerEcho, transmit::back(ctx)))
}
