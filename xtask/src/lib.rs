//! What `cargo xtask` and `nlbctl` share.

pub mod ctl;
