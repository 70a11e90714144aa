//! The operations on [`State`]. Each answers for the resource it names; what binds several resources is
//! checked by [`State::check`] when a transaction is complete, so that the order of its operations is free.

use super::{
    AnyDraft, BackendService, Draft, Kind, Listener, LoadBalancer, Meta, Name, Resource, Rule, SecurityGroup,
    ServerGroup, State, Stored,
};

/// What an operation knows of the world outside.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Makes an id that was never used before.
    pub new_id: fn() -> String,
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is a new resource.
    Created,
    /// The resource is another now.
    Updated,
    /// The resource was as described already.
    Unchanged,
}

/// What becomes of the resources that refer to a deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// They stand in the way.
    Refuse,
    /// They are deleted as well.
    Cascade,
}

impl State {
    /// The resource called `name`.
    ///
    /// # Errors
    /// [`Rule::NotFound`].
    pub fn get<R: Resource>(&self, name: &Name) -> Result<&Stored<R>, Rule> {
        R::all(self).get(name).ok_or_else(|| Rule::NotFound { kind: R::KIND, name: name.clone() })
    }

    /// Adds a resource.
    ///
    /// # Errors
    /// [`Rule::AlreadyExists`].
    pub fn create<R: Resource>(&mut self, draft: Draft<R>, now: Now) -> Result<(), Rule> {
        let Draft { name, description, labels, mut spec } = draft;
        spec.settle(None);
        if R::all(self).contains_key(&name) {
            return Err(Rule::AlreadyExists { kind: R::KIND, name });
        }
        let Now { unix_ms, new_id } = now;
        let meta =
            Meta { description, labels, id: new_id(), created_at: unix_ms, updated_at: unix_ms, revision: 1 };
        R::all_mut(self).insert(name, Stored { spec, meta });
        Ok(())
    }

    /// Replaces a resource; with `expected`, only if it has that revision.
    ///
    /// # Errors
    /// [`Rule::NotFound`], [`Rule::RevisionMoved`], [`Rule::Immutable`].
    pub fn update<R: Resource>(
        &mut self,
        draft: Draft<R>,
        expected: Option<u64>,
        now: Now,
    ) -> Result<Change, Rule> {
        let Draft { name, description, labels, mut spec } = draft;
        let old = self.get::<R>(&name)?;
        check_revision(R::KIND, &name, &old.meta, expected)?;
        check_immutable(&name, &old.spec, &spec)?;
        spec.settle(Some(&old.spec));

        let meta = Meta { description, labels, ..old.meta.clone() };
        let mut new = Stored { spec, meta };
        if new == *old {
            return Ok(Change::Unchanged);
        }
        new.meta.updated_at = now.unix_ms;
        new.meta.revision += 1;
        R::all_mut(self).insert(name, new);
        Ok(Change::Updated)
    }

    /// Adds a resource or replaces the one of that name.
    ///
    /// # Errors
    /// [`Rule::Immutable`].
    pub fn upsert<R: Resource>(&mut self, draft: Draft<R>, now: Now) -> Result<Change, Rule> {
        if R::all(self).contains_key(&draft.name) {
            self.update(draft, None, now)
        } else {
            self.create(draft, now).map(|()| Change::Created)
        }
    }

    /// [`State::upsert`] of whatever kind.
    ///
    /// # Errors
    /// [`Rule::Immutable`].
    pub fn upsert_any(&mut self, draft: AnyDraft, now: Now) -> Result<Change, Rule> {
        match draft {
            AnyDraft::SecurityGroup(draft) => self.upsert(draft, now),
            AnyDraft::LoadBalancer(draft) => self.upsert(draft, now),
            AnyDraft::ServerGroup(draft) => self.upsert(draft, now),
            AnyDraft::BackendService(draft) => self.upsert(draft, now),
            AnyDraft::Listener(draft) => self.upsert(draft, now),
        }
    }

    /// Removes a resource; with `expected`, only if it has that revision. Answers what is gone, in that
    /// order.
    ///
    /// # Errors
    /// [`Rule::NotFound`], [`Rule::RevisionMoved`], [`Rule::DeleteProtected`], [`Rule::InUse`]; then nothing
    /// is gone.
    pub fn delete<R: Resource>(
        &mut self,
        name: &Name,
        expected: Option<u64>,
        referrers: Referrers,
    ) -> Result<Vec<(Kind, Name)>, Rule> {
        let stored = self.get::<R>(name)?;
        check_revision(R::KIND, name, &stored.meta, expected)?;
        let blocking = self.referrers(R::KIND, name);
        let is_in_use = referrers == Referrers::Refuse && !blocking.is_empty();
        if R::KIND == Kind::LoadBalancer || !is_in_use {
            self.check_protection(R::KIND, name)?;
        }
        if is_in_use {
            return Err(Rule::InUse { kind: R::KIND, name: name.clone(), referrers: blocking });
        }
        let mut deleted = Vec::new();
        self.remove((R::KIND, name.clone()), &mut deleted);
        Ok(deleted)
    }

    /// A load balancer may be protected against deletion, also against that of a security group with all that names it.
    fn check_protection(&self, kind: Kind, name: &Name) -> Result<(), Rule> {
        if kind == Kind::SecurityGroup {
            return self
                .referrers(kind, name)
                .iter()
                .try_for_each(|(kind, name)| self.check_protection(*kind, name));
        }
        let protected = kind == Kind::LoadBalancer
            && self.load_balancers.get(name).is_some_and(|lb| lb.spec.delete_protection);
        if protected { Err(Rule::DeleteProtected { name: name.clone() }) } else { Ok(()) }
    }

    /// What refers to a resource directly.
    fn referrers(&self, kind: Kind, name: &Name) -> Vec<(Kind, Name)> {
        let listeners = |refers: fn(&Listener) -> &Name| {
            let all = self.listeners.iter().filter(|(_, listener)| refers(&listener.spec) == name);
            all.map(|(listener, _)| (Kind::Listener, listener.clone())).collect()
        };
        match kind {
            Kind::LoadBalancer => listeners(|listener| &listener.load_balancer),
            Kind::BackendService => listeners(|listener| &listener.backend_service),
            Kind::ServerGroup => {
                let all = self.backend_services.iter().filter(|(_, bs)| bs.spec.server_groups.contains(name));
                all.map(|(service, _)| (Kind::BackendService, service.clone())).collect()
            }
            Kind::SecurityGroup => {
                let all = self.load_balancers.iter().filter(|(_, lb)| lb.spec.security_groups.contains(name));
                all.map(|(balancer, _)| (Kind::LoadBalancer, balancer.clone())).collect()
            }
            Kind::Listener => Vec::new(),
        }
    }

    /// Removes a resource after all that refers to it.
    fn remove(&mut self, (kind, name): (Kind, Name), deleted: &mut Vec<(Kind, Name)>) {
        for referrer in self.referrers(kind, &name) {
            self.remove(referrer, deleted);
        }
        match kind {
            Kind::SecurityGroup => drop(SecurityGroup::all_mut(self).remove(&name)),
            Kind::LoadBalancer => drop(LoadBalancer::all_mut(self).remove(&name)),
            Kind::ServerGroup => drop(ServerGroup::all_mut(self).remove(&name)),
            Kind::BackendService => drop(BackendService::all_mut(self).remove(&name)),
            Kind::Listener => drop(Listener::all_mut(self).remove(&name)),
        }
        deleted.push((kind, name));
    }
}

fn check_revision(kind: Kind, name: &Name, meta: &Meta, expected: Option<u64>) -> Result<(), Rule> {
    match expected {
        Some(expected) if expected != meta.revision => {
            Err(Rule::RevisionMoved { kind, name: name.clone(), expected, actual: meta.revision })
        }
        _ => Ok(()),
    }
}

fn check_immutable<R: Resource>(name: &Name, old: &R, new: &R) -> Result<(), Rule> {
    let mut fields = old.immutable_fields().into_iter().zip(new.immutable_fields());
    match fields.find(|((_, from), (_, to))| from != to) {
        Some(((field, from), (_, to))) => {
            Err(Rule::Immutable { kind: R::KIND, name: name.clone(), field, from, to })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
