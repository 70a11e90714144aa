//! Who gets new connections, laid out for the datapath: pure.

mod ring;
mod wheel;

pub use self::{
    ring::{Member, bits_for, identity, ring, split},
    wheel::wheel,
};
