//! How many active connections a backend has: half-open and established ones. Array `ACTIVE`, a word for each backend.

/// A backend's count, and which end of a flow the agent took from it last.
///
/// The program adds to the low half atomically and never stops half-way. The agent can be killed between ending a flow
/// and counting it; so it takes one from the count and writes the number of that end (see [`crate::abi::sweep`]) with
/// one compare-and-swap, and the agent that comes after it sees whether it was done.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active(pub u64);

impl Active {
    /// Active connections.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        self.0 as u32
    }

    /// The number of the agent's last end.
    pub const fn end(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// One connection less, by the agent's end number `end`.
    #[must_use]
    pub const fn ended(self, end: u32) -> Self {
        Self((end as u64) << 32 | self.count().wrapping_sub(1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_counted_and_numbered_at_once() {
        let active = Active(5).ended(77);
        assert_eq!((active.count(), active.end()), (4, 77));
    }
}
