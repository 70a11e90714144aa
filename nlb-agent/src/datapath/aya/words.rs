//! Access to single words that the program reads and writes at the same time.

#[cfg(test)]
pub(super) mod kill;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Reads a word.
///
/// # Safety
/// `word` is aligned and in a mapped array.
pub(super) unsafe fn load_u32(word: *mut u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { AtomicU32::from_ptr(word) }.load(Ordering::Acquire)
}

/// Reads a word.
///
/// # Safety
/// `word` is aligned and in a mapped array.
pub(super) unsafe fn load_u64(word: *mut u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { AtomicU64::from_ptr(word) }.load(Ordering::Acquire)
}

/// Writes a word after everything written before.
///
/// # Safety
/// `word` is aligned and in a mapped array.
pub(super) unsafe fn store_u32(word: *mut u32, value: u32) {
    #[cfg(test)]
    kill::point();
    // SAFETY: the caller's.
    unsafe { AtomicU32::from_ptr(word) }.store(value, Ordering::Release);
}

/// Writes a word after everything written before.
///
/// # Safety
/// `word` is aligned and in a mapped array.
pub(super) unsafe fn store_u64(word: *mut u64, value: u64) {
    #[cfg(test)]
    kill::point();
    // SAFETY: the caller's.
    unsafe { AtomicU64::from_ptr(word) }.store(value, Ordering::Release);
}

/// Writes `new` if the word still is `old`; whether it was.
///
/// # Safety
/// `word` is aligned and in a mapped array.
pub(super) unsafe fn swap_u32(word: *mut u32, old: u32, new: u32) -> bool {
    #[cfg(test)]
    kill::point();
    // SAFETY: the caller's.
    unsafe { AtomicU32::from_ptr(word) }
        .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

/// Writes `new` if the word still is `old`; whether it was.
///
/// # Safety
/// `word` is aligned and in a mapped array.
pub(super) unsafe fn swap_u64(word: *mut u64, old: u64, new: u64) -> bool {
    #[cfg(test)]
    kill::point();
    // SAFETY: the caller's.
    unsafe { AtomicU64::from_ptr(word) }
        .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}

/// Writes a word whatever it was.
///
/// # Safety
/// `word` is aligned and in a mapped array.
pub(super) unsafe fn exchange_u64(word: *mut u64, new: u64) {
    #[cfg(test)]
    kill::point();
    // SAFETY: the caller's.
    unsafe { AtomicU64::from_ptr(word) }.swap(new, Ordering::SeqCst);
}
