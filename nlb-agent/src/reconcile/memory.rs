//! What the reconciler remembers over restarts, although nobody configured it.

use std::collections::BTreeMap;

use crate::{drain::Drain, health::Health, model::BackendKey, store::memory::Table};

/// Numbers of datapath entries, by kind and name.
pub(super) const IDS: Table<String, u32> = Table::new("memory.ids");
/// Backends that are leaving.
pub(super) const DRAINS: Table<BackendKey, Drain> = Table::new("memory.drains");
/// Listeners that left: number, when, and until when.
pub(super) const LISTENER_DRAINS: Table<u32, (u64, u64)> = Table::new("memory.listener_drains");
/// What probes said last.
pub(super) const HEALTH: Table<BackendKey, Health> = Table::new("memory.health");

/// What changed between two states of a memory: entries to put, keys to remove.
pub(super) fn difference<K: Ord + Clone, V: PartialEq + Clone>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> (Vec<(K, V)>, Vec<K>) {
    let puts = new.iter().filter(|(key, value)| old.get(key) != Some(value));
    let removals = old.keys().filter(|key| !new.contains_key(key));
    (puts.map(|(key, value)| (key.clone(), value.clone())).collect(), removals.cloned().collect())
}
