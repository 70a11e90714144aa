//! Constants that the agent patches when it loads the program; the verifier then treats them as such.

use core::ptr::read_volatile;

#[unsafe(no_mangle)]
static HASH_SEED: u64 = 0;

#[unsafe(no_mangle)]
static FLOW_MASK: u32 = 0;

#[unsafe(no_mangle)]
static PERSISTENCE_MASK: u32 = 0;

#[unsafe(no_mangle)]
static CONN_MASK_V4: u32 = 0;

#[unsafe(no_mangle)]
static CONN_MASK_V6: u32 = 0;

#[unsafe(no_mangle)]
static REDIRECT_TO_SELF: u32 = 0;

/// Seed of the packet hash.
#[inline(always)]
pub(crate) fn hash_seed() -> u64 {
    // SAFETY: a static of this program; volatile, because its value here is not the one that is loaded.
    unsafe { read_volatile(&raw const HASH_SEED) }
}

/// The flow table's number of sets minus one.
#[inline(always)]
pub(crate) fn flow_mask() -> u32 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const FLOW_MASK) }
}

/// The persistence table's number of sets minus one.
#[inline(always)]
pub(crate) fn persistence_mask() -> u32 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const PERSISTENCE_MASK) }
}

/// The number of sets minus one in which connections over IPv4 are found.
#[inline(always)]
pub(crate) fn conn_mask_v4() -> u32 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const CONN_MASK_V4) }
}

/// The same over IPv6.
#[inline(always)]
pub(crate) fn conn_mask_v6() -> u32 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const CONN_MASK_V6) }
}

/// Whether frames go back to their interface by a redirect: `XDP_TX` is cheaper, but not every driver flushes it.
#[inline(always)]
pub(crate) fn redirect_to_self() -> bool {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const REDIRECT_TO_SELF) != 0 }
}
