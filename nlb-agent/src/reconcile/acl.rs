//! From security groups to access lists: for a listener, whose protocol and port are known, what is left of the rules is which
//! client addresses may use it, and of two networks that an address is in, the smaller one decides.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use nlb_common::abi::{acl::MAX_ACL, maps::MAX_ACL_ENTRIES};

use super::ids::Exhausted;
use crate::{
    datapath::{Access, Acl, AclId, Image},
    model::{Action, Cidr, Listener, LoadBalancer, Name, SecurityGroup, SecurityRule, State},
};

/// The lists made so far: listeners that the same rules concern share one.
#[derive(Default)]
pub(super) struct Lists {
    by_rules: BTreeMap<Vec<(Name, Vec<usize>)>, Arc<Acl>>,
}

impl Lists {
    /// The list of a listener.
    pub(super) fn of(&mut self, state: &State, balancer: &LoadBalancer, listener: &Listener) -> Arc<Acl> {
        let mut rules = Vec::new();
        let mut concerned = Vec::new();
        for name in &balancer.security_groups {
            let Some(group) = state.security_groups.get(name).map(|stored| &stored.spec) else { continue };
            let (indices, of_group) = concerning(group, listener);
            concerned.push((name.clone(), indices));
            rules.push(of_group);
        }
        Arc::clone(self.by_rules.entry(concerned).or_insert_with(|| Arc::new(reduce(&rules))))
    }
}

/// The rules of a group that concern a listener, and their places.
fn concerning<'a>(group: &'a SecurityGroup, listener: &Listener) -> (Vec<usize>, Vec<&'a SecurityRule>) {
    let rules = group.rules.iter().enumerate();
    rules.filter(|(_, rule)| rule.concerns(listener.protocol, listener.port)).unzip()
}

/// One list from the rules of several groups, in each of which the first that an address matches decides; it may pass if one
/// group lets it.
fn reduce(groups: &[Vec<&SecurityRule>]) -> Acl {
    // The first rule of each group that names a network.
    let mut first: BTreeMap<Cidr, Vec<Option<usize>>> = BTreeMap::new();
    for (group, rules) in groups.iter().enumerate() {
        for (index, rule) in rules.iter().enumerate() {
            for cidr in cidrs(rule) {
                let rules = first.entry(*cidr).or_insert_with(|| vec![None; groups.len()]);
                rules[group].get_or_insert(index);
            }
        }
    }
    let mut acl = Acl::default();
    // The networks that the present one is in, the smallest last, with the first rules that match there.
    let mut around: Vec<(Cidr, Vec<Option<usize>>, Access)> = Vec::new();
    // In their order each comes after those that it is in.
    for (cidr, mut rules) in first {
        while around.last().is_some_and(|(outer, ..)| !outer.covers(cidr)) {
            around.pop();
        }
        let mut outside = Access::Deny;
        if let Some((_, of_outer, access)) = around.last() {
            outside = *access;
            for (rule, outer) in rules.iter_mut().zip(of_outer) {
                *rule = [*rule, *outer].into_iter().flatten().min();
            }
        }
        let allows = |(rules, first): (&Vec<&SecurityRule>, &Option<usize>)| {
            first.and_then(|first| rules.get(first)).is_some_and(|rule| rule.action == Action::Allow)
        };
        let access = if groups.iter().zip(&rules).any(allows) { Access::Allow } else { Access::Deny };
        if access != outside {
            acl.entries.insert(cidr, access);
        }
        around.push((cidr, rules, access));
    }
    acl
}

/// The networks of a rule.
fn cidrs(rule: &SecurityRule) -> &[Cidr] {
    if rule.cidrs.is_empty() { &[Cidr::ALL_V4, Cidr::ALL_V6] } else { &rule.cidrs }
}

/// A number that no list has, in neither image: what stands in the maps under it never changes.
pub(super) fn fresh(image: &Image, applied: &Image) -> AclId {
    let is_used =
        |number: &u32| [image, applied].iter().any(|image| image.acls.contains_key(&AclId(*number)));
    let highest = image.acls.keys().chain(applied.acls.keys()).max().map_or(0, |id| id.0);
    // There are far more numbers than listeners.
    let free = (highest + 1..=MAX_ACL).chain(1..=highest).find(|number| !is_used(number));
    AclId(free.unwrap_or(MAX_ACL))
}

/// Checks that the maps have room for all lists, and those of now beside them.
pub(super) fn check_room(image: &Image) -> Result<(), Exhausted> {
    let of = |is: fn(&IpAddr) -> bool| {
        let cidrs = image.acls.values().flat_map(|acl| acl.entries.keys());
        cidrs.filter(|cidr| is(&cidr.first())).count()
    };
    let limit = MAX_ACL_ENTRIES as usize;
    let sides = [
        (of(IpAddr::is_ipv4), "IPv4 networks in the security groups of listeners"),
        (of(IpAddr::is_ipv6), "IPv6 networks in the security groups of listeners"),
    ];
    match sides.into_iter().find(|(count, _)| *count > limit) {
        Some((_, what)) => Err(Exhausted { what, limit }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
