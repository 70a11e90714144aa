//! What is done once a second: flows are swept, and the ports of SNAT addresses looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tracing::{error, info, warn};

use super::{ReconcileError, Reconciler};
use crate::{
    datapath::{Datapath, Family, SnatSlot},
    reconcile::{ports::HostPorts, report},
    status::SnatStatus,
};

impl<D: Datapath> Reconciler<D> {
    pub(super) fn sweep(&mut self, look_at_ports: bool) {
        match self.datapath.sweep() {
            Ok(flows) => {
                self.flows = flows;
                self.sweeps += 1;
                self.look_at_snats();
                self.settle_rings();
            }
            Err(error) => error!(%error, "flows cannot be swept"),
        }
        if look_at_ports && let Err(error) = self.exclude_ports() {
            warn!(%error, "ports of the host's sockets are not kept from flows");
        }
    }

    /// Says when an address begins or ends to run out of ports.
    fn look_at_snats(&mut self) {
        let snats = report::snats(&self.image, &self.flows);
        // Not every second anew where it is at the edge.
        let is_scarce = |snat: &SnatStatus| {
            snat.is_scarce() || (self.scarce_snats.contains(&snat.address) && !snat.has_room())
        };
        let scarce: BTreeMap<IpAddr, SnatStatus> =
            snats.into_iter().filter(is_scarce).map(|snat| (snat.address, snat)).collect();
        for (address, SnatStatus { ports, used, .. }) in &scarce {
            if !self.scarce_snats.contains(address) {
                warn!(%address, ports, used, "a SNAT address runs out of ports: nat.source_addresses takes more addresses");
            }
        }
        for address in self.scarce_snats.iter().filter(|address| !scarce.contains_key(address)) {
            info!(%address, "a SNAT address has free ports again");
        }
        self.scarce_snats = scarce.into_keys().collect();
    }

    /// Keeps flows from the ports that sockets of the host are bound to.
    pub(super) fn exclude_ports(&mut self) -> Result<(), ReconcileError> {
        self.host_ports = HostPorts::read()?;
        let own = self.inlets.view.borrow().host_addresses.clone();
        for (&(family, slot), snat) in self.image.snats.iter().filter(|(_, snat)| snat.is_address()) {
            let mut ports = self.listener_ports(snat.address);
            if own.contains(&snat.address) {
                ports.extend(&self.host_ports.bound);
            }
            self.datapath.exclude_ports(family, slot, &ports)?;
        }
        Ok(())
    }

    /// The ports of an address that belong to listeners: a reply to one of them would be taken for a client's packet.
    fn listener_ports(&self, address: IpAddr) -> BTreeSet<u16> {
        let vip = self.image.addresses.get(&address).and_then(|local| local.vip);
        let listeners = self.image.listeners.values().filter(|listener| Some(listener.vip) == vip);
        listeners.map(|listener| listener.port).collect()
    }

    /// SNAT addresses that a backend names, or named until less than two sweeps ago: a connection may have been opened
    /// from one of them that no sweep has counted yet.
    pub(super) fn fresh_snats(&mut self) -> BTreeSet<(Family, SnatSlot)> {
        let sweeps = self.sweeps;
        for backend in self.image.backends.values() {
            for slot in backend.snat.slots() {
                self.snat_named.insert((Family::of(backend.address.ip()), slot), sweeps);
            }
        }
        self.snat_named.retain(|_, named| sweeps < *named + 2);
        self.snat_named.keys().copied().collect()
    }
}
