//! When what is announced: pure, with the time as an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::Announcement;

/// How often something new is said: a frame may be lost (RFC 4861, section 10: `MAX_NEIGHBOR_ADVERTISEMENT`; RFC 5227
/// asks for two).
const TIMES: u32 = 3;
/// How long after one another (RFC 4861, section 10: `RETRANS_TIMER`).
const APART: Duration = Duration::from_secs(1);
/// How long after it could not be said.
const RETRY: Duration = Duration::from_secs(10);

/// What is still to be said of an announcement.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// How often.
    left: u32,
    at: Instant,
    /// The last try failed.
    is_failing: bool,
}

/// Says everything that is new three times, and then no more until it is new again.
#[derive(Debug, Default)]
pub struct Announcer {
    announced: BTreeSet<Announcement>,
    pending: BTreeMap<Announcement, Pending>,
}

impl Announcer {
    /// What there is to say from now on.
    pub fn set(&mut self, announced: &BTreeSet<Announcement>, now: Instant) {
        for new in announced.difference(&self.announced) {
            self.pending.insert(*new, Pending { left: TIMES, at: now, is_failing: false });
        }
        self.pending.retain(|announcement, _| announced.contains(announcement));
        self.announced.clone_from(announced);
    }

    /// What is to be said now.
    pub fn due(&self, now: Instant) -> Vec<Announcement> {
        let due = self.pending.iter().filter(|(_, pending)| pending.at <= now);
        due.map(|(announcement, _)| *announcement).collect()
    }

    /// When there is something to be said next.
    pub fn next(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.at).min()
    }

    /// It was said.
    pub fn said(&mut self, announcement: &Announcement, now: Instant) {
        let Some(pending) = self.pending.get_mut(announcement) else { return };
        pending.left -= 1;
        if pending.left == 0 {
            self.pending.remove(announcement);
        } else {
            *pending = Pending { at: now + APART, is_failing: false, ..*pending };
        }
    }

    /// It could not be said: it will be tried again. Whether that is news.
    pub fn failed(&mut self, announcement: &Announcement, now: Instant) -> bool {
        let Some(pending) = self.pending.get_mut(announcement) else { return false };
        let is_news = !pending.is_failing;
        *pending = Pending { at: now + RETRY, is_failing: true, ..*pending };
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn announcement(interface: u32, address: &str) -> Announcement {
        Announcement { interface, vlan: None, mac: MAC, address: address.parse().unwrap() }
    }

    struct Bench {
        announcer: Announcer,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { announcer: Announcer::default(), start: Instant::now() }
        }

        fn set(&mut self, announced: &[Announcement], seconds: u64) {
            let now = self.start + Duration::from_secs(seconds);
            self.announcer.set(&announced.iter().copied().collect(), now);
        }

        /// What is said in which second until all is said.
        fn says(&mut self) -> Vec<(u64, Announcement)> {
            let mut said = Vec::new();
            while let Some(now) = self.announcer.next() {
                for announcement in self.announcer.due(now) {
                    said.push(((now - self.start).as_secs(), announcement));
                    self.announcer.said(&announcement, now);
                }
            }
            said
        }
    }

    #[test]
    fn what_is_new_is_said_three_times_a_second_apart_and_then_no_more() {
        let (mut bench, four, six) =
            (Bench::new(), announcement(2, "10.0.0.10"), announcement(2, "fd00::10"));
        bench.set(&[four], 0);
        assert_eq!(bench.says(), [(0, four), (1, four), (2, four)]);
        bench.set(&[four], 5);
        assert_eq!(bench.says(), []);
        bench.set(&[four, six], 9);
        assert_eq!(bench.says(), [(9, six), (10, six), (11, six)]);
    }

    #[test]
    fn what_was_taken_back_is_new_when_it_comes_again_and_so_is_another_mac_address() {
        let (mut bench, four) = (Bench::new(), announcement(2, "10.0.0.10"));
        bench.set(&[four], 0);
        bench.says();
        bench.set(&[], 5);
        bench.set(&[four], 6);
        assert_eq!(bench.says().len(), 3);
        let moved = Announcement { mac: [2, 0, 0, 0, 0, 2], ..four };
        bench.set(&[moved], 20);
        assert_eq!(bench.says(), [(20, moved), (21, moved), (22, moved)]);
    }

    #[test]
    fn what_is_taken_back_is_not_said_any_more() {
        let (mut bench, four) = (Bench::new(), announcement(2, "10.0.0.10"));
        bench.set(&[four], 0);
        bench.announcer.said(&four, bench.start);
        bench.set(&[], 0);
        assert_eq!(bench.announcer.next(), None);
        bench.announcer.said(&four, bench.start);
        assert!(!bench.announcer.failed(&four, bench.start));
    }

    #[test]
    fn what_fails_is_tried_again_until_it_was_said_and_is_news_once() {
        let (mut bench, four) = (Bench::new(), announcement(2, "10.0.0.10"));
        bench.set(&[four], 0);
        assert!(bench.announcer.failed(&four, bench.start));
        let next = bench.start + Duration::from_secs(10);
        assert_eq!(bench.announcer.next(), Some(next));
        assert_eq!(bench.announcer.due(bench.start), []);
        assert!(!bench.announcer.failed(&four, next));
        assert_eq!(bench.says(), [(20, four), (21, four), (22, four)]);
    }
}
