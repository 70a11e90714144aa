//! Per-CPU counters.

use nlb_common::{abi::counters::Traffic, event::Event};

use crate::maps::{BACKEND_COUNTERS, EVENTS, LISTENER_COUNTERS, VERDICTS};

/// Counts a packet's verdict, by its number.
#[inline(always)]
pub(crate) fn verdict(verdict: u32) {
    if let Some(count) = VERDICTS.get_ptr_mut(verdict) {
        // SAFETY: this CPU's own value, and XDP programs do not interrupt each other.
        unsafe { *count += 1 };
    }
}

/// Counts an event.
#[inline(always)]
pub(crate) fn event(event: Event) {
    if let Some(count) = EVENTS.get_ptr_mut(event as u32) {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
}

/// Counts a packet of `bytes` for its listener and its backend.
#[inline(always)]
pub(crate) fn packet(listener: u32, backend: u32, bytes: usize) {
    let add = |traffic: *mut Traffic| {
        // SAFETY: as above.
        let traffic: &mut Traffic = unsafe { &mut *traffic };
        traffic.packets += 1;
        traffic.bytes += bytes as u64;
    };
    // One after the other: pointers that are looked up together the compiler also compares together, which the verifier
    // does not follow.
    if let Some(traffic) = LISTENER_COUNTERS.get_ptr_mut(listener) {
        add(traffic);
    }
    if let Some(traffic) = BACKEND_COUNTERS.get_ptr_mut(backend) {
        add(traffic);
    }
}

/// Counts a new connection for its listener and its backend.
#[inline(always)]
pub(crate) fn connection(listener: u32, backend: u32) {
    // SAFETY: as above.
    let add = |traffic: *mut Traffic| unsafe { (*traffic).connections += 1 };
    if let Some(traffic) = LISTENER_COUNTERS.get_ptr_mut(listener) {
        add(traffic);
    }
    if let Some(traffic) = BACKEND_COUNTERS.get_ptr_mut(backend) {
        add(traffic);
    }
}
