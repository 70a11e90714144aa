//! Changes of the maps, one at a time, each in an order that packets may interrupt.

use std::{net::IpAddr, time::Duration};

use aya::maps::{MapError, PerCpuArray, PerCpuValues};
use nlb_common::abi::{self, backend::state, maps::name, service::Wheel};

use super::{AyaDatapath, encode, loader::map_error, tables::Key, words};
use crate::datapath::{
    Backend, BackendId, DatapathError, Egress, EgressId, Family, Listener, ListenerId, LocalAddress, Op,
    Service, ServiceId, Snat, SnatSlot,
};

impl AyaDatapath {
    pub(super) fn write(&mut self, op: &Op) -> Result<(), DatapathError> {
        match *op {
            Op::PutAddress(address, local) => self.put_address(address, local),
            Op::RemoveAddress(address) => self.remove_address(address),
            Op::PutSnat(family, slot, snat) => self.put_snat(family, slot, Some(snat)),
            Op::RemoveSnat(family, slot) => {
                wait_for_packets();
                self.put_snat(family, slot, None)
            }
            Op::PutListener(id, listener) => self.put_listener(id, &listener),
            Op::RemoveListener(id, listener) => self.remove_listener(id, &listener),
            Op::PutService(id, ref service) => self.put_service(id, service),
            Op::RemoveService(id) => self.put_service(id, &Service::default()),
            Op::PutBackend(id, backend) => self.put_backend(id, &backend),
            Op::RemoveBackend(id) => self.remove_backend(id),
            Op::PutEgress(id, egress) => self.put_egress(id, egress),
            Op::RemoveEgress(id) => {
                wait_for_packets();
                self.put_egress(id, Egress { ifindex: 0, mac: [0; 6], vlan: None })
            }
        }
    }

    fn put_address(&mut self, address: IpAddr, local: LocalAddress) -> Result<(), DatapathError> {
        let entry = encode::local_address(local);
        match address {
            IpAddr::V4(address) => {
                let key = Key(encode::v4(address));
                self.maps.addresses_v4.insert(key, entry, 0).map_err(|error| full(name::ADDRESSES_V4, &error))
            }
            IpAddr::V6(address) => {
                let key = Key(encode::v6(address));
                self.maps.addresses_v6.insert(key, entry, 0).map_err(|error| full(name::ADDRESSES_V6, &error))
            }
        }
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(address) => {
                absent_is_fine(self.maps.addresses_v4.remove(&Key(encode::v4(address))), name::ADDRESSES_V4)
            }
            IpAddr::V6(address) => {
                absent_is_fine(self.maps.addresses_v6.remove(&Key(encode::v6(address))), name::ADDRESSES_V6)
            }
        }
    }

    /// A slot is only written while no backend names it.
    fn put_snat(&mut self, family: Family, slot: SnatSlot, snat: Option<Snat>) -> Result<(), DatapathError> {
        let entry = self.maps.snats[family.index()].at(slot.0.into())?;
        let (address, first_port, ports) =
            snat.map_or(([0; 4], 0, 0), |snat| (encode::wide(snat.address), snat.first_port, snat.ports));
        // SAFETY: an entry of a mapped array that only the agent writes, but for the cursor.
        unsafe {
            (&raw mut (*entry).address).write_volatile(address);
            (&raw mut (*entry).first_port).write_volatile(first_port);
            (&raw mut (*entry).ports).write_volatile(ports);
        }
        Ok(())
    }

    fn put_listener(&mut self, id: ListenerId, listener: &Listener) -> Result<(), DatapathError> {
        let entry = self.maps.listeners.at(id.0)?;
        let key = encode::listener_key(listener);
        let known = self.maps.listener_index.get(&key, 0).is_ok_and(|known| known == id.0);
        // SAFETY: aligned words of a mapped array that only the agent writes.
        unsafe {
            words::store_u32(&raw mut (*entry).idle_timeout, encode::idle_ticks(listener.idle_timeout));
            words::store_u32(&raw mut (*entry).closed_to_new, listener.closed_to_new.into());
            words::store_u32(&raw mut (*entry).service, listener.service.0);
        }
        if known {
            return Ok(());
        }
        zero(&mut self.maps.listener_counters, id.0, name::LISTENER_COUNTERS)?;
        self.maps.listener_index.insert(key, id.0, 0).map_err(|error| full(name::LISTENER_INDEX, &error))
    }

    fn remove_listener(&mut self, id: ListenerId, listener: &Listener) -> Result<(), DatapathError> {
        absent_is_fine(
            self.maps.listener_index.remove(&encode::listener_key(listener)),
            name::LISTENER_INDEX,
        )?;
        let entry = self.maps.listeners.at(id.0)?;
        // The idle timeout stays: connections that are still in the table are swept by it.
        // SAFETY: an aligned word of a mapped array that only the agent writes.
        unsafe { words::store_u32(&raw mut (*entry).service, 0) };
        Ok(())
    }

    /// Writes each wheel that differs to a free stretch of the arena and then names it, all at once.
    fn put_service(&mut self, id: ServiceId, service: &Service) -> Result<(), DatapathError> {
        let entry = self.maps.services.at(id.0)?;
        for family in Family::ALL {
            let slots = &service.wheels[family.index()];
            // SAFETY: within the entry; only the agent writes this word.
            let word = unsafe { (&raw mut (*entry).wheels).cast::<u64>().add(family.index()) };
            // SAFETY: as above.
            let old = Wheel::from_word(unsafe { word.read_volatile() });
            if self.wheel_slots(old)? == *slots {
                continue;
            }
            let new = self.write_wheel(slots)?;
            // SAFETY: an aligned word of a mapped array.
            unsafe { words::store_u64(word, new.to_word()) };
            self.arena.retire(old, self.clock.elapsed());
        }
        Ok(())
    }

    fn write_wheel(&mut self, slots: &[BackendId]) -> Result<Wheel, DatapathError> {
        let full = DatapathError::Full {
            map: name::ARENA,
            capacity: self.maps.arena.len(),
            what: "wheel slots in all",
        };
        let len = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let wheel = self.arena.take(len, self.clock.elapsed()).ok_or(full)?;
        for (index, backend) in (wheel.base..).zip(slots) {
            let slot = self.maps.arena.at(index)?;
            // SAFETY: an aligned word of a mapped array.
            unsafe { words::store_u32(slot, backend.0) };
        }
        Ok(wheel)
    }

    /// The slots of a wheel as they stand in the arena.
    pub(super) fn wheel_slots(&self, wheel: Wheel) -> Result<Vec<BackendId>, DatapathError> {
        (wheel.base..wheel.base.saturating_add(wheel.len))
            .map(|index| self.maps.arena.read(index).map(BackendId))
            .collect()
    }

    fn put_backend(&mut self, id: BackendId, backend: &Backend) -> Result<(), DatapathError> {
        let entry = self.maps.backends.at(id.0)?;
        let family = Family::of(backend.address.ip());
        // SAFETY: an entry of a mapped array that only the agent writes.
        let is_new = unsafe { words::load_u32(&raw mut (*entry).state) } == state::FREE;
        if is_new {
            zero(&mut self.maps.backend_counters, id.0, name::BACKEND_COUNTERS)?;
            // SAFETY: as above; nobody reads these fields while the number is not in use.
            unsafe {
                (&raw mut (*entry).address).write_volatile(encode::wide(backend.address.ip()));
                (&raw mut (*entry).port).write_volatile(nlb_common::be::Be16::new(backend.address.port()));
                (&raw mut (*entry).family).write_volatile(encode::family_number(family));
            }
        }
        // SAFETY: aligned words of a mapped array that only the agent writes.
        unsafe {
            words::store_u64(&raw mut (*entry).next_hop, encode::next_hop_word(backend.next_hop));
            words::store_u32((&raw mut (*entry).snat_slot).cast(), encode::snat_word(backend.snat));
            words::store_u32(&raw mut (*entry).state, encode::state_number(backend.state));
        }
        Ok(())
    }

    fn remove_backend(&mut self, id: BackendId) -> Result<(), DatapathError> {
        let entry = self.maps.backends.at(id.0)?;
        // SAFETY: an aligned word of a mapped array that only the agent writes.
        unsafe { words::store_u32(&raw mut (*entry).state, state::FREE) };
        Ok(())
    }

    fn put_egress(&mut self, id: EgressId, egress: Egress) -> Result<(), DatapathError> {
        let entry = self.maps.egresses.at(id.0.into())?;
        // SAFETY: an entry of a mapped array that only the agent writes, and that no backend names yet or any more.
        unsafe { entry.write_volatile(encode::egress(egress)) };
        Ok(())
    }
}

/// Waits until every packet that was on its way through the program is through, and with it every reference that
/// it had read: an XDP program runs in an RCU read-side section, and `MEMBARRIER_CMD_GLOBAL` is an RCU grace
/// period (membarrier(2)).
fn wait_for_packets() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes numbers only.
    if unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0 {
        // Not on every kernel (nohz_full): a hundred thousand times what a packet takes will do.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A hash map said no: mostly because it is full.
fn full(map: &'static str, error: &MapError) -> DatapathError {
    let is_full =
        matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG));
    let (capacity, what) = match map {
        name::LISTENER_INDEX => (abi::maps::MAX_LISTENERS, "listeners, each VIP counted"),
        _ => (abi::maps::MAX_ADDRESSES, "addresses"),
    };
    if is_full { DatapathError::Full { map, capacity, what } } else { map_error("write", map, error) }
}

fn absent_is_fine(result: Result<(), MapError>, map: &'static str) -> Result<(), DatapathError> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(map_error("write", map, &error)),
    }
}

/// Starts the counters of a number that is given to somebody new.
fn zero<T: aya::Pod + Default>(
    counters: &mut PerCpuArray<aya::maps::MapData, T>,
    index: u32,
    map: &'static str,
) -> Result<(), DatapathError> {
    let cpus = aya::util::nr_cpus().map_err(|(_, cause)| map_error("count the CPUs for", map, &cause))?;
    let values = vec![T::default(); cpus];
    PerCpuValues::try_from(values)
        .map_err(|cause| map_error("write", map, &cause))
        .and_then(|values| counters.set(index, values, 0).map_err(|cause| map_error("write", map, &cause)))
}

/// How long the agent has run, for the arena's quarantine.
#[derive(Debug)]
pub(super) struct Clock(std::time::Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
