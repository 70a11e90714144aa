//! The datapath's clock: coarse monotonic nanoseconds, shifted so that 32 bits last 52 days.

use core::time::Duration;

/// A tick is 2^20 ns, 1.05 ms.
const SHIFT: u32 = 20;

/// A moment of `CLOCK_MONOTONIC_COARSE`, or a span between two, in ticks.
///
/// Moments wrap around; spans up to 26 days compare correctly.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticks(pub u32);

impl Ticks {
    /// From nanoseconds of the coarse monotonic clock.
    #[inline(always)]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self((nanos >> SHIFT) as u32)
    }

    /// A span, rounded up, so that nothing ends before its time; at most 26 days.
    pub const fn from_duration(span: Duration) -> Self {
        let ticks = span.as_nanos().div_ceil(1 << SHIFT);
        if ticks > (u32::MAX / 2) as u128 { Self(u32::MAX / 2) } else { Self(ticks as u32) }
    }

    /// A span as a duration.
    pub const fn to_duration(self) -> Duration {
        Duration::from_nanos((self.0 as u64) << SHIFT)
    }

    /// How long before `now` this moment was; a moment that another CPU saw slightly later counts as now.
    #[inline(always)]
    pub const fn age(self, now: Self) -> Self {
        let age = now.0.wrapping_sub(self.0);
        if age > u32::MAX / 2 { Self(0) } else { Self(age) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_up_and_ages_survive_the_wrap() {
        assert_eq!(Ticks::from_duration(Duration::from_nanos(1)), Ticks(1));
        assert_eq!(Ticks::from_duration(Duration::from_secs(1)), Ticks(954));
        assert_eq!(Ticks(u32::MAX - 1).age(Ticks(3)), Ticks(5));
        assert_eq!(Ticks(10).age(Ticks(9)), Ticks(0));
        assert_eq!(Ticks::from_nanos(5 << SHIFT).age(Ticks::from_nanos(9 << SHIFT)), Ticks(4));
    }
}
