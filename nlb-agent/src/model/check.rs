//! What binds resources to each other, one function per kind.

mod service;

use std::collections::{BTreeMap, BTreeSet};

pub use self::service::Conflict;
use super::{
    BackendService, Kind, Listener, LoadBalancer, LoadBalancerType, Name, Resource, Rule, SecurityGroup,
    ServerGroup, State,
};

impl State {
    /// Checks every rule that binds resources.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Rule> {
        self.check_security_groups()?;
        self.check_load_balancers()?;
        self.check_server_groups()?;
        self.check_backend_services()?;
        self.check_listeners()
    }

    /// Groups are no larger than they may be.
    fn check_security_groups(&self) -> Result<(), Rule> {
        for (name, group) in &self.security_groups {
            let rules = group.spec.rules.len();
            if rules > SecurityGroup::MAX_RULES {
                return Err(Rule::TooManyRules { name: name.clone(), rules, max: SecurityGroup::MAX_RULES });
            }
            let cidrs = group.spec.rules.iter().map(|rule| rule.cidrs.len()).sum();
            if cidrs > SecurityGroup::MAX_CIDRS {
                return Err(Rule::TooManyCidrs { name: name.clone(), cidrs, max: SecurityGroup::MAX_CIDRS });
            }
        }
        Ok(())
    }

    /// Every balancer has a VIP, every VIP one balancer, and security groups exist.
    fn check_load_balancers(&self) -> Result<(), Rule> {
        let mut owners = BTreeMap::new();
        for (name, balancer) in &self.load_balancers {
            if balancer.spec.addresses.is_empty() {
                return Err(Rule::NoAddress { name: name.clone() });
            }
            let mut groups = BTreeSet::new();
            for group in &balancer.spec.security_groups {
                if !groups.insert(group) {
                    return Err(Rule::SecurityGroupTwice { name: name.clone(), group: group.clone() });
                }
                self.reference::<SecurityGroup>(Kind::LoadBalancer, name, "security_groups", group)?;
            }
            for &address in &balancer.spec.addresses {
                match owners.insert(address, name) {
                    None => {}
                    Some(owner) if owner == name => {
                        return Err(Rule::AddressTwice { name: name.clone(), address });
                    }
                    Some(owner) => {
                        return Err(Rule::AddressTaken { name: name.clone(), address, owner: owner.clone() });
                    }
                }
            }
        }
        Ok(())
    }

    /// Servers of a group differ in name, and in address and port.
    fn check_server_groups(&self) -> Result<(), Rule> {
        self.server_groups.iter().try_for_each(|(name, group)| check_servers(name, &group.spec))
    }

    /// Fields go together, groups exist, none is named twice, and no two of a service's servers share address and port.
    fn check_backend_services(&self) -> Result<(), Rule> {
        for (name, service) in &self.backend_services {
            let service = &service.spec;
            service::check_fields(service)
                .map_err(|conflict| Rule::FieldConflict { name: name.clone(), conflict })?;
            let mut groups = BTreeSet::new();
            let mut backends = BTreeMap::new();
            for group_name in &service.server_groups {
                if !groups.insert(group_name) {
                    return Err(Rule::GroupTwice { name: name.clone(), group: group_name.clone() });
                }
                let group =
                    self.reference::<ServerGroup>(Kind::BackendService, name, "server_groups", group_name)?;
                for server in &group.servers {
                    let place = format!("{group_name}/{}", server.name);
                    let own_port = server.port.filter(|port| *port != service.port);
                    if let (true, Some(port)) = (service.forwarding.is_direct(), own_port) {
                        let (name, forwarding, expected) = (name.clone(), service.forwarding, service.port);
                        return Err(Rule::ServerPortNotKept {
                            name,
                            server: place,
                            port,
                            forwarding,
                            expected,
                        });
                    }
                    let address = service.socket_addr(server);
                    if let Some(first) = backends.insert(address, place.clone()) {
                        return Err(Rule::BackendTwice { name: name.clone(), first, second: place, address });
                    }
                }
            }
        }
        Ok(())
    }

    /// Balancer and service exist and go together, the protocol is the service's, and the port is free.
    fn check_listeners(&self) -> Result<(), Rule> {
        let mut owners = BTreeMap::new();
        let mut products = BTreeMap::new();
        for (name, listener) in &self.listeners {
            let listener = &listener.spec;
            let of = Kind::Listener;
            let balancer =
                self.reference::<LoadBalancer>(of, name, "load_balancer", &listener.load_balancer)?;
            let service =
                self.reference::<BackendService>(of, name, "backend_service", &listener.backend_service)?;
            if listener.protocol != service.protocol {
                return Err(Rule::ProtocolMismatch {
                    name: name.clone(),
                    protocol: listener.protocol,
                    backend_service: listener.backend_service.clone(),
                    expected: service.protocol,
                });
            }
            check_ports(name, listener, service)?;
            let product = balancer.kind;
            check_idle_timeout(name, listener, product)?;
            let (first, of_first) = *products.entry(&listener.backend_service).or_insert((name, product));
            if of_first != product {
                return Err(mixed(&listener.backend_service, (first, of_first), name));
            }
            service::check_product(service, name, &listener.load_balancer, product).map_err(|conflict| {
                Rule::ListenerConflict { name: listener.backend_service.clone(), conflict }
            })?;
            let place = (&listener.load_balancer, listener.protocol, listener.port);
            if let Some(owner) = owners.insert(place, name) {
                return Err(Rule::PortTaken {
                    name: name.clone(),
                    load_balancer: listener.load_balancer.clone(),
                    protocol: listener.protocol,
                    port: listener.port,
                    owner: Name::clone(owner),
                });
            }
        }
        Ok(())
    }

    /// The resource that `field` of `kind` `name` refers to.
    fn reference<R: Resource>(
        &self,
        kind: Kind,
        name: &Name,
        field: &'static str,
        target: &Name,
    ) -> Result<&R, Rule> {
        match R::all(self).get(target) {
            Some(stored) => Ok(&stored.spec),
            None => Err(Rule::DanglingReference {
                kind,
                name: name.clone(),
                field,
                target_kind: R::KIND,
                target: target.clone(),
            }),
        }
    }
}

/// Without translation a listener's port is the servers' port.
fn check_ports(name: &Name, listener: &Listener, service: &BackendService) -> Result<(), Rule> {
    if service.forwarding.is_direct() && listener.port != service.port {
        return Err(Rule::ListenerPortNotKept {
            name: name.clone(),
            port: listener.port,
            backend_service: listener.backend_service.clone(),
            forwarding: service.forwarding,
            expected: service.port,
        });
    }
    Ok(())
}

/// A dnlb remembers no flows that could be idle.
fn check_idle_timeout(name: &Name, listener: &Listener, product: LoadBalancerType) -> Result<(), Rule> {
    match (product, listener.idle_timeout) {
        (LoadBalancerType::Dnlb, Some(idle_timeout)) => {
            let load_balancer = listener.load_balancer.clone();
            Err(Rule::IdleTimeoutOfDnlb { name: name.clone(), idle_timeout, load_balancer })
        }
        (LoadBalancerType::Dnlb, None) | (LoadBalancerType::Nlb, _) => Ok(()),
    }
}

/// Two listeners of different products lead to `service`.
fn mixed(service: &Name, (first, of_first): (&Name, LoadBalancerType), second: &Name) -> Rule {
    let (nlb, dnlb) = match of_first {
        LoadBalancerType::Nlb => (first, second),
        LoadBalancerType::Dnlb => (second, first),
    };
    Rule::ProductsMixed { name: service.clone(), nlb: nlb.clone(), dnlb: dnlb.clone() }
}

fn check_servers(group: &Name, ServerGroup { servers }: &ServerGroup) -> Result<(), Rule> {
    let mut names = BTreeSet::new();
    let mut places = BTreeMap::new();
    for server in servers {
        if !names.insert(&server.name) {
            return Err(Rule::ServerNameTwice { name: group.clone(), server: server.name.clone() });
        }
        if let Some(first) = places.insert((server.address, server.port), &server.name) {
            return Err(Rule::ServerAddressTwice {
                name: group.clone(),
                first: first.clone(),
                second: server.name.clone(),
                address: server.address,
                port: server.port,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
