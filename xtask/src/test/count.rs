//! How many tests passed and failed, from what `cargo test` prints.

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: usize,
    pub(super) failed: usize,
}

impl Count {
    /// Adds what a line says: each test binary ends with
    /// `test result: ok. 4 passed; 0 failed; 0 ignored; …`.
    pub(super) fn add_line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let Some((_, counts)) = result.split_once(". ") else { return };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse::<usize>().unwrap_or_default(),
                Some((number, "failed")) => self.failed += number.parse::<usize>().unwrap_or_default(),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn result_lines_are_summed_and_others_ignored() {
        let mut count = Count::default();
        for line in [
            "running 4 tests",
            "test a ... ok",
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 24.50s",
            "test result: FAILED. 2 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "9 passed; 9 failed",
        ] {
            count.add_line(line);
        }
        assert_eq!(count, Count { passed: 6, failed: 1 });
    }
}
