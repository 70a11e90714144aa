//! From what the datapath holds to what it shall hold: pure.
//!
//! Packets meet every state in between, so the order of the changes is part of the plan: what is named comes
//! before what names it, and goes after it; and a backend drains or expires only when nobody can pick it any more.

use std::collections::{BTreeMap, BTreeSet};

use crate::datapath::{BackendState, Image, Op};

/// The changes that lead from `applied` to `desired`.
pub fn plan(desired: &Image, applied: &Image) -> Vec<Op> {
    let mut ops = Vec::new();
    let Image { addresses, snats, acls, listeners, services, backends, egresses, interfaces } = desired;

    // What a failed write left behind, first, since it takes the room of what is to come.
    let named: BTreeSet<_> = applied.listeners.values().filter_map(|listener| listener.acl).collect();
    gone(acls, &applied.acls, |&id, acl| {
        if !named.contains(&id) {
            ops.push(Op::RemoveAcl(id, acl.clone()));
        }
    });
    changed(egresses, &applied.egresses, |&id, &egress| ops.push(Op::PutEgress(id, egress)));
    changed(interfaces, &applied.interfaces, |&index, &mac| ops.push(Op::PutInterface(index, mac)));
    changed(snats, &applied.snats, |&(family, slot), &snat| ops.push(Op::PutSnat(family, slot, snat)));
    changed(backends, &applied.backends, |&id, &backend| {
        if backend.state == BackendState::Serving {
            ops.push(Op::PutBackend(id, backend));
        }
    });
    changed(services, &applied.services, |&id, service| ops.push(Op::PutService(id, service.clone())));
    changed(acls, &applied.acls, |&id, acl| ops.push(Op::PutAcl(id, acl.clone())));
    changed(listeners, &applied.listeners, |&id, &listener| ops.push(Op::PutListener(id, listener)));
    changed(addresses, &applied.addresses, |&address, &local| ops.push(Op::PutAddress(address, local)));

    gone(addresses, &applied.addresses, |&address, _| ops.push(Op::RemoveAddress(address)));
    gone(listeners, &applied.listeners, |&id, &listener| ops.push(Op::RemoveListener(id, listener)));
    gone(acls, &applied.acls, |&id, acl| {
        if named.contains(&id) {
            ops.push(Op::RemoveAcl(id, acl.clone()));
        }
    });
    gone(services, &applied.services, |&id, _| ops.push(Op::RemoveService(id)));
    changed(backends, &applied.backends, |&id, &backend| {
        if backend.state != BackendState::Serving {
            ops.push(Op::PutBackend(id, backend));
        }
    });
    gone(backends, &applied.backends, |&id, _| ops.push(Op::RemoveBackend(id)));
    gone(snats, &applied.snats, |&(family, slot), _| ops.push(Op::RemoveSnat(family, slot)));
    gone(egresses, &applied.egresses, |&id, _| ops.push(Op::RemoveEgress(id)));
    gone(interfaces, &applied.interfaces, |&index, _| ops.push(Op::RemoveInterface(index)));
    ops
}

fn changed<K: Ord, V: PartialEq>(
    desired: &BTreeMap<K, V>,
    applied: &BTreeMap<K, V>,
    mut each: impl FnMut(&K, &V),
) {
    for (key, value) in desired {
        if applied.get(key) != Some(value) {
            each(key, value);
        }
    }
}

fn gone<K: Ord, V>(desired: &BTreeMap<K, V>, applied: &BTreeMap<K, V>, mut each: impl FnMut(&K, &V)) {
    for (key, value) in applied {
        if !desired.contains_key(key) {
            each(key, value);
        }
    }
}
