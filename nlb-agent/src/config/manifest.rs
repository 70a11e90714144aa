//! Manifests: YAML documents, each a resource with its kind and the fields of its spec side by side.

mod flat;

use serde::{Deserialize, Deserializer, de};

use self::flat::Flat;
use super::yaml::{self, Located};
use crate::model::{AnyDraft, Draft, Kind, Resource};

/// What is wrong in a manifest, and where.
pub type ManifestError = Located;

/// A resource, and where it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The place, for errors: `shop.yaml:12`.
    pub origin: String,
    /// The resource.
    pub draft: AnyDraft,
}

/// Reads all documents of a file; empty ones are skipped.
///
/// # Errors
/// The first thing that is wrong: file, line, field, value, and what is allowed.
pub fn parse(file_name: &str, yaml: &str) -> Result<Vec<Manifest>, ManifestError> {
    let documents = || serde_yaml::Deserializer::from_str(yaml);
    let mut manifests = Vec::new();
    // A document's kind decides how it is read, and may stand anywhere in it, so each is read more than once.
    for ((first, second), document) in documents().zip(documents()).zip(documents()) {
        let Some(Head { kind }) = yaml::document(file_name, first)? else { continue };
        let draft = match kind {
            Kind::SecurityGroup => AnyDraft::SecurityGroup(read(file_name, document)?),
            Kind::LoadBalancer => AnyDraft::LoadBalancer(read(file_name, document)?),
            Kind::ServerGroup => AnyDraft::ServerGroup(read(file_name, document)?),
            Kind::BackendService => AnyDraft::BackendService(read(file_name, document)?),
            Kind::Listener => AnyDraft::Listener(read(file_name, document)?),
        };
        let origin = line(second).map_or_else(|| file_name.to_owned(), |line| format!("{file_name}:{line}"));
        manifests.push(Manifest { origin, draft });
    }
    Ok(manifests)
}

/// What is looked at first.
#[derive(Deserialize)]
#[serde(expecting = "a mapping of fields")]
struct Head {
    kind: Kind,
}

fn read<R: Resource>(
    file_name: &str,
    document: serde_yaml::Deserializer<'_>,
) -> Result<Draft<R>, ManifestError> {
    yaml::document(file_name, document).map(|Flat(draft)| draft)
}

/// The line a document begins at. The library tells places with errors only, so this makes one.
fn line(document: serde_yaml::Deserializer<'_>) -> Option<usize> {
    /// Refuses everything.
    struct Nothing;

    impl de::Visitor<'_> for Nothing {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("nothing")
        }
    }

    document.deserialize_any(Nothing).err()?.location().map(|place| place.line())
}

#[cfg(test)]
mod tests;
