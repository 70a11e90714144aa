use std::cmp::Ordering;

/// The most slots of a wheel, unless it has more items.
pub const MAX_SLOTS: usize = 4096;

/// The slots of a weighted round robin: each of `weighted` stands as often as its weight says (divided by what
/// all weights have in common), spread as evenly as it goes. An item of weight 0 does not stand in it.
///
/// The k-th slot of an item of weight w is due at (k + 1/2) / w of the turn (earliest deadline first); so in any
/// window each item's share is its weight's share, but for one slot at either end.
///
/// A wheel that would have more than [`MAX_SLOTS`] slots has scaled weights: nobody's share is then off by more than
/// one slot of [`MAX_SLOTS`] for each item, and each item has one slot at least. With more than [`MAX_SLOTS`] items
/// each has just one.
pub fn wheel<T: Copy + Ord>(weighted: &[(T, u16)]) -> Vec<T> {
    let weighted: Vec<(T, u64)> = weighted
        .iter()
        .filter(|&&(_, weight)| weight > 0)
        .map(|&(item, weight)| (item, weight.into()))
        .collect();
    let mut slots: Vec<Slot<T>> = Vec::new();
    for (item, weight) in reduced(scaled(reduced(weighted))) {
        slots.extend((0..weight).map(|turn| Slot { item, due: 2 * turn + 1, of: 2 * weight }));
    }
    slots.sort_unstable_by(Slot::compare);
    slots.into_iter().map(|slot| slot.item).collect()
}

/// Divided by what all weights have in common.
fn reduced<T: Copy>(mut weighted: Vec<(T, u64)>) -> Vec<(T, u64)> {
    let common = weighted.iter().map(|&(_, weight)| weight).fold(0, greatest_common_divisor).max(1);
    for (_, weight) in &mut weighted {
        *weight /= common;
    }
    weighted
}

/// Scaled down to [`MAX_SLOTS`] in all: one for each and, of the rest, to each in the ratio of what its share
/// exceeds one by. So a small weight is raised to one at the expense of all others alike.
fn scaled<T: Copy>(mut weighted: Vec<(T, u64)>) -> Vec<(T, u64)> {
    const MAX: u64 = MAX_SLOTS as u64;
    let total: u64 = weighted.iter().map(|&(_, weight)| weight).sum();
    if total <= MAX {
        return weighted;
    }
    let rest = MAX.saturating_sub(weighted.len() as u64);
    // In units of 1 / `total` slots.
    let excess = |weight: u64| (weight * MAX).saturating_sub(total);
    let excesses: u64 = weighted.iter().map(|&(_, weight)| excess(weight)).sum();
    for (_, weight) in &mut weighted {
        *weight = 1 + (excess(*weight) * rest).checked_div(excesses).unwrap_or(0);
    }
    weighted
}

/// An item's place in the turn: due at the fraction `due / of`.
struct Slot<T> {
    item: T,
    due: u64,
    of: u64,
}

impl<T: Ord> Slot<T> {
    fn compare(&self, other: &Self) -> Ordering {
        (self.due * other.of).cmp(&(other.due * self.of)).then_with(|| self.item.cmp(&other.item))
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_become_slots() {
        let rows: [(&[(char, u16)], &str); 7] = [
            (&[], ""),
            (&[('a', 0)], ""),
            (&[('a', 7)], "a"),
            (&[('a', 10), ('b', 10)], "ab"),
            (&[('a', 1), ('b', 2), ('c', 3)], "cbacbc"),
            (&[('a', 1), ('b', 0), ('c', 1)], "ac"),
            (&[('a', 100), ('b', 50)], "aba"),
        ];
        for (weighted, expected) in rows {
            assert_eq!(wheel(weighted).into_iter().collect::<String>(), expected, "{weighted:?}");
        }
    }

    #[test]
    fn a_wheel_has_so_many_slots() {
        let many = |count: usize, weight: u16| -> Vec<(usize, u16)> {
            (0..count).map(|item| (item, weight)).collect()
        };
        let rows = [
            // What the weights have in common is taken out first.
            (many(1000, 6400), 1000),
            ([many(1000, 6400), vec![(1000, 640)]].concat(), 4 * 1000 + 1),
            (vec![(0, 6400), (1, 1)], MAX_SLOTS),
            ([many(MAX_SLOTS, 1), vec![(MAX_SLOTS, 2)]].concat(), MAX_SLOTS + 1),
        ];
        for (row, (weighted, expected)) in rows.into_iter().enumerate() {
            assert_eq!(wheel(&weighted).len(), expected, "row {row}");
        }
    }

    proptest! {
        #[test]
        fn a_scaled_wheel_is_short_and_has_nearly_the_weights_shares(
            weights in prop::collection::vec(prop_oneof![0u16..=64, 0u16..=6400, 6300u16..], 1..60),
        ) {
            let weighted: Vec<(usize, u16)> = weights.iter().copied().enumerate().collect();
            let wheel = wheel(&weighted);
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            prop_assert!(wheel.len() <= MAX_SLOTS);
            let mut counts = vec![0u32; weights.len()];
            for &item in &wheel {
                counts[item] += 1;
            }
            let limit = weights.len() as f64 / MAX_SLOTS as f64 + 1e-9;
            for (&weight, count) in weights.iter().zip(counts) {
                prop_assert_eq!(weight == 0, count == 0);
                let (share, found) = (f64::from(weight) / total, f64::from(count) / wheel.len() as f64);
                prop_assert!((share - found).abs() <= limit, "{found} instead of {share}");
            }
        }

        #[test]
        fn in_any_window_each_share_is_the_weights_share(
            weights in prop::collection::vec(0u16..=100, 1..12),
            start: prop::sample::Index,
            len in 1usize..2000,
        ) {
            let weighted: Vec<(usize, u16)> = weights.iter().copied().enumerate().collect();
            let wheel = wheel(&weighted);
            prop_assume!(!wheel.is_empty());
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let start = start.index(wheel.len());
            let mut counts = vec![0u32; weights.len()];
            for offset in 0..len {
                counts[wheel[(start + offset) % wheel.len()]] += 1;
            }
            for (item, &weight) in weights.iter().enumerate() {
                let share = len as f64 * f64::from(weight) / total;
                prop_assert!((f64::from(counts[item]) - share).abs() <= 2.0, "{item}: {} of {share}", counts[item]);
            }
        }
    }
}
