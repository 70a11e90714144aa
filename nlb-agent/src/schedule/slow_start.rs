//! Slow start: a server that becomes eligible gets its share of new connections bit by bit.

use std::time::Duration;

/// The units of one of weight, so that a server of weight 1 has steps to take, too. All weights in force are in these
/// units, slow start or not; 255 of weight are 16320.
pub const SCALE: u16 = 64;

/// How often a weight in force may change at most: a change is a new wheel or ring.
pub const SHORTEST_STEP: Duration = Duration::from_secs(1);

/// The weight in force, in units of 1 / [`SCALE`], of a server of `weight` that became eligible `since` ago: it grows
/// with the time, from one unit to all of it after `slow_start`. Weight 0 stays 0.
pub fn ramped(weight: u8, since: Duration, slow_start: Duration) -> u16 {
    let full = u16::from(weight) * SCALE;
    if since >= slow_start {
        return full;
    }
    let reached = u128::from(full) * since.as_nanos() / slow_start.as_nanos();
    // Less than `full`, as `since` is less than `slow_start`.
    u16::try_from(reached).unwrap_or(full).max(full.min(1))
}

/// How long from now until the weight in force is to be computed again: until it has grown by a unit, but no sooner
/// than after [`SHORTEST_STEP`]; `None`: it does not change any more.
pub fn next_step(weight: u8, since: Duration, slow_start: Duration) -> Option<Duration> {
    let full = u16::from(weight) * SCALE;
    let current = ramped(weight, since, slow_start);
    if current == full {
        return None;
    }
    let due = (slow_start.as_nanos() * u128::from(current + 1)).div_ceil(u128::from(full));
    let due = u64::try_from(due).map_or(slow_start, Duration::from_nanos);
    Some(due.saturating_sub(since).max(SHORTEST_STEP))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_weight_grows_with_the_time() {
        // Weight, seconds since, slow start, units.
        let rows = [
            (10, 0, 0, 640),
            (10, 5, 0, 640),
            (10, 0, 100, 1),
            (10, 25, 100, 160),
            (10, 50, 100, 320),
            (10, 99, 100, 633),
            (10, 100, 100, 640),
            (10, 1000, 100, 640),
            (1, 0, 64, 1),
            (1, 1, 64, 1),
            (1, 2, 64, 2),
            (255, 1, 2, 8160),
            (255, 2, 2, 16320),
            (0, 0, 100, 0),
            (0, 100, 100, 0),
        ];
        for (weight, since, slow_start, units) in rows {
            let found = ramped(weight, Duration::from_secs(since), Duration::from_secs(slow_start));
            assert_eq!(found, units, "{weight} after {since} of {slow_start} s");
        }
    }

    #[test]
    fn the_next_step_is_when_the_weight_changes_but_not_too_soon() {
        // Weight, seconds since, slow start, seconds to the next step.
        let rows = [
            (10, 0, 0, None),
            (0, 0, 100, None),
            (10, 100, 100, None),
            (1, 0, 640, Some(20)),
            (1, 15, 640, Some(5)),
            (1, 20, 640, Some(10)),
            (1, 635, 640, Some(5)),
            (100, 0, 100, Some(1)),
            (100, 99, 100, Some(1)),
        ];
        for (weight, since, slow_start, step) in rows {
            let found = next_step(weight, Duration::from_secs(since), Duration::from_secs(slow_start));
            assert_eq!(found, step.map(Duration::from_secs), "{weight} after {since} of {slow_start} s");
        }
    }

    proptest! {
        #[test]
        fn the_weight_never_falls_and_is_linear(weight: u8, slow_start in 1u64..4_000_000, since: [u32; 2]) {
            let slow_start = Duration::from_millis(slow_start);
            let since = since.map(|since| slow_start.mul_f64(1.2 * f64::from(since) / f64::from(u32::MAX)));
            let [a, b] = since.map(|since| ramped(weight, since, slow_start));
            prop_assert!((a <= b || since[0] > since[1]) && (b <= a || since[1] > since[0]), "{a} {b}");
            let line = f64::from(weight) * f64::from(SCALE) * since[0].as_secs_f64() / slow_start.as_secs_f64();
            let line = line.min(f64::from(weight) * f64::from(SCALE));
            prop_assert!((f64::from(a) - line).abs() <= 1.0, "{a} {line}");
            prop_assert!(weight == 0 || a > 0);
        }

        #[test]
        fn steps_lead_to_the_full_weight_and_each_changes_it(weight in 1u8.., slow_start in 1u64..4_000) {
            let slow_start = Duration::from_secs(slow_start);
            let (mut since, mut steps) = (Duration::ZERO, 0);
            while let Some(step) = next_step(weight, since, slow_start) {
                let before = ramped(weight, since, slow_start);
                prop_assert!(step >= SHORTEST_STEP);
                since += step;
                steps += 1;
                prop_assert!(ramped(weight, since, slow_start) > before);
            }
            prop_assert_eq!(ramped(weight, since, slow_start), u16::from(weight) * SCALE);
            prop_assert!(since < slow_start + SHORTEST_STEP);
            prop_assert!(steps <= slow_start.as_secs() + 1);
        }
    }
}
