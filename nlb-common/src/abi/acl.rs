//! Access lists: which clients may use a listener. Longest-prefix-match tries `ACLS_V4`, `ACLS_V6`.
//!
//! A key begins with the number of the list, which is matched as a whole; an address that no entry of the list matches is
//! denied. Lists are made anew whenever they change: a number stands for the same list as long as a listener names it.

use super::{layout, pod};
use crate::addr::{V4, V6};

/// What a prefix is matched against.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclKey<A> {
    /// Number of the list; never 0.
    pub acl: u32,
    /// The client's address.
    pub address: A,
}

/// How many bits of a key are the number of its list.
pub const ACL_BITS: u32 = 32;

/// The value of an entry whose clients are denied.
pub const DENY: u32 = 0;
/// The value of an entry whose clients are allowed.
pub const ALLOW: u32 = 1;

/// The largest number of a list: those of listeners have 24 bits for it.
pub const MAX_ACL: u32 = 0xff_ffff;

layout! {
    AclKey<V4>: 8, 4;
    AclKey<V6>: 20, 4;
}
pod!(AclKey<V4>, AclKey<V6>);
