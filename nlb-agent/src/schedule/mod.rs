//! Who gets new connections, laid out for the datapath: pure.

mod ring;
mod transition;
mod wheel;

pub use self::{
    ring::{Member, bits_for, identity, ring, split},
    transition::Transition,
    wheel::wheel,
};
