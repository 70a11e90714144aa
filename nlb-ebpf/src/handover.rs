//! What a program tells the one that it calls next: `nlb_common::abi::handover`.

use nlb_common::abi::handover::NONE;

use crate::maps::HANDOVER;

/// Leaves a word.
#[inline(always)]
pub(crate) fn leave(word: u64) {
    if let Some(at) = HANDOVER.get_ptr_mut(0) {
        // SAFETY: a map value of this CPU's own.
        unsafe { at.write(word) };
    }
}

/// Takes the word away that was left.
#[inline(always)]
pub(crate) fn take() -> u64 {
    let Some(at) = HANDOVER.get_ptr_mut(0) else {
        return NONE;
    };
    // SAFETY: a map value of this CPU's own.
    unsafe {
        let word = at.read();
        at.write(NONE);
        word
    }
}
