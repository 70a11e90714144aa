//! What was found: a table for people, JSON for programs.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context as _, Result};
use comfy_table::{Cell, CellAlignment, Table, presets};
use nix::sys::utsname::uname;
use nlb_common::abi::bench::{reference, traffic};
use serde::Serialize;

use crate::{
    measure::Series,
    scenario::{Scenario, baseline_name},
    stats::Quartiles,
    sweep::Sweep,
};

/// All that is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kernel: String,
    processor: String,
    rounds: u32,
    frame_bytes: usize,
    /// Entries of the reference's `LRU_HASH`.
    reference_flows: u32,
    /// One packet out of so many is of an established flow in a flood.
    flood_every: u32,
    scenarios: Vec<Line>,
    /// `None`: it was not asked for.
    sweep: Option<Sweep>,
}

/// A line of the table. Times are nanoseconds of a packet.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    /// Without wrapper and loop.
    net: Quartiles,
    /// With them.
    gross: Quartiles,
    /// Wrapper and loop alone.
    empty: Quartiles,
    /// How many times the reference's scenario.
    to_reference: Option<Quartiles>,
    /// How many times parsing and sending back.
    to_baseline: Option<Quartiles>,
    packets: u32,
    /// Packets whose fate was checked one by one.
    checked: u32,
}

impl Report {
    /// Of scenarios and their series.
    pub(crate) fn new(
        scenarios: &[Scenario],
        all: &[Series],
        sweep: Option<Sweep>,
        rounds: u32,
    ) -> Result<Self> {
        let by_name: BTreeMap<&str, &Series> =
            scenarios.iter().map(|scenario| scenario.name.as_str()).zip(all).collect();
        let ratio = |series: &Series, other: &str| {
            let other = by_name.get(other)?;
            // Within each round: what slows a round down slows both.
            Some(Quartiles::of(series.net().zip(other.net()).map(|(own, other)| own / other)))
        };
        let line = |(scenario, series): (&Scenario, &Series)| Line {
            name: scenario.name.clone(),
            net: Quartiles::of(series.net()),
            gross: Quartiles::of(series.gross.iter().copied()),
            empty: Quartiles::of(series.empty.iter().copied()),
            to_reference: scenario.reference.as_deref().and_then(|name| ratio(series, name)),
            to_baseline: ratio(series, &baseline_name(scenario.family)),
            packets: series.packets,
            checked: crate::check::packets(scenario),
        };
        Ok(Self {
            kernel: uname()?.release().to_string_lossy().into_owned(),
            processor: processor(),
            rounds,
            frame_bytes: traffic::FRAME_LEN,
            reference_flows: reference::FLOWS,
            flood_every: traffic::FLOOD_EVERY,
            scenarios: scenarios.iter().zip(all).map(line).collect(),
            sweep,
        })
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        let Self { kernel, processor, rounds, frame_bytes, reference_flows, flood_every, scenarios, sweep } =
            self;
        println!("Linux {kernel}, {processor}, {rounds} rounds, frames of {frame_bytes} bytes");
        println!(
            "net ns a packet: the empty program behind the same wrapper, in the same round, is subtracted"
        );
        println!("reference: LRU_HASH of {reference_flows} entries; new and flood once it is full");
        println!("flood: SYNs of new flows, and one packet in {flood_every} of 10 000 established ones");
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["scenario", "p25", "median", "p75", "x reference", "x baseline", "checked"]);
        for Line { name, net, to_reference, to_baseline, checked, .. } in scenarios {
            let ratio = |ratio: &Option<Quartiles>| {
                ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median))
            };
            let mut cells = vec![Cell::new(name)];
            let times = [net.p25, net.median, net.p75].map(|time| format!("{time:.1}"));
            let rest = [ratio(to_reference), ratio(to_baseline), checked.to_string()];
            cells.extend(
                times.into_iter().chain(rest).map(|text| Cell::new(text).set_alignment(CellAlignment::Right)),
            );
            table.add_row(cells);
        }
        println!("{}", table.trim_fmt());
        sweep.iter().for_each(Sweep::print);
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let context = || format!("cannot write {}", path.display());
        let file = File::create(path).with_context(context)?;
        serde_json::to_writer_pretty(file, self).with_context(context)
    }
}

/// The processor's name.
fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": "))
        .map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}
