use std::cmp::Ordering;

/// The slots of a weighted round robin: each of `weighted` stands as often as its weight says (divided by what
/// all weights have in common), spread as evenly as it goes. An item of weight 0 does not stand in it.
///
/// The k-th slot of an item of weight w is due at (k + 1/2) / w of the turn (earliest deadline first); so in any
/// window each item's share is its weight's share, but for one slot at either end.
pub fn wheel<T: Copy + Ord>(weighted: &[(T, u8)]) -> Vec<T> {
    let common = weighted.iter().map(|&(_, weight)| weight).fold(0, greatest_common_divisor).max(1);
    let mut slots: Vec<Slot<T>> = Vec::new();
    for &(item, weight) in weighted {
        let weight = u64::from(weight / common);
        slots.extend((0..weight).map(|turn| Slot { item, due: 2 * turn + 1, of: 2 * weight }));
    }
    slots.sort_unstable_by(Slot::compare);
    slots.into_iter().map(|slot| slot.item).collect()
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

fn greatest_common_divisor(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_become_slots() {
        let rows: [(&[(char, u8)], &str); 7] = [
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

    proptest! {
        #[test]
        fn in_any_window_each_share_is_the_weights_share(
            weights in prop::collection::vec(0u8..=100, 1..12),
            start: prop::sample::Index,
            len in 1usize..2000,
        ) {
            let weighted: Vec<(usize, u8)> = weights.iter().copied().enumerate().collect();
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
