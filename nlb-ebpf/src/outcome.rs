//! The end of a packet's way.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use nlb_common::verdict::Verdict;

/// A verdict for the counters and an `XDP_*` action for the kernel, in one register; or, instead of the action,
/// what else is to be done before there is one.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Outcome(u32);

/// A step's answer: something to go on with, or the end of the packet's way.
pub(crate) type Step<T> = Result<T, Outcome>;

/// To be answered with a RST: see [`crate::reset`].
pub(crate) const RESET: u32 = 0x100;
/// Rewritten, to be sent the way the kernel knows: see [`crate::transmit`].
pub(crate) const ASK_KERNEL: u32 = 0x101;

impl Outcome {
    /// The packet leaves as `action` says.
    #[inline(always)]
    pub(crate) const fn new(verdict: Verdict, action: u32) -> Self {
        Self(action << 16 | verdict as u32)
    }

    /// The packet is left to the kernel.
    #[inline(always)]
    pub(crate) const fn pass(verdict: Verdict) -> Self {
        Self::new(verdict, XDP_PASS)
    }

    /// The packet is dropped.
    #[inline(always)]
    pub(crate) const fn drop(verdict: Verdict) -> Self {
        Self::new(verdict, XDP_DROP)
    }

    /// Number of the [`Verdict`].
    #[inline(always)]
    pub(crate) const fn verdict(self) -> u32 {
        self.0 & 0xffff
    }

    /// The action.
    #[inline(always)]
    pub(crate) const fn action(self) -> u32 {
        self.0 >> 16
    }
}
