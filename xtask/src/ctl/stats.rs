use nlb_proto::v1::{DatapathStats, GetDatapathStatsRequest, Interface, VerdictCount};
use serde::Serialize;

use super::{
    agent::Agent,
    error::Error,
    screen::{Column, Format, Screen},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show the verdicts no packet has met, too; json and yaml always do.
    #[arg(long)]
    all: bool,
    /// How to write them.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Stats {
    verdicts: Vec<Verdict>,
    interfaces: Vec<Attachment>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    packets: u64,
    meaning: String,
}

#[derive(Debug, Serialize)]
struct Attachment {
    name: String,
    xdp_mode: String,
}

/// Shows the verdict counters and the interfaces.
pub(super) async fn run(agent: &Agent, args: &Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let stats =
        Stats::from(agent.answer(agent.status().get_datapath_stats(GetDatapathStatsRequest {})).await?);
    match args.output {
        Format::Table | Format::Wide => tables(&stats, args.all, screen),
        Format::Json => screen.json(&stats),
        Format::Yaml => screen.yaml(&stats),
    }
}

fn tables(stats: &Stats, all: bool, screen: &mut Screen<'_>) -> Result<(), Error> {
    let verdicts: Vec<_> = stats
        .verdicts
        .iter()
        .filter(|verdict| all || verdict.packets > 0)
        .map(|Verdict { name, packets, meaning }| {
            vec![
                Column::new("VERDICT", name),
                Column::new("PACKETS", packets),
                Column::new("MEANING", meaning),
            ]
        })
        .collect();
    let interfaces: Vec<_> = stats
        .interfaces
        .iter()
        .map(|Attachment { name, xdp_mode }| {
            vec![Column::new("INTERFACE", name), Column::new("XDP MODE", xdp_mode)]
        })
        .collect();
    if verdicts.is_empty() {
        screen.line("no packet was counted yet")?;
    }
    screen.table(&verdicts, false)?;
    screen.line("")?;
    if interfaces.is_empty() {
        screen.line("attached to no interface")?;
    }
    screen.table(&interfaces, false)
}

impl From<DatapathStats> for Stats {
    fn from(wire: DatapathStats) -> Self {
        let DatapathStats { verdicts, interfaces } = wire;
        let verdict = |VerdictCount { name, packets, meaning }| Verdict { name, packets, meaning };
        let attachment = |Interface { name, xdp_mode }| Attachment { name, xdp_mode };
        Self {
            verdicts: verdicts.into_iter().map(verdict).collect(),
            interfaces: interfaces.into_iter().map(attachment).collect(),
        }
    }
}
