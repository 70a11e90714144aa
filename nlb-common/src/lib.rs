//! What nlb's kernel and user space share.
//!
//! [`abi`] holds every type that crosses a map; the other modules are the pure parts of the packet path, which
//! run on the host just as in the kernel, and are tested there.
#![no_std]

#[cfg(test)]
extern crate std;

/// Words are read as they lie in memory, by halves, too.
const _: () = assert!(cfg!(target_endian = "little"), "nlb is for little-endian machines");

pub mod abi;
pub mod addr;
pub mod be;
pub mod bytes;
pub mod checksum;
#[cfg(test)]
mod docs;
pub mod event;
pub mod flow_set;
pub mod hash;
pub mod packet;
pub mod tcp;
pub mod ticks;
pub mod verdict;
