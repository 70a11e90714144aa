use std::{collections::BTreeMap, net::SocketAddr};

use super::{AdminState, BackendKey, BackendService, LoadBalancerType, Name, Server, State, Weight};

/// A backend that the desired state asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredBackend {
    /// Which one; names its backend service, too.
    pub key: BackendKey,
    /// Share of the new connections.
    pub weight: Weight,
    /// What the operator says about it.
    pub admin_state: AdminState,
}

impl BackendService {
    /// Where a server of this service gets its traffic: at its own port, or else at the service's.
    pub fn socket_addr(&self, server: &Server) -> SocketAddr {
        SocketAddr::new(server.address, server.port.unwrap_or(self.port).get())
    }
}

impl State {
    /// Every server as every backend service that names its group sees it.
    pub fn configured_backends(&self) -> BTreeMap<BackendKey, ConfiguredBackend> {
        let mut backends = BTreeMap::new();
        for (service_name, service) in &self.backend_services {
            for group_name in &service.spec.server_groups {
                // `check` sees to it that the group exists.
                for server in
                    self.server_groups.get(group_name).into_iter().flat_map(|group| &group.spec.servers)
                {
                    let key = BackendKey {
                        service: service_name.clone(),
                        group: group_name.clone(),
                        server: server.name.clone(),
                        address: server.address,
                        port: server.port.unwrap_or(service.spec.port),
                    };
                    let backend = ConfiguredBackend {
                        key: key.clone(),
                        weight: server.weight,
                        admin_state: server.admin_state.unwrap_or_default(),
                    };
                    backends.insert(key, backend);
                }
            }
        }
        backends
    }

    /// The type of the load balancers whose listeners lead to a backend service, by service; those that nobody
    /// listens for are not in it. `check` sees to it that it is one type for each.
    pub fn products(&self) -> BTreeMap<&Name, LoadBalancerType> {
        let mut products = BTreeMap::new();
        for listener in self.listeners.values().map(|listener| &listener.spec) {
            if let Some(balancer) = self.load_balancers.get(&listener.load_balancer) {
                products.insert(&listener.backend_service, balancer.spec.kind);
            }
        }
        products
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{
        BackendService, ConnectionTracking, Listener, LoadBalancer, LoadBalancerType, Scheduler, UnknownFlow,
        fixture::{NOW, draft, name, shop},
    };

    #[test]
    fn what_a_service_leaves_open_depends_on_who_listens() {
        let mut state = shop();
        let service = "{protocol: tcp, port: 80, forwarding: ipip}";
        state.upsert(draft::<BackendService>("direct", service), NOW).expect("new");
        state.upsert(draft::<LoadBalancer>("d", "{type: dnlb, addresses: [10.0.0.11]}"), NOW).expect("new");
        let listener = "{load_balancer: d, protocol: tcp, port: 80, backend_service: direct}";
        state.upsert(draft::<Listener>("d", listener), NOW).expect("new");
        state.check().expect("legal");
        let products = state.products();
        for (service, product, scheduler, tracking, unknown_flow) in [
            (
                "web",
                LoadBalancerType::Nlb,
                Scheduler::WeightedRoundRobin,
                ConnectionTracking::Full,
                UnknownFlow::Reset,
            ),
            (
                "direct",
                LoadBalancerType::Dnlb,
                Scheduler::SourceIp,
                ConnectionTracking::None,
                UnknownFlow::Balance,
            ),
        ] {
            assert_eq!(products[&name(service)], product);
            let service = &state.backend_services[&name(service)].spec;
            assert_eq!(service.effective_scheduler(product), scheduler);
            assert_eq!(service.effective_connection_tracking(product), tracking);
            assert_eq!(service.effective_unknown_flow(), unknown_flow);
        }
        state.listeners.clear();
        assert!(state.products().is_empty(), "nobody listens");
    }

    #[test]
    fn every_service_has_its_own_backend_for_a_shared_server() {
        let mut state = shop();
        let other = state.backend_services[&name("web")].clone();
        state.backend_services.insert(name("web-2"), other);
        let shown: Vec<_> = state.configured_backends().keys().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "web:servers/a@10.1.0.11:8080",
                "web:servers/b@10.1.0.12:9090",
                "web-2:servers/a@10.1.0.11:8080",
                "web-2:servers/b@10.1.0.12:9090",
            ],
            "a server without a port has the service's"
        );
    }

    #[test]
    fn backends_carry_weight_and_admin_state() {
        let backends = shop().configured_backends();
        let weights: Vec<_> = backends.values().map(|backend| backend.weight.get()).collect();
        assert_eq!(weights, [10, 3]);
        assert!(backends.iter().all(|(key, backend)| *key == backend.key));
    }
}
