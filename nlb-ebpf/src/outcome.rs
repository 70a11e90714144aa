//! The end of a packet's way.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use nlb_common::verdict::Verdict;

/// A verdict for the counters and an `XDP_*` action for the kernel, in one register; or, instead of the action,
/// what else is to be done before there is one.
///
/// As wide as a pointer: in a step's answer it lies where another variant has one, and the verifier does not let half of
/// a pointer be read, not even in vain.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Outcome(u64);

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
        Self((action << 16 | verdict as u32) as u64)
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

    /// To be sent through the tunnel to a backend.
    #[inline(always)]
    pub(crate) const fn tunnel(backend: u32) -> Self {
        Self((backend as u64) << 32 | Self::new(Verdict::Forward, TUNNEL).0)
    }

    /// Not for [`crate::plain`].
    #[inline(always)]
    pub(crate) const fn rest() -> Self {
        Self::new(Verdict::PassMalformed, REST)
    }

    /// For the program of a slot ([`nlb_common::abi::maps::programs`]), which begins with the packet as it is.
    #[inline(always)]
    pub(crate) const fn call(slot: u32) -> Self {
        Self::new(Verdict::DropInternal, CALL + slot)
    }

    /// The slot of [`Outcome::call`].
    #[inline(always)]
    pub(crate) const fn called(self) -> Option<u32> {
        self.action().checked_sub(CALL)
    }

    /// Whether there is more to do than to count it.
    #[inline(always)]
    pub(crate) const fn is_open(self) -> bool {
        self.action() >= RESET
    }

    /// The backend of [`TUNNEL`].
    #[inline(always)]
    pub(crate) const fn backend(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// As one number.
    #[inline(always)]
    pub(crate) const fn number(self) -> u32 {
        self.0 as u32
    }

    /// From its number.
    #[inline(always)]
    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number as u64)
    }

    /// Number of the [`Verdict`].
    #[inline(always)]
    pub(crate) const fn verdict(self) -> u32 {
        self.0 as u32 & 0xffff
    }

    /// The action.
    #[inline(always)]
    pub(crate) const fn action(self) -> u32 {
        self.0 as u32 >> 16
    }
}

/// Of a tunnel's flow, and no plain packet of an established one: see [`crate::open::flow`].
pub(crate) const OPEN_FLOW: u32 = 0x102;
/// Of a `nat` flow, and no plain packet of an established one: see [`crate::open::conn`].
pub(crate) const OPEN_CONN: u32 = 0x103;
/// Of a `nat` flow of which nothing is known: see [`crate::open::conn`].
pub(crate) const NEW_CONN: u32 = 0x104;
/// To an address of the balancer's that no listener is at, perhaps a reply: see [`crate::reply`].
pub(crate) const REPLY: u32 = 0x105;
/// To be sent through the tunnel to the backend that the outcome carries: see [`crate::tunnel`].
pub(crate) const TUNNEL: u32 = 0x106;
/// Not for [`crate::plain`]: the packet is as it came.
pub(crate) const REST: u32 = 0x107;
/// From a client that may not use the listener: see [`crate::guard::deny`].
pub(crate) const DENIED: u32 = 0x108;
/// The first of the actions that call a program, in the order of their slots.
const CALL: u32 = 0x200;
