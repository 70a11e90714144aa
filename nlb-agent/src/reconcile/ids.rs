//! Which number an entry of the datapath has: kept over restarts, and not given away while it may be in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use nlb_common::abi::maps::{MAX_BACKENDS, MAX_EGRESSES, MAX_LISTENERS, MAX_SERVICES};

use crate::datapath::Family;

/// What is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Vip,
    Listener,
    Service,
    Backend,
    Egress,
    Snat(Family),
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Vip,
        Self::Listener,
        Self::Service,
        Self::Backend,
        Self::Egress,
        Self::Snat(Family::V4),
        Self::Snat(Family::V6),
    ];

    /// The numbers there are, where there is room for so many SNAT addresses of each family.
    fn range(self, snats: [u32; 2]) -> std::ops::Range<u32> {
        match self {
            // VIPs index no array; each has a listener, or the number serves nothing.
            Self::Vip | Self::Listener => 1..MAX_LISTENERS,
            Self::Service => 1..MAX_SERVICES,
            Self::Backend => 1..MAX_BACKENDS,
            Self::Egress => 1..MAX_EGRESSES,
            Self::Snat(family) => 0..snats[family.index()],
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Vip => "VIPs",
            Self::Listener => "listeners, each VIP counted",
            Self::Service => "backend services",
            Self::Backend => "backends, draining ones counted",
            Self::Egress => "ways out",
            Self::Snat(Family::V4) => "IPv4 SNAT addresses",
            Self::Snat(Family::V6) => "IPv6 SNAT addresses",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vip => "vip",
            Self::Listener => "listener",
            Self::Service => "service",
            Self::Backend => "backend",
            Self::Egress => "egress",
            Self::Snat(Family::V4) => "snat-v4",
            Self::Snat(Family::V6) => "snat-v6",
        })
    }
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the datapath holds at most {limit} {what}: remove some")]
pub(super) struct Exhausted {
    pub(super) what: &'static str,
    pub(super) limit: usize,
}

/// Names and their numbers.
#[derive(Debug, Default)]
pub(super) struct Ids {
    numbers: BTreeMap<(Kind, String), u32>,
    used: BTreeMap<Kind, BTreeSet<u32>>,
    /// Where the search for a free number goes on: so a number rests as long as possible.
    next: BTreeMap<Kind, u32>,
    /// Room for SNAT addresses.
    snats: [u32; 2],
    puts: BTreeMap<String, u32>,
    removals: BTreeSet<String>,
}

impl Ids {
    /// Goes on with the numbers that were remembered, and with those that the datapath holds.
    pub(super) fn new(
        remembered: &BTreeMap<String, u32>,
        held: impl IntoIterator<Item = (Kind, u32)>,
        snats: [u32; 2],
    ) -> Self {
        let mut ids = Self { snats, ..Self::default() };
        for (row, &number) in remembered {
            let parts = row.split_once(' ').and_then(|(kind, name)| {
                Some((Kind::ALL.into_iter().find(|known| known.to_string() == kind)?, name.to_owned()))
            });
            if let Some((kind, name)) = parts {
                ids.used.entry(kind).or_default().insert(number);
                ids.numbers.insert((kind, name), number);
            }
        }
        for (kind, number) in held {
            ids.used.entry(kind).or_default().insert(number);
        }
        for kind in Kind::ALL {
            if let (false, Some(&highest)) =
                (matches!(kind, Kind::Snat(_)), ids.used.entry(kind).or_default().last())
            {
                ids.next.insert(kind, highest + 1);
            }
        }
        ids
    }

    /// The number of a name: the one it has, or a free one.
    pub(super) fn get(&mut self, kind: Kind, name: &str) -> Result<u32, Exhausted> {
        if let Some(&number) = self.numbers.get(&(kind, name.to_owned())) {
            return Ok(number);
        }
        let range = kind.range(self.snats);
        let used = self.used.entry(kind).or_default();
        let next = self.next.get(&kind).copied().filter(|next| range.contains(next)).unwrap_or(range.start);
        let free = (next..range.end).chain(range.start..next).find(|number| !used.contains(number));
        let number = free.ok_or(Exhausted { what: kind.what(), limit: range.len() })?;
        used.insert(number);
        if !matches!(kind, Kind::Snat(_)) {
            self.next.insert(kind, number + 1);
        }
        self.numbers.insert((kind, name.to_owned()), number);
        self.removals.remove(&row(kind, name));
        self.puts.insert(row(kind, name), number);
        Ok(number)
    }

    /// The name of a number.
    pub(super) fn name(&self, kind: Kind, number: u32) -> Option<&str> {
        self.numbers
            .iter()
            .find(|((of, _), known)| (*of, **known) == (kind, number))
            .map(|((_, name), _)| name.as_str())
    }

    /// All names of a kind, with their numbers.
    pub(super) fn names(&self, kind: Kind) -> impl Iterator<Item = (&str, u32)> {
        self.numbers
            .iter()
            .filter(move |((of, _), _)| *of == kind)
            .map(|((_, name), number)| (name.as_str(), *number))
    }

    /// Forgets every name, and frees every number, that is not in use.
    pub(super) fn retain(&mut self, in_use: impl Fn(Kind, u32) -> bool) {
        let Self { numbers, used, next: _, snats: _, puts, removals } = self;
        numbers.retain(|(kind, name), number| {
            let keep = in_use(*kind, *number);
            if !keep && puts.remove(&row(*kind, name)).is_none() {
                removals.insert(row(*kind, name));
            }
            keep
        });
        for (kind, used) in used {
            used.retain(|number| in_use(*kind, *number));
        }
    }

    /// What has to be remembered, and what no longer, since the last call.
    pub(super) fn take_changes(&mut self) -> (BTreeMap<String, u32>, BTreeSet<String>) {
        (std::mem::take(&mut self.puts), std::mem::take(&mut self.removals))
    }
}

fn row(kind: Kind, name: &str) -> String {
    format!("{kind} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(rows: &[(&str, u32)], held: &[(Kind, u32)]) -> Ids {
        let remembered = rows.iter().map(|(row, number)| ((*row).to_owned(), *number)).collect();
        Ids::new(&remembered, held.iter().copied(), [4; 2])
    }

    #[test]
    fn a_name_keeps_its_number() {
        let mut first = Ids::default();
        let number = first.get(Kind::Backend, "a").unwrap();
        assert_eq!(first.get(Kind::Backend, "a"), Ok(number));
        let (puts, _) = first.take_changes();
        let mut second = Ids::new(&puts, [], [4; 2]);
        assert_eq!(second.get(Kind::Backend, "a"), Ok(number));
        assert_eq!(second.name(Kind::Backend, number), Some("a"));
        assert_eq!(second.take_changes(), Default::default(), "nothing new to remember");
    }

    #[test]
    fn numbers_that_the_datapath_holds_without_a_name_are_not_given_away() {
        let mut ids = ids(&[], &[(Kind::Backend, 1), (Kind::Backend, 2)]);
        assert_eq!(ids.get(Kind::Backend, "a"), Ok(3));
        assert_eq!(ids.get(Kind::Service, "a"), Ok(1), "kinds are numbered apart");
    }

    #[test]
    fn a_number_that_was_freed_rests_until_the_others_were_used() {
        let mut ids = Ids::default();
        assert_eq!(ids.get(Kind::Backend, "a"), Ok(1));
        ids.retain(|_, _| false);
        assert_eq!(ids.get(Kind::Backend, "b"), Ok(2));
        let (puts, removals) = ids.take_changes();
        assert_eq!((puts.len(), removals.len()), (1, 0), "what was never remembered need not be forgotten");
    }

    #[test]
    fn snat_slots_are_dense() {
        let mut ids = ids(&[], &[]);
        let kind = Kind::Snat(Family::V6);
        assert_eq!(ids.get(kind, "x"), Ok(0));
        ids.retain(|_, _| false);
        assert_eq!(ids.get(kind, "y"), Ok(0));
    }

    #[test]
    fn an_exhausted_kind_says_so() {
        let kind = Kind::Snat(Family::V4);
        let mut ids = ids(&[], &[(kind, 0), (kind, 1), (kind, 2), (kind, 3)]);
        let error = ids.get(kind, "one too many").unwrap_err();
        assert_eq!(error.to_string(), "the datapath holds at most 4 IPv4 SNAT addresses: remove some");
    }
}
