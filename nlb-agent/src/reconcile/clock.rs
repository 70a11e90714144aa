//! Deadlines in the datapath's clock.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nlb_common::ticks::Ticks;

/// From milliseconds since the Unix epoch to the monotonic clock that the datapath reads. The distance between the two
/// is taken once, so that a deadline stays the same number of ticks as long as the agent runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Of the Unix epoch, in milliseconds before the monotonic clock's zero.
    epoch_ms: u64,
}

impl Clock {
    /// Reads both clocks.
    pub(super) fn read() -> Self {
        let read = |id| clock_gettime(id).map_or(Duration::ZERO, Duration::from);
        let between = read(ClockId::CLOCK_REALTIME).saturating_sub(read(ClockId::CLOCK_MONOTONIC));
        Self { epoch_ms: u64::try_from(between.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The first tick at or after a moment.
    pub(super) fn ticks_at(self, ms: u64) -> Ticks {
        let since_zero = Duration::from_millis(ms.saturating_sub(self.epoch_ms));
        let ticks = since_zero.as_nanos().div_ceil(1 << 20);
        Ticks(ticks as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_not_before_its_moment_and_wraps_like_the_datapaths_clock() {
        let clock = Clock { epoch_ms: 1_000 };
        assert_eq!(clock.ticks_at(1_000), Ticks(0));
        assert_eq!(clock.ticks_at(1_001), Ticks(1));
        assert_eq!(clock.ticks_at(2_000), Ticks::from_duration(Duration::from_secs(1)));
        let days = Duration::from_secs(60 * 86_400);
        let expected = (days.as_nanos().div_ceil(1 << 20) % (1 << 32)) as u32;
        assert_eq!(clock.ticks_at(1_000 + days.as_millis() as u64), Ticks(expected));
    }
}
