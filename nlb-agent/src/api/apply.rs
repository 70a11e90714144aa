//! Several resources in one transaction: the way of manifests, at start and over the API.

use std::collections::BTreeMap;

use crate::{
    config::manifest::Manifest,
    model::{Change, Kind, Name, Rule},
    store::{CommitError, Store, StoreError},
};

/// What became of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedChange {
    /// The resource's kind.
    pub kind: Kind,
    /// The resource's name.
    pub name: Name,
    /// What was done.
    pub change: Change,
}

/// Nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A resource breaks a rule.
    #[error("{}{rule}", origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default())]
    Rule {
        /// Where the resource is described, if it is part of the request.
        origin: Option<String>,
        /// The rule.
        rule: Rule,
    },
    /// It is not clear which description should hold.
    #[error("{second}: {kind} {name} is described at {first} already")]
    Twice {
        /// The resource's kind.
        kind: Kind,
        /// The resource's name.
        name: Name,
        /// Where it is described.
        first: String,
        /// Where it is described again.
        second: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Store(StoreError),
}

/// Creates or replaces all resources described, or none; in which order they are described does not matter.
///
/// Answers what became of each, in the order of `manifests`, and the revision that holds them.
///
/// # Errors
/// A resource is described twice or breaks a rule, or the disk failed.
pub fn apply(store: &Store, manifests: Vec<Manifest>) -> Result<(Vec<AppliedChange>, u64), ApplyError> {
    let mut origins = BTreeMap::new();
    for Manifest { origin, draft } in &manifests {
        let (kind, name) = draft.key();
        if let Some(first) = origins.insert((kind, name.clone()), origin.clone()) {
            return Err(ApplyError::Twice { kind, name: name.clone(), first, second: origin.clone() });
        }
    }
    let committed = store.commit(|state, now| {
        let changes = manifests.into_iter().map(|Manifest { origin: _, draft }| {
            let (kind, name) = draft.key();
            let name = name.clone();
            state.upsert_any(draft, now).map(|change| AppliedChange { kind, name, change })
        });
        changes.collect::<Result<Vec<_>, Rule>>()
    });
    committed.map_err(|error| match error {
        CommitError::Store(cause) => ApplyError::Store(cause),
        CommitError::Refused(rule) => {
            let (kind, name) = rule.subject();
            let origin = origins.remove(&(kind, name.clone()));
            ApplyError::Rule { origin, rule }
        }
    })
}
