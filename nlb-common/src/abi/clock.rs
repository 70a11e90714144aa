//! What the datapath tells the time by.

use super::{layout, pod};

/// Array `CLOCK` with one entry. The kernel's count of jiffies can be read without a call, its clock cannot; so the agent
/// finds out what a jiffy is worth.
///
/// Jiffies go by the monotonic clock (`tick_do_update_jiffies64` in the kernel's kernel/time/tick-sched.c), so that the
/// offset is a constant; the agent looks now and then all the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds of a jiffy; 0: not known, the program asks the kernel for the time.
    pub jiffy: u64,
    /// What jiffies, in nanoseconds, lack to `CLOCK_MONOTONIC_COARSE`; wraps.
    pub offset: u64,
    /// What [`SAMPLER`] saw: jiffies, nanoseconds of `CLOCK_MONOTONIC_COARSE`, jiffies once more.
    pub sample: [u64; 3],
}

/// Name of the program that takes a sample.
pub const SAMPLER: &str = "nlb_clock";

impl Clock {
    /// The coarse monotonic clock at a count of jiffies; `None`: not known.
    #[inline(always)]
    pub const fn at(jiffy: u64, offset: u64, jiffies: u64) -> Option<u64> {
        if jiffy == 0 { None } else { Some(jiffies.wrapping_mul(jiffy).wrapping_add(offset)) }
    }
}

layout! {
    Clock: 40, 8;
}
pod!(Clock);
