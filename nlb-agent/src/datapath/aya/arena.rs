//! Which stretch of the arena slots get: pure, with the time as an argument.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use nlb_common::abi::service::Stretch;

/// How long a stretch that no service names any more is left alone: a packet that read its place just before
/// must still find the old slots there. Packets take microseconds.
pub(super) const QUARANTINE: Duration = Duration::from_secs(1);

/// The stretches in use, in quarantine, and free.
#[derive(Debug)]
pub(super) struct Arena {
    capacity: u32,
    /// Base to length.
    taken: BTreeMap<u32, u32>,
    /// Stretches to be freed, and when.
    retired: VecDeque<(Duration, Stretch)>,
}

impl Arena {
    /// An arena in which `used` is taken.
    pub(super) fn new(capacity: u32, used: impl IntoIterator<Item = Stretch>) -> Self {
        let taken = used
            .into_iter()
            .filter(|stretch| stretch.len > 0)
            .map(|stretch| (stretch.base, stretch.len))
            .collect();
        Self { capacity, taken, retired: VecDeque::new() }
    }

    /// Takes the first stretch of `len` slots that is free at `now`; `None` if there is none.
    pub(super) fn take(&mut self, len: u32, now: Duration) -> Option<Stretch> {
        if len == 0 {
            return Some(Stretch::default());
        }
        while let Some((_, stretch)) = self.retired.pop_front_if(|(free_at, _)| *free_at <= now) {
            self.taken.remove(&stretch.base);
        }
        let mut base = 0u32;
        for (&taken_base, &taken_len) in &self.taken {
            if taken_base.saturating_sub(base) >= len {
                break;
            }
            base = taken_base + taken_len;
        }
        if self.capacity.saturating_sub(base) < len {
            return None;
        }
        self.taken.insert(base, len);
        Some(Stretch { base, len, kind: 0 })
    }

    /// Gives a stretch back that no service names since `now`.
    pub(super) fn retire(&mut self, stretch: Stretch, now: Duration) {
        if stretch.len > 0 {
            self.retired.push_back((now + QUARANTINE, stretch));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretch(base: u32, len: u32) -> Stretch {
        Stretch { base, len, kind: 0 }
    }

    const NOW: Duration = Duration::from_secs(10);

    #[test]
    fn a_retired_stretch_is_not_given_away_before_its_quarantine_is_over() {
        let mut arena = Arena::new(10, []);
        let first = arena.take(8, NOW).unwrap();
        arena.retire(first, NOW);
        assert_eq!(arena.take(8, NOW), None);
        assert_eq!(arena.take(2, NOW), Some(stretch(8, 2)));
        assert_eq!(arena.take(8, NOW + QUARANTINE), Some(stretch(0, 8)));
    }

    #[test]
    fn an_empty_stretch_takes_nothing() {
        let mut arena = Arena::new(1, [stretch(0, 1)]);
        assert_eq!(arena.take(0, NOW), Some(Stretch::default()));
        assert_eq!(arena.take(1, NOW), None);
    }

    proptest! {
        #[test]
        fn stretches_never_overlap(steps in prop::collection::vec((1u32..9, any::<bool>()), 1..60)) {
            let mut arena = Arena::new(64, []);
            let mut live: Vec<Stretch> = Vec::new();
            let mut now = NOW;
            for (len, release) in steps {
                if release && !live.is_empty() {
                    arena.retire(live.remove(0), now);
                    now += QUARANTINE;
                } else if let Some(stretch) = arena.take(len, now) {
                    prop_assert!(stretch.base + stretch.len <= 64);
                    for other in &live {
                        prop_assert!(stretch.base + stretch.len <= other.base || other.base + other.len <= stretch.base);
                    }
                    live.push(stretch);
                }
            }
        }
    }
}
