//! Wire to model and back; the wire's types go no further than here.
//!
//! Messages are taken apart completely, so that a new field of the wire breaks the build until it is dealt
//! with.

mod backend_service;
mod enums;
mod health_check;
pub(super) mod invalid;
mod listener;
mod load_balancer;
mod meta;
mod security_group;
mod server_group;
mod status;

use nlb_proto::v1 as wire;
use prost_types::FieldMask;

pub(super) use self::{
    enums::WireEnum,
    invalid::Invalid,
    status::{backend, event, interface, persistence, snat, table, verdict},
};
use crate::model::{AnyDraft, Draft, Name, Resource, Stored};

/// A resource as a message.
pub(super) trait Wire: Clone + Send + Sync + 'static {
    /// What it is in the model.
    type Model: Resource;
    /// The fields that an update mask may name.
    const FIELDS: &'static [&'static str];

    /// The name it claims.
    fn name(&self) -> &str;

    /// The revision that an update insists on; 0: none.
    fn revision(&self) -> u64;

    /// Checks everything that can be told from the message alone.
    fn into_draft(self) -> Result<Draft<Self::Model>, Invalid>;

    /// The message that shows a stored resource.
    fn from_stored(name: &Name, stored: &Stored<Self::Model>) -> Self;

    /// Takes over one of [`Self::FIELDS`].
    fn take_field(&mut self, from: &Self, field: &str);
}

/// Takes over the fields that `mask` names; all of them if there is no mask.
pub(super) fn masked<W: Wire>(mut current: W, update: W, mask: Option<&FieldMask>) -> Result<W, Invalid> {
    let Some(FieldMask { paths }) = mask.filter(|mask| !mask.paths.is_empty()) else { return Ok(update) };
    for path in paths {
        match W::FIELDS.iter().find(|field| **field == path) {
            Some(field) => current.take_field(&update, field),
            None if path == "*" => return Ok(update),
            None => return Err(Invalid::MaskPath { path: path.clone(), allowed: W::FIELDS.join(", ") }),
        }
    }
    Ok(current)
}

/// Implements the part of [`Wire`] that is about masks, from the fields that a mask may name.
macro_rules! mask {
    ($($field:ident $(= $path:literal)?),+ $(,)?) => {
        const FIELDS: &'static [&'static str] = &[$(mask!(@path $field $($path)?)),+];

        fn take_field(&mut self, from: &Self, field: &str) {
            match field {
                $(mask!(@path $field $($path)?) => self.$field.clone_from(&from.$field),)+
                _ => {}
            }
        }
    };
    (@path $field:ident) => { stringify!($field) };
    (@path $field:ident $path:literal) => { $path };
}
pub(super) use mask;

/// A resource of any kind; `index` is its place in the request.
pub(super) fn any_draft(resource: wire::Resource, index: usize) -> Result<AnyDraft, Invalid> {
    use wire::resource::Resource as R;
    let place = format!("resources[{index}]");
    let draft = match resource.resource {
        None => return Err(Invalid::Missing { field: place }),
        Some(R::SecurityGroup(message)) => message.into_draft().map(AnyDraft::SecurityGroup),
        Some(R::LoadBalancer(message)) => message.into_draft().map(AnyDraft::LoadBalancer),
        Some(R::ServerGroup(message)) => message.into_draft().map(AnyDraft::ServerGroup),
        Some(R::BackendService(message)) => message.into_draft().map(AnyDraft::BackendService),
        Some(R::Listener(message)) => message.into_draft().map(AnyDraft::Listener),
    };
    draft.map_err(|invalid| invalid.within(&place))
}

#[cfg(test)]
mod tests;
