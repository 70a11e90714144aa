use std::{collections::BTreeMap, net::SocketAddr};

use super::{AdminState, BackendKey, BackendService, Server, State, Weight};

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
}

#[cfg(test)]
mod tests {
    use crate::model::fixture::{name, shop};

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
