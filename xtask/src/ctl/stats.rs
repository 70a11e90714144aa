use nlb_proto::v1::{
    DatapathStats, EventCount, GetDatapathStatsRequest, Interface, Memory, SnatAddress, VerdictCount,
};
use serde::Serialize;

use super::{
    agent::Agent,
    error::Error,
    screen::{Column, Format, Screen},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show the verdicts no packet has met and the events that never happened, too; json and yaml always do.
    #[arg(long)]
    all: bool,
    /// How to write them.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Stats {
    verdicts: Vec<Verdict>,
    events: Vec<Event>,
    tables: Vec<TableUse>,
    snat_addresses: Vec<PortUse>,
    interfaces: Vec<Attachment>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    packets: u64,
    meaning: String,
}

#[derive(Debug, Serialize)]
struct Event {
    name: String,
    count: u64,
    meaning: String,
}

/// A table of the datapath: entries, and what all of it takes.
#[derive(Debug, Serialize)]
struct TableUse {
    name: String,
    capacity: u64,
    used: u64,
    bytes: u64,
}

/// A source address of `nat`: the ports that connections may have, and have.
#[derive(Debug, Serialize)]
struct PortUse {
    address: String,
    ports: u32,
    used: u32,
}

#[derive(Debug, Serialize)]
struct Attachment {
    name: String,
    xdp_mode: String,
}

/// Shows the counters of verdicts and events, the tables and the interfaces.
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
    for further in [
        event_rows(&stats.events, all),
        stats.tables.iter().map(TableUse::columns).collect(),
        stats.snat_addresses.iter().map(PortUse::columns).collect(),
    ] {
        if !further.is_empty() {
            screen.line("")?;
            screen.table(&further, false)?;
        }
    }
    screen.line("")?;
    if interfaces.is_empty() {
        screen.line("attached to no interface")?;
    }
    screen.table(&interfaces, false)
}

/// The rows of the events that happened, or of all.
fn event_rows(events: &[Event], all: bool) -> Vec<Vec<Column>> {
    let shown = events.iter().filter(|event| all || event.count > 0);
    let row = |Event { name, count, meaning }: &Event| {
        vec![Column::new("EVENT", name), Column::new("COUNT", count), Column::new("MEANING", meaning)]
    };
    shown.map(row).collect()
}

impl PortUse {
    /// The row of an address.
    fn columns(&self) -> Vec<Column> {
        let Self { address, ports, used } = self;
        let percent = u64::from(*used) * 100 / u64::from(*ports).max(1);
        vec![
            Column::new("SNAT ADDRESS", address),
            Column::new("USED", used),
            Column::new("PORTS", ports),
            Column::new("FULL", format!("{percent}%")),
        ]
    }
}

impl TableUse {
    /// The row of a table.
    fn columns(&self) -> Vec<Column> {
        let Self { name, capacity, used, bytes } = self;
        let percent = used.saturating_mul(100).checked_div(*capacity).unwrap_or(0);
        vec![
            Column::new("TABLE", name),
            Column::new("USED", used),
            Column::new("CAPACITY", capacity),
            Column::new("FULL", format!("{percent}%")),
            Column::new("MEMORY", format!("{} KiB", bytes.div_ceil(1024))),
        ]
    }
}

impl From<DatapathStats> for Stats {
    fn from(wire: DatapathStats) -> Self {
        let DatapathStats { verdicts, interfaces, events, tables, snat_addresses } = wire;
        let verdict = |VerdictCount { name, packets, meaning }| Verdict { name, packets, meaning };
        let event = |EventCount { name, count, meaning }| Event { name, count, meaning };
        let table = |Memory { name, capacity, used, bytes }| TableUse { name, capacity, used, bytes };
        let port_use = |SnatAddress { address, ports, used }| PortUse { address, ports, used };
        let attachment = |Interface { name, xdp_mode }| Attachment { name, xdp_mode };
        Self {
            verdicts: verdicts.into_iter().map(verdict).collect(),
            events: events.into_iter().map(event).collect(),
            tables: tables.into_iter().map(table).collect(),
            snat_addresses: snat_addresses.into_iter().map(port_use).collect(),
            interfaces: interfaces.into_iter().map(attachment).collect(),
        }
    }
}
