//! Backends: who they are, the way there, and the SNAT addresses that their connections come from.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Compiler, Inputs, backend_name};
use crate::{
    datapath::{
        Backend, BackendId, BackendState, Egress, EgressId, Eligibility, Family, Forward, MacText, NextHop,
        Snat, SnatRange, SnatSlot,
    },
    drain::Phase,
    model::{AdminState, BackendKey, ConfiguredBackend, Forwarding, Name},
    reconcile::ids::{Exhausted, Kind},
};

impl Compiler<'_> {
    /// Every backend that gets packets: the configured ones, those that drain, and those that nobody knows any
    /// more but that have connections.
    pub(super) fn backends(&mut self) -> Result<(), Exhausted> {
        let Inputs { state, drains, flows, applied, .. } = *self.inputs;
        self.retain_snats();
        let configured = state.configured_backends();
        let mut keys: BTreeSet<BackendKey> = configured.keys().cloned().collect();
        let mut named = BTreeSet::new();
        for (name, number) in self.ids.names(Kind::Backend) {
            named.insert(BackendId(number));
            if let (true, Ok(key)) =
                (applied.backends.contains_key(&BackendId(number)), serde_json::from_str(name))
            {
                keys.insert(key);
            }
        }
        for key in keys {
            let state = match drains.phase(&key) {
                Phase::Active => BackendState::Serving,
                Phase::Draining { deadline_ms, expiry } => {
                    BackendState::Draining(expiry, self.inputs.clock.ticks_at(deadline_ms))
                }
                Phase::Expired(mode) => BackendState::Expired(mode),
                Phase::Gone => continue,
            };
            let id = BackendId(self.ids.get(Kind::Backend, &backend_name(&key))?);
            let eligibility = self.eligibility(&key, configured.get(&key));
            let backend = self.backend(id, &key, state, eligibility)?;
            self.image.backends.insert(id, backend);
        }
        for (id, backend) in &applied.backends {
            if !named.contains(id) && flows.backends.get(id).is_some_and(|flows| flows.held > 0) {
                self.image.backends.insert(*id, *backend);
            }
        }
        Ok(())
    }

    /// Whether a backend may get new connections, and if not, why.
    fn eligibility(&self, key: &BackendKey, configured: Option<&ConfiguredBackend>) -> Eligibility {
        let Inputs { drains, health, .. } = *self.inputs;
        let Some(configured) = configured else {
            return Eligibility::Gone;
        };
        match configured.admin_state {
            AdminState::Disabled => Eligibility::Disabled,
            AdminState::Draining => Eligibility::Draining,
            AdminState::Enabled if !health.in_force(key).is_usable() => Eligibility::Unhealthy,
            AdminState::Enabled if !drains.phase(key).takes_new() => Eligibility::Gone,
            AdminState::Enabled if configured.weight.get() == 0 => Eligibility::Weight,
            AdminState::Enabled => Eligibility::Eligible,
        }
    }

    fn backend(
        &mut self,
        id: BackendId,
        key: &BackendKey,
        state: BackendState,
        eligibility: Eligibility,
    ) -> Result<Backend, Exhausted> {
        let Inputs { view, applied, .. } = *self.inputs;
        let before = applied.backends.get(&id).copied();
        let resolution = view.resolutions.get(&key.address).copied().unwrap_or_default();
        let mode = self.forwarding(&key.service, before.as_ref());
        let next_hop = match resolution.next_hop {
            // The router would take the packets for its own.
            Some(_) if mode == Forwarding::Dsr && resolution.routed => None,
            Some(hop) => Some(self.next_hop(&hop)?),
            // What was known is better than nothing: the neighbour may only be slow to answer.
            None => before.and_then(|before| before.next_hop).filter(|hop| self.retain_egress(hop.egress)),
        };
        let no_snat = SnatRange { first: SnatSlot(0), count: 0 };
        let (forward, snat) = match mode {
            Forwarding::Ipip | Forwarding::Gue => {
                let known = before.and_then(|before| match before.forward {
                    Forward::Ipip(source) | Forward::Gue(source) => source,
                    Forward::Nat | Forward::Dnat | Forward::Dsr => None,
                });
                let source = known.or(resolution.source);
                let is_gue = mode == Forwarding::Gue;
                (if is_gue { Forward::Gue(source) } else { Forward::Ipip(source) }, no_snat)
            }
            Forwarding::Dsr => (Forward::Dsr, no_snat),
            Forwarding::Dnat => (Forward::Dnat, self.room(Family::of(key.address))),
            Forwarding::Nat => {
                let snat = self.snat(id, key.address, resolution.source)?;
                (Forward::Nat, snat.unwrap_or_else(|| before.map_or(no_snat, |before| before.snat)))
            }
        };
        let max_len = match resolution.mtu {
            Some(mtu) => Some(mtu.saturating_sub(forward.overhead(Family::of(key.address)))),
            None => before.and_then(|before| before.max_len),
        };
        Ok(Backend { address: key.socket_addr(), state, next_hop, snat, forward, eligibility, max_len })
    }

    /// How packets reach the backends of a service.
    fn forwarding(&self, service: &Name, before: Option<&Backend>) -> Forwarding {
        let configured =
            self.inputs.state.backend_services.get(service).map(|service| service.spec.forwarding);
        // Not configured any more: as it was.
        configured.unwrap_or_else(|| match before.map(|before| before.forward) {
            Some(Forward::Ipip(_)) => Forwarding::Ipip,
            Some(Forward::Gue(_)) => Forwarding::Gue,
            Some(Forward::Dsr) => Forwarding::Dsr,
            Some(Forward::Dnat) => Forwarding::Dnat,
            Some(Forward::Nat) | None => Forwarding::Nat,
        })
    }

    fn next_hop(&mut self, hop: &crate::neigh::NextHop) -> Result<NextHop, Exhausted> {
        let crate::neigh::NextHop { interface, vlan, source_mac, mac } = *hop;
        let name = format!("{interface}/{}/{}", MacText(source_mac), vlan.unwrap_or(0));
        let number = self.ids.get(Kind::Egress, &name)?;
        let egress = EgressId(u16::try_from(number).unwrap_or(u16::MAX));
        self.image.egresses.insert(egress, Egress { ifindex: interface, mac: source_mac, vlan });
        Ok(NextHop { egress, mac })
    }

    fn retain_egress(&mut self, id: EgressId) -> bool {
        let known = self.inputs.applied.egresses.get(&id);
        known.map(|egress| self.image.egresses.insert(id, *egress)).is_some()
    }

    /// SNAT addresses whose ports are in use stay as they are.
    fn retain_snats(&mut self) {
        let Inputs { flows, applied, fresh_snats, .. } = *self.inputs;
        for (key, snat) in &applied.snats {
            let has_connections = flows.snats.get(key).is_some_and(|&connections| connections > 0);
            if has_connections || fresh_snats.contains(key) {
                self.image.snats.insert(*key, *snat);
            }
        }
    }

    /// The SNAT addresses of a backend: the operator's, or the host's own on the way to the server.
    fn snat(
        &mut self,
        id: BackendId,
        server: IpAddr,
        source: Option<IpAddr>,
    ) -> Result<Option<SnatRange>, Exhausted> {
        let family = Family::of(server);
        let chosen: Vec<IpAddr> = self
            .inputs
            .nat_sources
            .iter()
            .copied()
            .filter(|address| Family::of(*address) == family)
            .collect();
        let addresses = if chosen.is_empty() { source.into_iter().collect() } else { chosen };
        let mut slots = BTreeSet::new();
        for address in addresses {
            slots.insert(self.snat_slot(family, address)?);
        }
        let (Some(&first), Some(&last)) = (slots.first(), slots.last()) else {
            return Ok(None);
        };
        let count = u16::try_from(slots.len()).unwrap_or(u16::MAX);
        if last.0 - first.0 < count {
            return Ok(Some(SnatRange { first, count }));
        }
        // Not in a row, after the list was edited: each backend has one of them.
        let turn = id.0 as usize % slots.len();
        Ok(slots.into_iter().nth(turn).map(|first| SnatRange { first, count: 1 }))
    }

    /// The room for a family's connections of `dnat`, which all backends share.
    fn room(&mut self, family: Family) -> SnatRange {
        let range = self.inputs.slots.dnat(family);
        for slot in range.slots() {
            self.image.snats.insert((family, slot), Snat::room(family));
        }
        range
    }

    fn snat_slot(&mut self, family: Family, address: IpAddr) -> Result<SnatSlot, Exhausted> {
        let Inputs { applied, host_ports, view, .. } = *self.inputs;
        let number = self.ids.get(Kind::Snat(family), &address.to_string())?;
        let slot = SnatSlot(u16::try_from(number).unwrap_or(u16::MAX));
        let known = applied.snats.get(&(family, slot)).filter(|snat| snat.address == address).copied();
        let snat = known.unwrap_or_else(|| {
            let ports = host_ports.usable(address, &view.host_addresses);
            Snat { address, first_port: ports.first, ports: ports.count() }
        });
        self.image.snats.insert((family, slot), snat);
        Ok(slot)
    }
}
