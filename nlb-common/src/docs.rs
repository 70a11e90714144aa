//! docs/datapath.md is complete: whoever adds a verdict or a map describes it there.

use std::{format, vec::Vec};

use crate::{
    abi::maps::name,
    verdict::{COUNT, Verdict},
};

const DATAPATH: &str = include_str!("../../docs/datapath.md");

/// The rows of all tables.
fn rows() -> impl Iterator<Item = &'static str> {
    DATAPATH.lines().filter(|line| line.starts_with("| "))
}

/// The first cell of a row.
fn subject(row: &str) -> &str {
    row.split('|').nth(1).unwrap_or_default().trim()
}

#[test]
fn every_verdict_has_a_row_with_its_number_and_name_and_there_are_no_others() {
    for (number, verdict) in Verdict::ALL.iter().enumerate() {
        let start = format!("| {number} | `{}` | ", verdict.name());
        assert!(
            rows().any(|row| row.starts_with(&start)),
            "no row of docs/datapath.md starts with {start:?}"
        );
    }
    let numbers: Vec<u32> = rows().filter_map(|row| subject(row).parse().ok()).collect();
    assert!(numbers.iter().copied().eq(0..COUNT), "numbers in docs/datapath.md: {numbers:?}");
}

#[test]
fn every_map_has_a_row() {
    for map in name::ALL {
        let quoted = format!("`{map}`");
        assert!(
            rows().any(|row| subject(row).split(", ").any(|named| named == quoted)),
            "no row of docs/datapath.md is about {quoted}"
        );
    }
}
