//! What the agent must remember over restarts, though nobody configured it: which ids it gave, what drains
//! until when.

use std::{collections::BTreeMap, marker::PhantomData};

use redb::{ReadableDatabase as _, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Store, StoreError,
    error::Failure,
    rows::{self, Definition},
};

/// Names a table and says what is in it. A name must be used with one pair of types only.
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// The table called `name`.
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    fn definition(&self) -> Definition {
        TableDefinition::new(self.name)
    }
}

// Derived, these would ask the same of `K` and `V`.
impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl Store {
    /// Everything in a table.
    ///
    /// # Errors
    /// The disk failed, or a row makes no sense.
    pub fn load<K, V>(&self, table: Table<K, V>) -> Result<BTreeMap<K, V>, StoreError>
    where
        K: DeserializeOwned + Ord,
        V: DeserializeOwned,
    {
        let parse_key = |key: &str| serde_json::from_str(key).map_err(|cause| cause.to_string());
        let load = || {
            let read = self.shared.database.begin_read()?;
            rows::read_table(&read, table.name, table.definition(), parse_key)
        };
        load().map_err(|failure: Failure| failure.at(&self.shared.path))
    }

    /// Writes `puts` and removes `removals`, all or nothing; on disk when this returns.
    ///
    /// # Errors
    /// The disk failed.
    pub fn save<K, V>(
        &self,
        table: Table<K, V>,
        puts: impl IntoIterator<Item = (K, V)>,
        removals: impl IntoIterator<Item = K>,
    ) -> Result<(), StoreError>
    where
        K: Serialize,
        V: Serialize,
    {
        let save = || {
            let key_of = |key: &K| {
                let row = |cause: serde_json::Error| Failure::Row {
                    table: table.name,
                    key: "(new)".to_owned(),
                    cause: cause.to_string(),
                };
                serde_json::to_string(key).map_err(row)
            };
            let write = rows::begin(&self.shared.database)?;
            {
                let mut rows = write.open_table(table.definition())?;
                for key in removals {
                    rows.remove(&*key_of(&key)?)?;
                }
                for (key, value) in puts {
                    let key = key_of(&key)?;
                    rows.insert(&*key, &*rows::to_json(table.name, &key, &value)?)?;
                }
            }
            write.commit().map_err(Failure::from)
        };
        save().map_err(|failure| failure.at(&self.shared.path))
    }
}
