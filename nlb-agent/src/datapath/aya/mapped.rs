//! A `BPF_F_MMAPABLE` array in the agent's memory: the same words the program sees, without system calls.

use std::{marker::PhantomData, os::fd::AsFd};

use aya::{Pod, maps::MapData};
use memmap2::{MmapOptions, MmapRaw};
use std::os::fd::AsRawFd as _;

use crate::datapath::DatapathError;

/// The entries of an array.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    name: &'static str,
    memory: MmapRaw,
    len: u32,
    entries: PhantomData<T>,
}

impl<T: Pod> Mapped<T> {
    /// The kernel rounds entries up to eight bytes.
    const STRIDE: usize = size_of::<T>().next_multiple_of(8);

    /// Maps all entries of `map`.
    pub(super) fn new(name: &'static str, map: &MapData) -> Result<Self, DatapathError> {
        let error = |cause: String| DatapathError::Map { operation: "map into memory", map: name, cause };
        let info = map.info().map_err(|cause| error(cause.to_string()))?;
        if info.value_size() as usize != size_of::<T>() {
            let cause = format!("its entries have {} bytes, {} expected", info.value_size(), size_of::<T>());
            return Err(error(cause));
        }
        let len = info.max_entries();
        let fd = map.fd().as_fd().as_raw_fd();
        let memory = MmapOptions::new()
            .len(Self::STRIDE * len as usize)
            .map_raw(fd)
            .map_err(|cause| error(cause.to_string()))?;
        Ok(Self { name, memory, len, entries: PhantomData })
    }

    /// Entries that no kernel sees, all zero.
    #[cfg(test)]
    pub(super) fn fake(len: u32) -> Self {
        let memory = memmap2::MmapMut::map_anon(Self::STRIDE * len as usize).expect("there is memory");
        Self { name: "fake", memory: memory.into(), len, entries: PhantomData }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// A pointer to an entry, valid as long as `self`.
    pub(super) fn at(&self, index: u32) -> Result<*mut T, DatapathError> {
        if index >= self.len {
            return Err(DatapathError::Full { map: self.name, capacity: self.len, what: "entries" });
        }
        // SAFETY: within the mapping, whose length is `STRIDE * len`.
        Ok(unsafe { self.memory.as_mut_ptr().add(Self::STRIDE * index as usize) }.cast())
    }

    /// Zeroes every entry. Nobody else may be using them.
    pub(super) fn fill_with_zeroes(&mut self) {
        // SAFETY: the whole mapping, which only this value knows.
        unsafe { self.memory.as_mut_ptr().write_bytes(0, self.memory.len()) }
    }

    /// A copy of an entry. Whoever reads words that the program writes must expect them from different moments.
    pub(super) fn read(&self, index: u32) -> Result<T, DatapathError> {
        let entry = self.at(index)?;
        // SAFETY: `at` checked the bounds; `T` is plain data.
        Ok(unsafe { entry.read_volatile() })
    }
}
