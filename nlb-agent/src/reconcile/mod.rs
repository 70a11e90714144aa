//! Brings the datapath to the desired state.
//!
//! [`run`] is the only one who writes to the datapath. Whatever happens (a new desired state, a health flip, a
//! neighbour that moved, a drain that is over), it compiles all it knows into an image of the maps, plans the
//! way there from what the maps hold, and goes it step by step. What fails is tried again.

mod acl;
mod clock;
mod compile;
mod handle;
mod ids;
mod memory;
mod plan;
mod ports;
mod report;
mod retired;
mod runner;

pub(crate) use self::handle::Query;
pub use self::{
    clock::Clock,
    handle::{Applied, Handle, NotApplied, PersistenceError, Status},
    plan::plan,
    runner::{Inlets, ReconcileError, Reconciler},
};
