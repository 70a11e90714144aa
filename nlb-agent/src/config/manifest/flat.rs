//! Reads a mapping that holds the fields of a spec and those that every resource has, side by side.
//!
//! `#[serde(flatten)]` would read everything into a buffer first, and with it lose lines, paths and the
//! refusal of unknown fields. This hands the spec's fields on as they come, and keeps the others.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor},
    forward_to_deserialize_any,
};

use crate::model::{Description, Draft, Label, Name, Resource};

/// A draft that is written flat.
pub(super) struct Flat<R>(pub(super) Draft<R>);

impl<'de, R: Resource> Deserialize<'de> for Flat<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut header = Header::default();
        let spec = R::deserialize(Split { deserializer, header: &mut header })?;
        let Header { name, description, labels } = header;
        Ok(Self(Draft {
            name: name.ok_or_else(|| de::Error::missing_field("name"))?,
            description: description.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
            spec,
        }))
    }
}

/// The fields that an operator may set in every resource.
#[derive(Default)]
struct Header {
    name: Option<Name>,
    description: Option<Description>,
    labels: Option<BTreeMap<Label, Label>>,
}

/// The fields of every resource, for those who look for what is allowed.
const HEADER_FIELDS: [&str; 4] = ["kind", "name", "description", "labels"];
/// What the server sets: `get -o yaml` shows it, so it may come back, and counts for nothing.
const SERVER_SET: [&str; 4] = ["id", "created_at", "updated_at", "revision"];

impl Header {
    fn take<'de, A: MapAccess<'de>>(&mut self, field: &'static str, map: &mut A) -> Result<(), A::Error> {
        match field {
            "name" => set(&mut self.name, field, map),
            "description" => set(&mut self.description, field, map),
            "labels" => set(&mut self.labels, field, map),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

fn set<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    field: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    match slot.replace(map.next_value()?) {
        None => Ok(()),
        Some(_) => Err(de::Error::duplicate_field(field)),
    }
}

/// Deserialises a struct from what `deserializer` has, without the header.
struct Split<'a, D> {
    deserializer: D,
    header: &'a mut Header,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Split<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let Self { deserializer, header } = self;
        deserializer.deserialize_map(SplitVisitor { visitor, header, fields })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_struct("", &[], visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct SplitVisitor<'a, V> {
    visitor: V,
    header: &'a mut Header,
    fields: &'static [&'static str],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for SplitVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Self { visitor, header, fields } = self;
        let spec = visitor.visit_map(SplitMap { map, header: &mut *header, fields })?;
        // Here the line of the mapping is still known.
        if header.name.is_none() { Err(de::Error::missing_field("name")) } else { Ok(spec) }
    }
}

struct SplitMap<'a, A> {
    map: A,
    header: &'a mut Header,
    fields: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for SplitMap<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            let key = KeySeed { seed: &mut seed, fields: self.fields, value: PhantomData };
            match self.map.next_key_seed(key)? {
                None => return Ok(None),
                Some(Key::Spec(key)) => return Ok(Some(key)),
                Some(Key::Header(field)) => self.header.take(field, &mut self.map)?,
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

enum Key<K> {
    Header(&'static str),
    Spec(K),
}

/// Tells the header's keys from the spec's, of which it makes what the spec makes of them.
struct KeySeed<'a, 'de, K: DeserializeSeed<'de>> {
    seed: &'a mut Option<K>,
    fields: &'static [&'static str],
    value: PhantomData<&'de ()>,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<'_, 'de, K> {
    type Value = Key<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for KeySeed<'_, 'de, K> {
    type Value = Key<K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let Self { seed, fields, value: _ } = self;
        if let Some(field) = HEADER_FIELDS.iter().chain(&SERVER_SET).find(|field| **field == key) {
            return Ok(Key::Header(field));
        }
        match seed.take() {
            Some(seed) if fields.contains(&key) => seed.deserialize(key.into_deserializer()).map(Key::Spec),
            _ => {
                let allowed = HEADER_FIELDS.iter().chain(fields).copied().collect::<Vec<_>>().join(", ");
                Err(E::custom(format_args!("unknown field {key:?}: {allowed} are allowed")))
            }
        }
    }
}
