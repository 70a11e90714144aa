//! The time of a packet.

use aya_ebpf::{
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    macros::classifier,
    programs::TcContext,
};
use nlb_common::{abi::clock::Clock, ticks::Ticks};

use crate::{maps::CLOCK, shared};

/// Now, as exact as a jiffy: from the count of jiffies, if the agent has said what they are worth, since a call for the
/// clock costs more than all else that most packets need.
#[inline(always)]
pub(crate) fn now() -> Ticks {
    let nanos = CLOCK.get_ptr(0).and_then(|clock| {
        // SAFETY: words of a map value, aligned.
        let (jiffy, offset) =
            unsafe { (shared::read(&raw const (*clock).jiffy), shared::read(&raw const (*clock).offset)) };
        Clock::at(jiffy, offset, jiffies())
    });
    Ticks::from_nanos(nanos.unwrap_or_else(coarse))
}

#[inline(always)]
fn jiffies() -> u64 {
    // SAFETY: the helper takes no argument and reads no memory of ours.
    unsafe { bpf_jiffies64() }
}

#[inline(always)]
fn coarse() -> u64 {
    // SAFETY: as above.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Takes a sample for the agent, who runs it; it is attached to nothing.
#[classifier]
fn nlb_clock(_ctx: TcContext) -> i32 {
    if let Some(clock) = CLOCK.get_ptr_mut(0) {
        let sample = [jiffies(), coarse(), jiffies()];
        // SAFETY: words of a map value, aligned; the agent that reads them waits for this to end.
        unsafe { shared::write(&raw mut (*clock).sample, sample) };
    }
    0
}
