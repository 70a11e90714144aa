//! Brings the datapath to the desired state.

mod handle;

pub use self::handle::{Applied, Handle, NotApplied, Status};
