//! What the services that show and change the desired state have in common.

use std::time::Duration;

use prost_types::FieldMask;

use super::{
    convert::{self, Invalid, Wire, invalid::required},
    error::ApiError,
};
use crate::{
    model::{Name, Now, Referrers, Resource as _, State},
    reconcile::Handle,
    store::Store,
};
use nlb_proto::v1 as wire;

/// How long a request waits for the datapath to hold what it changed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The desired state, and those who bring the datapath to it.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub(super) store: Store,
    pub(super) reconciler: Handle,
}

impl Desired {
    pub(super) async fn create<W: Wire>(&self, message: Option<W>, field: &str) -> Result<W, ApiError> {
        let draft = message.ok_or_else(|| Invalid::Missing { field: field.to_owned() })?.into_draft()?;
        self.commit(move |state, now| {
            let name = draft.name.clone();
            state.create(draft, now)?;
            show::<W>(state, &name)
        })
        .await
    }

    pub(super) fn get<W: Wire>(&self, wire::GetRequest { name }: &wire::GetRequest) -> Result<W, ApiError> {
        show(&self.store.snapshot().1, &required("name", name)?)
    }

    pub(super) fn list<W: Wire>(&self) -> Vec<W> {
        let state = self.store.snapshot().1;
        W::Model::all(&state).iter().map(|(name, stored)| W::from_stored(name, stored)).collect()
    }

    pub(super) async fn update<W: Wire>(
        &self,
        message: Option<W>,
        mask: Option<FieldMask>,
        field: &str,
    ) -> Result<W, ApiError> {
        let message = message.ok_or_else(|| Invalid::Missing { field: field.to_owned() })?;
        let name: Name = required("name", message.name())?;
        self.commit(move |state, now| {
            let expected = unless_zero(message.revision());
            let draft = convert::masked(show::<W>(state, &name)?, message, mask.as_ref())?.into_draft()?;
            state.update(draft, expected, now)?;
            show::<W>(state, &name)
        })
        .await
    }

    pub(super) async fn delete<W: Wire>(
        &self,
        request: wire::DeleteRequest,
    ) -> Result<wire::DeleteResponse, ApiError> {
        let wire::DeleteRequest { name, revision, cascade } = request;
        let name = required("name", &name)?;
        let referrers = if cascade { Referrers::Cascade } else { Referrers::Refuse };
        self.commit(move |state, _now| {
            let deleted = state.delete::<W::Model>(&name, unless_zero(revision), referrers)?;
            let deleted = deleted.iter().map(|(kind, name)| format!("{}/{name}", kind.slug()));
            Ok(wire::DeleteResponse { deleted: deleted.collect() })
        })
        .await
    }

    /// Stores a change and waits for the datapath to hold it.
    pub(super) async fn commit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut State, Now) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.write(move |store| Ok(store.commit(change)?)).await
    }

    /// Lets `write` block on the disk, and waits for the datapath to hold the revision it answers.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Store) -> Result<(T, u64), ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.store.clone();
        // Once begun, it runs to its end even if the client goes away.
        let written = tokio::task::spawn_blocking(move || write(&store)).await;
        let (answer, revision) = written.map_err(|_| ApiError::ShuttingDown)??;
        self.reconciler.applied(revision, PATIENCE).await?;
        Ok(answer)
    }
}

/// A stored resource as a message.
fn show<W: Wire>(state: &State, name: &Name) -> Result<W, ApiError> {
    Ok(W::from_stored(name, state.get(name)?))
}

/// 0 on the wire says that any revision will do.
fn unless_zero(revision: u64) -> Option<u64> {
    (revision != 0).then_some(revision)
}
