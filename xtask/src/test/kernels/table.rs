//! What is printed at the end: a line for each kernel, and below it what went wrong there.

use std::{fmt, time::Duration};

use super::report::Report;
use crate::test::count::Count;

/// How it went on a kernel.
pub(super) struct Row {
    /// What `uname -r` says there; if it did not come so far, the series.
    pub(super) kernel: String,
    /// Where it runs.
    pub(super) place: &'static str,
    /// What the tests said.
    pub(super) report: Report,
    /// Why it failed though no test did.
    pub(super) trouble: Option<String>,
    /// How long all of it took.
    pub(super) took: Duration,
}

/// All rows.
pub(super) struct Table<'a>(pub(super) &'a [Row]);

impl Table<'_> {
    /// How many tests passed and failed in all.
    pub(super) fn count(&self) -> Count {
        self.0.iter().fold(Count::default(), |sum, Row { report, .. }| Count {
            passed: sum.passed + report.count.passed,
            failed: sum.failed + report.count.failed,
        })
    }

    /// What failed other than tests.
    pub(super) fn trouble(&self) -> Option<String> {
        let troubles =
            self.0.iter().filter_map(|row| Some(format!("{}: {}", row.kernel, row.trouble.as_ref()?)));
        let troubles: Vec<_> = troubles.collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:24} {:9} {:>7} {:>7} {:>9} {:>9} {:>9}",
            "kernel", "where", "passed", "failed", "verified", "load", "time"
        )?;
        for Row { kernel, place, report, trouble, took } in self.0 {
            let Report { count: Count { passed, failed }, verified, load, .. } = report;
            let verified = verified.map_or_else(|| "-".to_owned(), |verified| verified.to_string());
            let load = load.map_or_else(|| "-".to_owned(), |load| format!("{:.2} s", load.as_secs_f64()));
            let took = took.as_secs_f64();
            writeln!(
                f,
                "{kernel:24} {place:9} {passed:>7} {failed:>7} {verified:>9} {load:>9} {took:>7.1} s"
            )?;
            for test in &report.failed {
                writeln!(f, "    failed: {test}")?;
            }
            for test in &report.skipped {
                writeln!(f, "    skipped: {test}")?;
            }
            if let Some(trouble) = trouble {
                writeln!(f, "    {trouble}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Count, Report, Row, Table};

    #[test]
    fn a_line_for_each_kernel_and_what_went_wrong_below_it() {
        let rows = [
            Row {
                kernel: "6.1.0-56-amd64".to_owned(),
                place: "emulated",
                report: Report {
                    count: Count { passed: 73, failed: 1 },
                    verified: Some(396_274),
                    load: Some(Duration::from_millis(7541)),
                    failed: vec!["fib::a_test".to_owned()],
                    skipped: vec!["captures::a_test: no captures in /x".to_owned()],
                    ..Report::default()
                },
                trouble: None,
                took: Duration::from_millis(181_240),
            },
            Row {
                kernel: "6.12".to_owned(),
                place: "emulated",
                report: Report::default(),
                trouble: Some("apt knows no package".to_owned()),
                took: Duration::ZERO,
            },
        ];
        let table = Table(&rows);
        assert_eq!(
            table.to_string(),
            "\
kernel                   where      passed  failed  verified      load      time
6.1.0-56-amd64           emulated       73       1    396274    7.54 s   181.2 s
    failed: fib::a_test
    skipped: captures::a_test: no captures in /x
6.12                     emulated        0       0         -         -     0.0 s
    apt knows no package
"
        );
        assert_eq!(table.count(), Count { passed: 73, failed: 1 });
        assert_eq!(table.trouble().as_deref(), Some("6.12: apt knows no package"));
    }
}
