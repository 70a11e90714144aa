//! Access to words that other CPUs and the agent write at the same time.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg};

/// The kernel's read-modify-write instructions are full barriers; there are no weaker ones.
const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

/// Writes `new` if the word still is `old`; whether it was.
///
/// Intrinsics rather than `core::sync::atomic`, which has no such operations on this target.
///
/// # Safety
/// `word` points into a map value, aligned; `T` is `u32` or `u64`.
#[inline(always)]
pub(crate) unsafe fn swap_if<T: Copy>(word: *mut T, old: T, new: T) -> bool {
    // SAFETY: the caller's; the memory lives as long as the program.
    unsafe { atomic_cxchg::<T, ORDER, ORDER>(word, old, new) }.1
}

/// Writes `new` whatever the word was.
///
/// # Safety
/// `word` points into a map value, aligned.
#[inline(always)]
pub(crate) unsafe fn exchange(word: *mut u64, new: u64) {
    // SAFETY: the caller's.
    unsafe { atomic_xchg::<u64, ORDER>(word, new) };
}

/// Adds one and gives the value from before.
///
/// # Safety
/// `word` points into a map value, aligned.
#[inline(always)]
pub(crate) unsafe fn count_up(word: *mut u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u32, u32, ORDER>(word, 1) }
}

/// Takes one away.
///
/// # Safety
/// `word` points into a map value, aligned.
#[inline(always)]
pub(crate) unsafe fn count_down(word: *mut u32) {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u32, u32, ORDER>(word, u32::MAX) };
}

/// Reads a word once.
///
/// Not an atomic load, which the BPF back end cannot select below v4: an aligned volatile load is one instruction
/// all the same.
///
/// # Safety
/// `word` points into a map value, aligned.
#[inline(always)]
pub(crate) unsafe fn read<T: Copy>(word: *const T) -> T {
    // SAFETY: the caller's.
    unsafe { word.read_volatile() }
}

/// Writes a word once.
///
/// # Safety
/// `word` points into a map value, aligned.
#[inline(always)]
pub(crate) unsafe fn write<T: Copy>(word: *mut T, value: T) {
    // SAFETY: the caller's.
    unsafe { word.write_volatile(value) }
}

/// Takes one away.
///
/// # Safety
/// `word` points into a map value, aligned.
#[inline(always)]
pub(crate) unsafe fn subtract_one(word: *mut u64) {
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, ORDER>(word, u64::MAX) };
}
