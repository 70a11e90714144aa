use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};

use super::{BackendService, Kind, Listener, LoadBalancer, Name, SecurityGroup, ServerGroup, State, Stored};

/// A kind of resource: what [`State`]'s operations need to know to treat all kinds alike.
pub trait Resource:
    Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Which kind.
    const KIND: Kind;

    /// The resources of this kind.
    fn all(state: &State) -> &BTreeMap<Name, Stored<Self>>;

    /// The resources of this kind, to be changed.
    fn all_mut(state: &mut State) -> &mut BTreeMap<Name, Stored<Self>>;

    /// The fields that no update may change, with their values.
    fn immutable_fields(&self) -> Vec<(&'static str, String)>;

    /// Fills in what a description leaves open: as it is in `current`, or the default.
    fn settle(&mut self, _current: Option<&Self>) {}
}

impl Resource for LoadBalancer {
    const KIND: Kind = Kind::LoadBalancer;

    fn all(state: &State) -> &BTreeMap<Name, Stored<Self>> {
        &state.load_balancers
    }

    fn all_mut(state: &mut State) -> &mut BTreeMap<Name, Stored<Self>> {
        &mut state.load_balancers
    }

    fn immutable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("type", self.kind.to_string())]
    }
}

impl Resource for ServerGroup {
    const KIND: Kind = Kind::ServerGroup;

    fn all(state: &State) -> &BTreeMap<Name, Stored<Self>> {
        &state.server_groups
    }

    fn all_mut(state: &mut State) -> &mut BTreeMap<Name, Stored<Self>> {
        &mut state.server_groups
    }

    /// A server's admin state stays: applying a manifest again must not undo `nlbctl server drain`.
    fn settle(&mut self, current: Option<&Self>) {
        for server in &mut self.servers {
            let known =
                current.and_then(|group| group.servers.iter().find(|known| known.name == server.name));
            let admin_state = server.admin_state.or(known.and_then(|known| known.admin_state));
            server.admin_state = Some(admin_state.unwrap_or_default());
        }
    }

    fn immutable_fields(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

impl Resource for SecurityGroup {
    const KIND: Kind = Kind::SecurityGroup;

    fn all(state: &State) -> &BTreeMap<Name, Stored<Self>> {
        &state.security_groups
    }

    fn all_mut(state: &mut State) -> &mut BTreeMap<Name, Stored<Self>> {
        &mut state.security_groups
    }

    fn immutable_fields(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

impl Resource for BackendService {
    const KIND: Kind = Kind::BackendService;

    fn all(state: &State) -> &BTreeMap<Name, Stored<Self>> {
        &state.backend_services
    }

    fn all_mut(state: &mut State) -> &mut BTreeMap<Name, Stored<Self>> {
        &mut state.backend_services
    }

    fn immutable_fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("protocol", self.protocol.to_string()),
            ("port", self.port.to_string()),
            ("forwarding", self.forwarding.to_string()),
        ]
    }
}

impl Resource for Listener {
    const KIND: Kind = Kind::Listener;

    fn all(state: &State) -> &BTreeMap<Name, Stored<Self>> {
        &state.listeners
    }

    fn all_mut(state: &mut State) -> &mut BTreeMap<Name, Stored<Self>> {
        &mut state.listeners
    }

    fn immutable_fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("load_balancer", self.load_balancer.to_string()),
            ("protocol", self.protocol.to_string()),
            ("port", self.port.to_string()),
        ]
    }
}
