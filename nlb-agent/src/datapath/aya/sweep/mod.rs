//! The sweeper: walks the tables in the agent's memory, without system calls, and ends what is over.

mod conns;
#[cfg(test)]
mod crash;
mod end;
mod flows;
mod persistence;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use nlb_common::{
    abi::{
        backend,
        listener::{Listener, acl_of},
    },
    ticks::Ticks,
};

pub(super) use self::{
    conns::{Reserved, Tables},
    end::Ends,
    flows::FlowTable,
    persistence::{Found, Persistence},
};
use super::tables::Maps;
use crate::datapath::{Acl, AclId, DatapathError, ServiceId};

/// What entries are judged by, as it was when the sweep began.
pub(super) struct Judge<'a> {
    pub(super) now: Ticks,
    listeners: Vec<Listener>,
    /// The state of each backend that has been in use.
    backends: Vec<u32>,
    /// How long clients stay with their servers, by service.
    persistence: Vec<Ticks>,
    /// The access lists, if some connection's client may be denied lately.
    acls: Option<&'a BTreeMap<AclId, Arc<Acl>>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        maps: &Maps,
        now: Ticks,
        acls: Option<&'a BTreeMap<AclId, Arc<Acl>>>,
    ) -> Result<Self, DatapathError> {
        let mut listeners = Vec::new();
        for index in 0..maps.listeners.len() {
            listeners.push(maps.listeners.read(index)?);
        }
        let mut backends = Vec::new();
        for index in 0..maps.backends.len() {
            let entry = maps.backends.at(index)?;
            // SAFETY: aligned words of a mapped array.
            let (state, deadline) = unsafe {
                ((&raw const (*entry).state).read_volatile(), (&raw const (*entry).deadline).read_volatile())
            };
            backends.push(backend::state::at(state, deadline, now));
        }
        let mut persistence = Vec::new();
        for index in 0..maps.services.len() {
            persistence.push(Ticks(maps.services.read(index)?.persistence));
        }
        Ok(Self { now, listeners, backends, persistence, acls })
    }

    /// The listener of a number; a default one if there is none.
    fn listener(&self, number: u32) -> Listener {
        self.listeners.get(number as usize).copied().unwrap_or_default()
    }

    /// The state of a backend.
    fn backend(&self, number: u32) -> u32 {
        self.backends.get(number as usize).copied().unwrap_or(backend::state::FREE)
    }

    fn is_serving(&self, number: u32) -> bool {
        self.backend(number) == backend::state::SERVING
    }

    /// Whether the client of a listener's connection may not use it any more.
    fn is_denied(&self, listener: u32, client: impl Fn() -> IpAddr) -> bool {
        let acl = acl_of(self.listener(listener).tracking);
        match self.acls {
            Some(acls) if acl != 0 => acls.get(&AclId(acl)).is_some_and(|acl| !acl.allows(client())),
            _ => false,
        }
    }

    /// How long clients stay with their servers.
    fn persistence(&self, service: ServiceId) -> Ticks {
        self.persistence.get(service.0 as usize).copied().unwrap_or_default()
    }
}
