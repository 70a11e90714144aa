//! The maps, read back.

use std::collections::BTreeMap;

use aya::maps::{MapData, PerCpuArray};
use nlb_common::abi::{backend::state, counters, maps::name, service::Wheel};

use super::{AyaDatapath, encode, loader::map_error};
use crate::datapath::{
    BackendId, DatapathError, EgressId, Family, Image, ListenerId, Service, ServiceId, SnatSlot, Traffic,
};

impl AyaDatapath {
    pub(super) fn read(&self) -> Result<Image, DatapathError> {
        let mut image = Image::default();
        self.read_addresses(&mut image)?;
        self.read_listeners(&mut image)?;
        for index in 1..self.maps.services.len() {
            let entry = self.maps.services.read(index)?;
            let [v4, v6] = entry.wheels.map(Wheel::from_word);
            if v4.len != 0 || v6.len != 0 {
                let service = Service { wheels: [self.wheel_slots(v4)?, self.wheel_slots(v6)?] };
                image.services.insert(ServiceId(index), service);
            }
        }
        // A service whose wheels are empty looks like none: listeners tell that it exists.
        for listener in image.listeners.values() {
            image.services.entry(listener.service).or_default();
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
        Ok(image)
    }

    fn read_addresses(&self, image: &mut Image) -> Result<(), DatapathError> {
        for entry in &self.maps.addresses_v4 {
            let (key, local) = entry.map_err(|cause| map_error("read", name::ADDRESSES_V4, &cause))?;
            let address = encode::narrow(Family::V4, [key.0.0, 0, 0, 0]);
            image.addresses.insert(address, encode::local_address_back(local));
        }
        for entry in &self.maps.addresses_v6 {
            let (key, local) = entry.map_err(|cause| map_error("read", name::ADDRESSES_V6, &cause))?;
            let address = encode::narrow(Family::V6, key.0.0);
            image.addresses.insert(address, encode::local_address_back(local));
        }
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

    fn read_listeners(&self, image: &mut Image) -> Result<(), DatapathError> {
        for entry in &self.maps.listener_index {
            let (key, index) = entry.map_err(|cause| map_error("read", name::LISTENER_INDEX, &cause))?;
            let entry = self.maps.listeners.read(index)?;
            let corrupt = DatapathError::Corrupt { map: name::LISTENER_INDEX, index, what: "protocol" };
            image.listeners.insert(ListenerId(index), encode::listener_back(key, entry).ok_or(corrupt)?);
        }
        Ok(())
    }

    pub(super) fn read_traffic(
        &self,
        backends: &[BackendId],
    ) -> Result<BTreeMap<BackendId, Traffic>, DatapathError> {
        backends
            .iter()
            .map(|&id| Ok((id, sum(&self.maps.backend_counters, id.0, name::BACKEND_COUNTERS)?)))
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
    }))
}
