//! The count of active connections: every change of it goes through here.

use nlb_common::flow_set::Ledger;

use crate::{maps::ACTIVE, persistence, shared};

/// The array `ACTIVE`, and the persistence entries that flows hold.
#[derive(Clone, Copy)]
pub(crate) struct Book;

impl Ledger for Book {
    #[inline(always)]
    fn opened(&self, backend: u32) {
        if let Some(active) = ACTIVE.get_ptr_mut(backend) {
            // SAFETY: the low half of a map value, aligned; this target is little-endian.
            unsafe { shared::count_up(active.cast()) };
        }
    }

    #[inline(always)]
    fn ended(&self, backend: u32, link: u32) {
        if let Some(active) = ACTIVE.get_ptr_mut(backend) {
            // SAFETY: as above.
            unsafe { shared::count_down(active.cast()) };
        }
        if link != 0 {
            persistence::persistence_release(link);
        }
    }
}

/// How many connections of a backend are active.
#[inline(always)]
pub(crate) fn active(backend: u32) -> Option<u32> {
    let active = ACTIVE.get_ptr(backend)?;
    // SAFETY: the low half of a map value, aligned.
    Some(unsafe { shared::read(active.cast::<u32>()) })
}
