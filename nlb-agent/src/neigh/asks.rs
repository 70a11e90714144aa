use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{resolve::Need, snapshot::Place};

/// The first wait for an answer; doubled with every attempt.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait, and the time between two confirmations.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// When to ask the kernel about which neighbour.
#[derive(Debug, Default)]
pub(super) struct Asks(BTreeMap<Place, Ask>);

#[derive(Debug)]
struct Ask {
    need: Need,
    /// Not before this the next time.
    next: Instant,
    wait: Duration,
}

impl Asks {
    /// Which neighbours to ask about now, out of all that are needed. One that is not needed any more is
    /// forgotten.
    pub(super) fn due(&mut self, now: Instant, needed: &BTreeMap<Place, Need>) -> Vec<Place> {
        self.0.retain(|place, ask| needed.get(place) == Some(&ask.need));
        let mut due = Vec::new();
        for (place, need) in needed {
            let wait = match (self.0.get(place), need) {
                (Some(ask), _) if ask.next > now => continue,
                (_, Need::Confirmation) => LONGEST_WAIT,
                (None, Need::Address) => FIRST_WAIT,
                (Some(ask), Need::Address) => (ask.wait * 2).min(LONGEST_WAIT),
            };
            self.0.insert(*place, Ask { need: *need, next: now + wait, wait });
            due.push(*place);
        }
        due
    }

    /// When [`due`](Self::due) has something to say next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|ask| ask.next).min()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const PLACE: Place = (2, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

    /// The milliseconds at which the kernel is asked within the first minute.
    fn asked(need: impl Fn(u64) -> Option<Need>) -> Vec<u64> {
        let begin = Instant::now();
        let mut asks = Asks::default();
        let steps = (0..60).map(|second| second * 1000);
        steps
            .filter(|ms| {
                let needed = need(*ms).map(|need| (PLACE, need)).into_iter().collect();
                !asks.due(begin + Duration::from_millis(*ms), &needed).is_empty()
            })
            .collect()
    }

    #[test]
    fn a_silent_neighbour_is_asked_for_ever_more_seldom() {
        assert_eq!(
            asked(|_| Some(Need::Address)),
            [0, 1000, 3000, 7000, 15_000, 25_000, 35_000, 45_000, 55_000]
        );
    }

    #[test]
    fn a_stale_neighbour_is_confirmed_now_and_then() {
        assert_eq!(asked(|_| Some(Need::Confirmation)), [0, 10_000, 20_000, 30_000, 40_000, 50_000]);
    }

    #[test]
    fn a_neighbour_that_is_lost_is_asked_for_at_once() {
        let asked = asked(|ms| match ms {
            0..5000 => Some(Need::Confirmation),
            5000..9000 => Some(Need::Address),
            9000..12_000 => None,
            _ => Some(Need::Address),
        });
        assert_eq!(asked[..5], [0, 5000, 6000, 8000, 12_000]);
    }

    #[test]
    fn next_is_the_earliest() {
        let begin = Instant::now();
        let mut asks = Asks::default();
        assert_eq!(asks.next(), None);
        let other = (3, PLACE.1);
        asks.due(begin, &[(PLACE, Need::Confirmation), (other, Need::Address)].into());
        assert_eq!(asks.next(), Some(begin + FIRST_WAIT));
    }
}
