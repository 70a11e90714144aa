//! How states lie in the database: a table per kind, name to JSON, and a table of numbers about the whole.

use std::{collections::BTreeMap, str::FromStr};

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    TableError, WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};

use super::error::Failure;
use crate::model::{
    BackendService, Kind, Listener, LoadBalancer, Name, Resource, SecurityGroup, ServerGroup, State, Stored,
};

/// Keys are names or JSON; values are JSON: readable, and open to new fields.
pub(super) type Definition = TableDefinition<'static, &'static str, &'static [u8]>;

const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
/// Key in [`META`]: how the rest is to be read.
const FORMAT: &str = "format";
/// Key in [`META`]: the revision of the state.
const REVISION: &str = "revision";
/// The newest format that this agent reads, and the one it writes.
const KNOWN_FORMAT: u64 = 1;

/// Where the resources of a kind lie.
fn table(kind: Kind) -> (&'static str, Definition) {
    let name = match kind {
        Kind::SecurityGroup => "security_groups",
        Kind::LoadBalancer => "load_balancers",
        Kind::ServerGroup => "server_groups",
        Kind::BackendService => "backend_services",
        Kind::Listener => "listeners",
    };
    (name, TableDefinition::new(name))
}

/// Reads the state and its revision; marks a new database with the format.
pub(super) fn open(database: &Database) -> Result<(u64, State), Failure> {
    let read = database.begin_read()?;
    let (format, revision) = match read.open_table(META) {
        Ok(meta) => {
            let number = |key| meta.get(key).map(|value| value.map(|value| value.value()));
            (number(FORMAT)?, number(REVISION)?.unwrap_or(0))
        }
        Err(TableError::TableDoesNotExist(_)) => (None, 0),
        Err(cause) => return Err(cause.into()),
    };
    match format {
        Some(KNOWN_FORMAT) => {}
        Some(found) => return Err(Failure::TooNew { found, known: KNOWN_FORMAT }),
        None => {
            let write = begin(database)?;
            write.open_table(META)?.insert(FORMAT, KNOWN_FORMAT)?;
            write.commit()?;
        }
    }
    let state = State {
        security_groups: read_kind::<SecurityGroup>(&read)?,
        load_balancers: read_kind::<LoadBalancer>(&read)?,
        server_groups: read_kind::<ServerGroup>(&read)?,
        backend_services: read_kind::<BackendService>(&read)?,
        listeners: read_kind::<Listener>(&read)?,
    };
    Ok((revision, state))
}

fn read_kind<R: Resource>(read: &ReadTransaction) -> Result<BTreeMap<Name, Stored<R>>, Failure> {
    let (name, definition) = table(R::KIND);
    read_table(read, name, definition, |key| Name::from_str(key).map_err(|cause| cause.to_string()))
}

/// Reads all of a table; one that was never written is empty.
pub(super) fn read_table<K: Ord, V: DeserializeOwned>(
    read: &ReadTransaction,
    name: &'static str,
    definition: Definition,
    parse_key: impl Fn(&str) -> Result<K, String>,
) -> Result<BTreeMap<K, V>, Failure> {
    let rows = match read.open_table(definition) {
        Ok(rows) => rows,
        Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        Err(cause) => return Err(cause.into()),
    };
    let mut found = BTreeMap::new();
    for row in rows.iter()? {
        let (key, value) = row?;
        let bad_row = |cause| Failure::Row { table: name, key: key.value().to_owned(), cause };
        let value = serde_json::from_slice(value.value()).map_err(|cause| bad_row(cause.to_string()))?;
        found.insert(parse_key(key.value()).map_err(bad_row)?, value);
    }
    Ok(found)
}

/// Writes what differs between two states.
pub(super) fn write(database: &Database, old: &State, new: &State, revision: u64) -> Result<(), Failure> {
    let write = begin(database)?;
    write_kind::<SecurityGroup>(&write, old, new)?;
    write_kind::<LoadBalancer>(&write, old, new)?;
    write_kind::<ServerGroup>(&write, old, new)?;
    write_kind::<BackendService>(&write, old, new)?;
    write_kind::<Listener>(&write, old, new)?;
    write.open_table(META)?.insert(REVISION, revision)?;
    Ok(write.commit()?)
}

fn write_kind<R: Resource>(write: &WriteTransaction, old: &State, new: &State) -> Result<(), Failure> {
    let (old, new) = (R::all(old), R::all(new));
    let (name, definition) = table(R::KIND);
    let mut rows = write.open_table(definition)?;
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        rows.remove(key.as_str())?;
    }
    for (key, value) in new.iter().filter(|(key, value)| old.get(*key) != Some(*value)) {
        rows.insert(key.as_str(), &*to_json(name, key.as_str(), value)?)?;
    }
    Ok(())
}

/// A transaction that is on disk once it is committed.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Failure> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

/// The JSON of a key or value.
pub(super) fn to_json(table: &'static str, key: &str, value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|cause| Failure::Row {
        table,
        key: key.to_owned(),
        cause: cause.to_string(),
    })
}
