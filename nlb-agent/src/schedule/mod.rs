//! Who gets new connections, laid out for the datapath: pure.

mod ring;
mod slow_start;
mod transition;
mod wheel;

pub use self::{
    ring::{Member, bits_for, identity, ring, split},
    slow_start::{SCALE, SHORTEST_STEP, next_step, ramped},
    transition::Transition,
    wheel::{MAX_SLOTS, wheel},
};
