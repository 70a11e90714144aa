//! Per-CPU counters.

use nlb_common::abi::counters::Traffic;

use crate::maps::{BACKEND_COUNTERS, LISTENER_COUNTERS, VERDICTS};

/// Counts a packet's verdict, by its number.
#[inline(always)]
pub(crate) fn verdict(verdict: u32) {
    if let Some(count) = VERDICTS.get_ptr_mut(verdict) {
        // SAFETY: this CPU's own value, and XDP programs do not interrupt each other.
        unsafe { *count += 1 };
    }
}

/// Counts a packet of `bytes` for its listener and its backend.
#[inline(always)]
pub(crate) fn packet(listener: u32, backend: u32, bytes: usize) {
    for traffic in
        [LISTENER_COUNTERS.get_ptr_mut(listener), BACKEND_COUNTERS.get_ptr_mut(backend)].into_iter().flatten()
    {
        // SAFETY: as above.
        let traffic: &mut Traffic = unsafe { &mut *traffic };
        traffic.packets += 1;
        traffic.bytes += bytes as u64;
    }
}

/// Counts a new connection for its listener and its backend.
#[inline(always)]
pub(crate) fn connection(listener: u32, backend: u32) {
    for traffic in
        [LISTENER_COUNTERS.get_ptr_mut(listener), BACKEND_COUNTERS.get_ptr_mut(backend)].into_iter().flatten()
    {
        // SAFETY: as above.
        unsafe { (*traffic).connections += 1 };
    }
}
