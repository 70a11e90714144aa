//! What the kernel tier's test binary says about its tests and about the program it loads.

use std::time::Duration;

use crate::test::count::Count;

/// What begins a line of ours among those of the kernel, of init and of the tests.
pub(super) const MARK: &str = "nlb-kernels:";

/// What was read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Tests that passed and failed.
    pub(super) count: Count,
    /// Instructions that the verifier went through.
    pub(super) verified: Option<u64>,
    /// How long it took to load the program and to make its maps.
    pub(super) load: Option<Duration>,
    /// The test binary's exit status.
    pub(super) status: Option<i32>,
    /// The failed tests, by name.
    pub(super) failed: Vec<String>,
    /// What tests said that had nothing to run on.
    pub(super) skipped: Vec<String>,
    /// The test that was begun last.
    pub(super) latest: Option<String>,
}

impl Report {
    /// Takes a line into account.
    pub(super) fn add_line(&mut self, line: &str) {
        self.count.add_line(line);
        if let Some(status) = line.strip_prefix(MARK).and_then(|rest| rest.strip_prefix(" exit ")) {
            self.status = status.trim().parse().ok();
        }
        if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            self.latest = Some(test.0.to_owned());
        }
        // What a test prints comes behind its name, and its result in a line of its own.
        if (line.ends_with("... FAILED") || line == "FAILED")
            && let Some(test) = &self.latest
        {
            self.failed.push(test.clone());
        }
        if let Some((_, what)) = line.split_once("program loaded in ") {
            self.load = what
                .split_once(" s,")
                .and_then(|(load, _)| Duration::try_from_secs_f64(load.parse().ok()?).ok());
            self.verified = what.split_once("; ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        }
        if let Some((_, why)) = line.split_once("SKIPPED: ") {
            self.skipped.push(format!("{}: {why}", self.latest.as_deref().unwrap_or("a test")));
        }
    }

    /// Why this is no success though no test failed.
    pub(super) fn trouble(&self) -> Option<String> {
        match (self.count, self.status) {
            (Count { failed: 1.., .. }, _) => None,
            (_, None) => {
                let latest = self.latest.as_deref().map(|test| format!("; the last one to begin was {test}"));
                Some(format!("the tests did not end{}", latest.unwrap_or_default()))
            }
            (Count { passed: 0, .. }, Some(_)) => Some("it ran no test".to_owned()),
            (_, Some(0)) => None,
            (_, Some(status)) => Some(format!("the tests ended with status {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Duration, Report};

    fn report(lines: &str) -> Report {
        let mut report = Report::default();
        lines.lines().for_each(|line| report.add_line(line));
        report
    }

    #[test]
    fn counts_and_the_cost_of_loading_are_read_among_other_lines() {
        let report = report(
            "[    0.3] some warning of the kernel
running 3 tests
test captures::every_frame_to_a_listener_meets_one_verdict ... SKIPPED: no captures in /x
ok
test flows::a_test ... 
thread 'flows::a_test' (7) panicked at tests/kernel/flows.rs:1:
FAILED
test load::the_program_loads_and_says_what_the_verifier_had_to_do ... program loaded in 7.25 s, maps made; 151234 instructions verified
ok
test paths::quiet ... FAILED
test ports::quiet ... ok

failures:
    flows::a_test

test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 90.00s
nlb-kernels: exit 101",
        );
        assert_eq!(report.count, Count { passed: 3, failed: 2 });
        assert_eq!((report.verified, report.load), (Some(151_234), Some(Duration::from_millis(7250))));
        assert_eq!(report.failed, ["flows::a_test", "paths::quiet"]);
        let captures = "captures::every_frame_to_a_listener_meets_one_verdict: no captures in /x";
        assert_eq!(report.skipped, [captures]);
        assert_eq!(report.status, Some(101));
        assert_eq!(report.trouble(), None, "the failed tests say it");
    }

    #[test]
    fn an_end_without_tests_or_tests_without_an_end_are_trouble() {
        let result =
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        let none =
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0s";
        let rows = [
            (format!("{result}\nnlb-kernels: exit 0"), None),
            (format!("{result}\nnlb-kernels: exit 139"), Some("the tests ended with status 139")),
            (format!("{none}\nnlb-kernels: exit 0"), Some("it ran no test")),
            ("nlb-kernels: exit 127".to_owned(), Some("it ran no test")),
            ("Kernel panic - not syncing".to_owned(), Some("the tests did not end")),
            (
                "test a::b ... ok\ntest a::c ... ".to_owned(),
                Some("the tests did not end; the last one to begin was a::c"),
            ),
        ];
        for (lines, expected) in rows {
            assert_eq!(report(&lines).trouble().as_deref(), expected, "{lines}");
        }
    }
}
