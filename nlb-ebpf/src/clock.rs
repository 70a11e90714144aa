//! The time of a packet.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use nlb_common::ticks::Ticks;

/// Now. The coarse clock costs a tenth of the exact one and advances every few milliseconds.
#[inline(always)]
pub(crate) fn now() -> Ticks {
    // SAFETY: the helper takes no argument and reads no memory of ours.
    Ticks::from_nanos(unsafe { bpf_ktime_get_coarse_ns() })
}
