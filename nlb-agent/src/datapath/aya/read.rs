//! The maps, read back.

use std::{collections::BTreeMap, net::IpAddr};

use aya::maps::{MapData, PerCpuArray};
use nlb_common::abi::{
    active::Active,
    backend::state,
    counters, flow,
    listener::Entry,
    maps::name,
    persistence,
    service::{self, Stretch},
};
use nlb_common::{packet::Mac, ticks::Ticks};

use super::{
    AyaDatapath, acls, encode,
    loader::map_error,
    sweep::{FlowTable, Found, Persistence},
    tables::Maps,
};
use crate::datapath::{
    BackendId, DatapathError, EgressId, Family, Image, ListenerId, LocalAddress, PersistenceEntry, Picks,
    Service, ServiceId, SnatSlot, TableUse, Traffic, VipId,
};

impl AyaDatapath {
    pub(super) fn read(&self) -> Result<Image, DatapathError> {
        let acls = acls::read(&self.maps)?;
        let mut image = Image { addresses: self.addresses()?, acls, ..Image::default() };
        self.read_snats(&mut image)?;
        self.read_listeners(&mut image)?;
        // An access list without entries looks like none.
        for acl in image.listeners.values().filter_map(|listener| listener.acl) {
            image.acls.entry(acl).or_default();
        }
        for index in 1..self.maps.services.len() {
            let entry = self.maps.services.read(index)?;
            if entry.picks.iter().any(|picks| (picks.turns | picks.ring) as u32 & 0xff_ffff != 0) {
                image.services.insert(ServiceId(index), self.read_service(&entry)?);
            }
        }
        // A service without slots looks like none: listeners tell that it exists.
        for listener in image.listeners.values() {
            let entry = self.maps.services.read(listener.service.0)?;
            image.services.insert(listener.service, self.read_service(&entry)?);
        }
        for index in 1..self.maps.backends.len() {
            let entry = self.maps.backends.read(index)?;
            if entry.state != state::FREE {
                let corrupt = DatapathError::Corrupt { map: name::BACKENDS, index, what: "family or state" };
                image.backends.insert(BackendId(index), encode::backend_back(&entry).ok_or(corrupt)?);
            }
        }
        for index in 1..self.maps.egresses.len() {
            if let (Ok(id), Some(egress)) =
                (u16::try_from(index), encode::egress_back(self.maps.egresses.read(index)?))
            {
                image.egresses.insert(EgressId(id), egress);
            }
        }
        for entry in &self.maps.interfaces {
            let (index, interface) = entry.map_err(|cause| map_error("read", name::INTERFACES, &cause))?;
            image.interfaces.insert(index, Mac::from_word(interface.mac).0);
        }
        Ok(image)
    }

    /// The addresses that the balancer answers to.
    pub(super) fn addresses(&self) -> Result<BTreeMap<IpAddr, LocalAddress>, DatapathError> {
        let mut addresses = BTreeMap::new();
        for entry in &self.maps.addresses_v4 {
            let (key, local) = entry.map_err(|cause| map_error("read", name::ADDRESSES_V4, &cause))?;
            let address = encode::narrow(Family::V4, [key.0.0, 0, 0, 0]);
            addresses.insert(address, encode::local_address_back(local));
        }
        for entry in &self.maps.addresses_v6 {
            let (key, local) = entry.map_err(|cause| map_error("read", name::ADDRESSES_V6, &cause))?;
            let address = encode::narrow(Family::V6, key.0.0);
            addresses.insert(address, encode::local_address_back(local));
        }
        Ok(addresses)
    }

    fn read_snats(&self, image: &mut Image) -> Result<(), DatapathError> {
        for family in Family::ALL {
            let snats = &self.maps.snats[family.index()];
            for slot in 0..snats.len() {
                if let (Ok(id), Some(snat)) =
                    (u16::try_from(slot), encode::snat_back(family, snats.read(slot)?))
                {
                    image.snats.insert((family, SnatSlot(id)), snat);
                }
            }
        }
        Ok(())
    }

    fn read_service(&self, entry: &service::Service) -> Result<Service, DatapathError> {
        let service::Service { picks, persistence, balance_unknown, _pad: _ } = *entry;
        let mut service = Service {
            persistence: (persistence != 0).then(|| encode::seconds(persistence)),
            balance_unknown: balance_unknown != 0,
            ..Service::default()
        };
        for (words, picks) in picks.iter().zip(&mut service.picks) {
            let (turns, ring) = (Stretch::from_word(words.turns), Stretch::from_word(words.ring));
            *picks = Picks {
                turns: encode::turns_back(turns, &self.slots_of(turns)?),
                ring: encode::ring_back(ring, &self.slots_of(ring)?),
            };
        }
        Ok(service)
    }

    fn read_listeners(&self, image: &mut Image) -> Result<(), DatapathError> {
        for bucket in 0..self.maps.listener_buckets.len() {
            let words = self.maps.listener_buckets.read(bucket)?.words;
            for Entry { digest: _, listener: index } in words.into_iter().filter_map(Entry::from_word) {
                let entry = self.maps.listeners.read(index)?;
                let corrupt = DatapathError::Corrupt {
                    map: name::LISTENERS,
                    index,
                    what: "family, protocol or tracking",
                };
                image.listeners.insert(ListenerId(index), encode::listener_back(&entry).ok_or(corrupt)?);
            }
        }
        Ok(())
    }

    pub(super) fn read_traffic(
        &self,
        backends: &[BackendId],
    ) -> Result<BTreeMap<BackendId, Traffic>, DatapathError> {
        backends
            .iter()
            .map(|&id| {
                let active = Active(self.maps.active.read(id.0)?);
                let traffic = sum(&self.maps.backend_counters, id.0, name::BACKEND_COUNTERS)?;
                Ok((id, Traffic { active: active.count().into(), ..traffic }))
            })
            .collect()
    }

    /// How full the tables are that fill with traffic.
    pub(super) fn read_tables(&self) -> Result<Vec<TableUse>, DatapathError> {
        let [half_open, flows] = FlowTable::all(&self.maps);
        let Maps { flows: flow_sets, half_open: half_open_sets, persistence: sets, .. } = &self.maps;
        let table = |name, entry: usize, entries: u64, used| TableUse {
            name,
            capacity: entries,
            used,
            bytes: entries * entry as u64,
        };
        let flow_entries = |sets: u32| u64::from(sets) * flow::WAYS as u64;
        let persistence_entries = u64::from(sets.len()) * persistence::WAYS as u64;
        let entry = size_of::<flow::FlowEntry>();
        Ok(vec![
            // An entry's link and its tag are tables of their own.
            table(
                name::FLOWS,
                entry + size_of::<u32>() + size_of::<u8>(),
                flow_entries(flow_sets.len()),
                flows.used()?,
            ),
            table(name::HALF_OPEN, entry, flow_entries(half_open_sets.len()), half_open.used()?),
            table(
                name::PERSISTENCE,
                size_of::<persistence::PersistenceEntry>(),
                persistence_entries,
                Persistence(sets).entries()?.len() as u64,
            ),
            TableUse {
                name: name::CONNS_V4,
                capacity: self.ports(Family::V4)?,
                used: self.v4().used(&self.used_slots(Family::V4)?)?,
                bytes: self.v4().bytes(),
            },
            TableUse {
                name: name::CONNS_V6,
                capacity: self.ports(Family::V6)?,
                used: self.v6().used(&self.used_slots(Family::V6)?)?,
                bytes: self.v6().bytes(),
            },
        ])
    }

    /// The ports of the SNAT addresses in use: each is a place for a connection.
    fn ports(&self, family: Family) -> Result<u64, DatapathError> {
        let snats = &self.maps.snats[family.index()];
        (0..snats.len()).map(|slot| Ok(u64::from(snats.read(slot)?.ports))).sum()
    }

    pub(super) fn read_persistence(&self) -> Result<Vec<PersistenceEntry>, DatapathError> {
        let mut families = BTreeMap::new();
        let mut image = Image::default();
        self.read_listeners(&mut image)?;
        for listener in image.listeners.values() {
            families.insert(listener.vip, Family::of(listener.address));
        }
        let now = super::now();
        let entries = Persistence(&self.maps.persistence).entries()?;
        Ok(entries
            .into_iter()
            .filter_map(|Found { client, owner, used }| {
                let vip = VipId(owner.vip());
                // An entry of a VIP that is gone is of no use to anybody, and ends by itself.
                let family = *families.get(&vip)?;
                let idle = if used.connections() == 0 { used.last_used().age(now) } else { Ticks(0) };
                Some(PersistenceEntry {
                    service: ServiceId(owner.service()),
                    vip,
                    client: encode::narrow(family, client),
                    backend: BackendId(owner.backend()),
                    connections: used.connections(),
                    idle: idle.to_duration(),
                })
            })
            .collect())
    }

    pub(super) fn read_events(&self) -> Result<Vec<u64>, DatapathError> {
        (0..nlb_common::event::COUNT)
            .map(|event| {
                let counts = self.maps.events.get(&event, 0);
                let counts = counts.map_err(|cause| map_error("read", name::EVENTS, &cause))?;
                Ok(counts.iter().sum())
            })
            .collect()
    }

    pub(super) fn read_verdicts(&self) -> Result<Vec<u64>, DatapathError> {
        (0..nlb_common::verdict::COUNT)
            .map(|verdict| {
                let counts = self.maps.verdicts.get(&verdict, 0);
                let counts = counts.map_err(|cause| map_error("read", name::VERDICTS, &cause))?;
                Ok(counts.iter().sum())
            })
            .collect()
    }
}

/// A counter over all CPUs.
fn sum(
    counters: &PerCpuArray<MapData, counters::Traffic>,
    index: u32,
    map: &'static str,
) -> Result<Traffic, DatapathError> {
    let values = counters.get(&index, 0).map_err(|cause| map_error("read", map, &cause))?;
    Ok(values.iter().fold(Traffic::default(), |total, value| Traffic {
        packets: total.packets + value.packets,
        bytes: total.bytes + value.bytes,
        connections: total.connections + value.connections,
        active: 0,
    }))
}
