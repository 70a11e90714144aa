//! The agent's clocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};
use nlb_common::ticks::Ticks;

/// The time of day, the time that never jumps, and the way from the former to the monotonic clock that the datapath
/// reads. The distance between those two is taken once, so that a deadline stays the same number of ticks as long as
/// the agent runs.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Of the Unix epoch, in milliseconds before the monotonic clock's zero.
    epoch_ms: u64,
    /// Milliseconds that this clock is ahead of the host's.
    ahead_ms: Arc<AtomicU64>,
}

impl Clock {
    /// The host's clocks.
    pub fn read() -> Self {
        Self::ahead(Arc::default())
    }

    /// Clocks that are so many milliseconds ahead of the host's. For simulations, which set them forward.
    pub fn ahead(ahead_ms: Arc<AtomicU64>) -> Self {
        let read = |id| clock_gettime(id).map_or(Duration::ZERO, Duration::from);
        let between = read(ClockId::CLOCK_REALTIME).saturating_sub(read(ClockId::CLOCK_MONOTONIC));
        Self { epoch_ms: u64::try_from(between.as_millis()).unwrap_or(u64::MAX), ahead_ms }
    }

    fn lead(&self) -> u64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX).saturating_add(self.lead())
    }

    /// The same moment on the clock that never jumps.
    pub(super) fn instant(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.lead())
    }

    /// The first tick at or after a moment.
    pub(super) fn ticks_at(&self, ms: u64) -> Ticks {
        let since_zero = Duration::from_millis(ms.saturating_sub(self.epoch_ms).saturating_sub(self.lead()));
        let ticks = since_zero.as_nanos().div_ceil(1 << 20);
        Ticks(ticks as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_not_before_its_moment_and_wraps_like_the_datapaths_clock() {
        let clock = Clock { epoch_ms: 1_000, ahead_ms: Arc::default() };
        assert_eq!(clock.ticks_at(1_000), Ticks(0));
        assert_eq!(clock.ticks_at(1_001), Ticks(1));
        assert_eq!(clock.ticks_at(2_000), Ticks::from_duration(Duration::from_secs(1)));
        let days = Duration::from_secs(60 * 86_400);
        let expected = (days.as_nanos().div_ceil(1 << 20) % (1 << 32)) as u32;
        assert_eq!(clock.ticks_at(1_000 + days.as_millis() as u64), Ticks(expected));
    }
    #[test]
    fn a_clock_that_is_ahead_leads_to_earlier_ticks() {
        let clock = Clock { epoch_ms: 0, ahead_ms: Arc::new(AtomicU64::new(60_000)) };
        assert_eq!(clock.ticks_at(62_000), Ticks::from_duration(Duration::from_secs(2)));
        let host = Clock::default();
        assert!(clock.now_ms() >= host.now_ms() + 59_000);
        assert!(clock.instant() > host.instant() + Duration::from_secs(59));
    }
}
