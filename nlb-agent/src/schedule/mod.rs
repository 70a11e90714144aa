//! Who gets new connections, laid out for the datapath: pure.

mod wheel;

pub use self::wheel::wheel;
