//! What a program tells the one that it calls next, about the packet in hand. Per-CPU array `HANDOVER` of one word: no other
//! packet comes to a CPU between the two. The next one takes it away.

/// Nothing.
pub const NONE: u64 = 0;
/// From the fragments' program: this first fragment is noted, and goes on like any other packet.
pub const NOTED: u64 = 1 << 32;
/// The packet does not fit the way to its server; the low 16 bits say how long it may be.
pub const TOO_BIG: u64 = 1 << 33;
