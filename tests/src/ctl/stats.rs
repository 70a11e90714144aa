//! What `nlbctl stats` shows.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Counters and tables of the datapath, by name; those that are 0, too.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// How many packets met each verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// How often each event happened.
    pub events: BTreeMap<String, u64>,
    /// How many entries of each table are used.
    pub tables: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Printed {
    verdicts: Vec<Verdict>,
    events: Vec<Event>,
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Verdict {
    name: String,
    packets: u64,
}

#[derive(Deserialize)]
struct Event {
    name: String,
    count: u64,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    used: u64,
}

impl Stats {
    pub(super) fn parse(json: &str) -> serde_json::Result<Self> {
        let Printed { verdicts, events, tables } = serde_json::from_str(json)?;
        Ok(Self {
            verdicts: verdicts.into_iter().map(|Verdict { name, packets }| (name, packets)).collect(),
            events: events.into_iter().map(|Event { name, count }| (name, count)).collect(),
            tables: tables.into_iter().map(|Table { name, used }| (name, used)).collect(),
        })
    }

    /// The packets that met a verdict.
    ///
    /// # Panics
    /// There is no such verdict.
    pub fn verdict(&self, name: &str) -> u64 {
        self.verdicts[name]
    }

    /// How often an event happened.
    ///
    /// # Panics
    /// There is no such event.
    pub fn event(&self, name: &str) -> u64 {
        self.events[name]
    }

    /// The used entries of a table.
    ///
    /// # Panics
    /// There is no such table.
    pub fn table(&self, name: &str) -> u64 {
        self.tables[name]
    }

    /// What was counted since `earlier`; tables are as they are now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let less = |(name, count): (&String, &u64)| {
                (name.clone(), count - before.get(name).copied().unwrap_or_default())
            };
            now.iter().map(less).collect()
        };
        Self {
            verdicts: difference(&self.verdicts, &earlier.verdicts),
            events: difference(&self.events, &earlier.events),
            tables: self.tables.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stats;

    #[test]
    fn what_was_counted_since_is_the_difference_and_tables_are_as_they_are() {
        let stats = |packets: u64, used: u64| {
            let json = format!(
                r#"{{"verdicts": [{{"name": "FORWARD", "packets": {packets}, "meaning": ""}}],
                     "events": [{{"name": "FLOW_EVICTED", "count": 2, "meaning": ""}}],
                     "tables": [{{"name": "FLOWS", "capacity": 8, "used": {used}, "bytes": 64}}], "interfaces": []}}"#
            );
            Stats::parse(&json).unwrap()
        };
        let between = stats(9, 4).since(&stats(5, 3));
        assert_eq!(
            (between.verdict("FORWARD"), between.event("FLOW_EVICTED"), between.table("FLOWS")),
            (4, 0, 4)
        );
    }
}
