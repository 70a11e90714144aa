//! Bounds-checked access to the bytes of a packet, in a form the kernel's verifier can follow.

/// A type that any bytes are a valid value of, without padding.
///
/// # Safety
/// Every bit pattern is a valid value, and there are no padding bytes.
pub unsafe trait Plain: Copy {}

// SAFETY: integers and arrays of bytes have neither invalid values nor padding.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: as above.
unsafe impl Plain for [u32; 4] {}
// SAFETY: transparent over u16.
unsafe impl Plain for crate::be::Be16 {}
// SAFETY: transparent over u32.
unsafe impl Plain for crate::addr::V4 {}
// SAFETY: transparent over [u32; 4].
unsafe impl Plain for crate::addr::V6 {}

/// The bytes between two addresses: a packet in the kernel, a slice on the host.
///
/// An access compares with `end` right before it happens, which is the proof the verifier wants, unless it is within what
/// [`Bytes::proven`] has compared at once: where the offset is a constant, that costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    start: usize,
    end: usize,
    /// So many from the start are known to be there.
    proven: usize,
}

impl Bytes {
    /// The bytes in `start..end`.
    ///
    /// # Safety
    /// The memory stays valid, and is written by nobody else, as long as this value or a copy of it is used.
    #[inline(always)]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, end, proven: 0 }
    }

    /// The same bytes, if there are at least `len`.
    #[inline(always)]
    pub const fn proven(self, len: usize) -> Option<Self> {
        if len <= self.proven {
            Some(self)
        } else if self.start + len > self.end {
            None
        } else {
            Some(Self { proven: len, ..self })
        }
    }

    /// All but the first `N` bytes, of which there are as many.
    #[inline(always)]
    pub const fn split<const N: usize>(self) -> Self {
        Self { start: self.start + N, end: self.end, proven: self.proven.saturating_sub(N) }
    }

    /// All but the first `len` bytes, of which there are as many; `len` is no constant.
    #[inline(always)]
    pub fn after(self, len: usize) -> Self {
        let start = self.start + len;
        if cfg!(target_arch = "bpf") {
            // To the verifier a sum that is computed twice, once to compare it and once to use it, is two pointers;
            // volatile, so that the compiler computes it once.
            // SAFETY: a variable of this function's own.
            let start = unsafe { (&raw const start).read_volatile() };
            return Self { start, end: self.end, proven: 0 };
        }
        Self { start, end: self.end, proven: 0 }
    }

    /// Where they begin: for a helper of the kernel's.
    #[inline(always)]
    pub const fn pointer(self) -> *mut u8 {
        self.start as *mut u8
    }

    /// The number of bytes.
    #[inline(always)]
    pub const fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// A pointer to a `T` at `offset`, if it lies within.
    #[inline(always)]
    fn at<T>(self, offset: usize) -> Option<*mut T> {
        let address = self.start + offset;
        let is_proven = offset + size_of::<T>() <= self.proven;
        if !is_proven && address + size_of::<T>() > self.end { None } else { Some(address as *mut T) }
    }

    /// The `T` at `offset`, if it lies within.
    #[inline(always)]
    pub fn read<T: Plain>(self, offset: usize) -> Option<T> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` checked the bounds, `T` is plain.
        Some(unsafe { load(pointer) })
    }

    /// Writes a `T` at `offset`; `None` and no effect if it does not fit.
    #[inline(always)]
    pub fn write<T: Plain>(self, offset: usize, value: T) -> Option<()> {
        let pointer = self.at::<T>(offset)?;
        // SAFETY: `at` checked the bounds; whoever made `self` promised that nobody else writes.
        unsafe { store(pointer, value) };
        Some(())
    }
}

/// # Safety
/// `pointer` points to `size_of::<T>()` readable bytes.
#[inline(always)]
unsafe fn load<T: Plain>(pointer: *const T) -> T {
    if cfg!(target_arch = "bpf") {
        // SAFETY: the kernel runs BPF loads of any width at any alignment on the machines nlb supports, and the
        // back end would take an unaligned read apart into single bytes.
        unsafe { pointer.read_volatile() }
    } else {
        // SAFETY: the caller's.
        unsafe { pointer.read_unaligned() }
    }
}

/// # Safety
/// `pointer` points to `size_of::<T>()` writable bytes.
#[inline(always)]
unsafe fn store<T: Plain>(pointer: *mut T, value: T) {
    if cfg!(target_arch = "bpf") {
        // SAFETY: as in `load`.
        unsafe { pointer.write_volatile(value) }
    } else {
        // SAFETY: the caller's.
        unsafe { pointer.write_unaligned(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_read_or_written() {
        let mut buffer = [1u8, 2, 3, 4, 5, 6];
        let start = buffer.as_mut_ptr() as usize;
        // SAFETY: the buffer outlives the value and is not touched otherwise meanwhile.
        let bytes = unsafe { Bytes::new(start, start + 5) };
        assert_eq!(bytes.read::<[u8; 4]>(1), Some([2, 3, 4, 5]));
        assert_eq!(bytes.read::<[u8; 4]>(2), None);
        assert_eq!(bytes.read::<u8>(5), None);
        assert_eq!(bytes.write(3, [9u8, 9]), Some(()));
        assert_eq!(bytes.write(4, [8u8, 8]), None);
        assert_eq!(bytes.len(), 5);
        assert!(bytes.proven(6).is_none());
        let proven = bytes.proven(4).unwrap();
        assert_eq!(proven.read::<[u8; 4]>(0), Some([1, 2, 3, 9]));
        assert_eq!((proven.read::<u8>(4), proven.read::<u8>(5)), (Some(9), None), "beyond what is proven");
        assert_eq!(buffer, [1, 2, 3, 9, 9, 6]);
    }
}
