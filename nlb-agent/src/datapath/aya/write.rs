//! Changes of the maps, one at a time, each in an order that packets may interrupt.

use std::{net::IpAddr, time::Duration};

use aya::maps::{MapError, PerCpuArray, PerCpuValues};
use nlb_common::{
    abi::{
        self,
        active::Active,
        backend::state,
        interface::Interface,
        listener::{Entry, digest},
        maps::name,
        service::{Service as ServiceEntry, Stretch},
    },
    packet::Mac,
};

use super::{AyaDatapath, SWEEPS_THAT_ASK, encode, loader::map_error, tables::Key, words};
use crate::datapath::{
    Backend, BackendId, DatapathError, Egress, EgressId, Family, Forward, Listener, ListenerId, LocalAddress,
    Op, Service, ServiceId, Snat, SnatSlot,
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
            Op::PutAcl(id, ref acl) => self.put_acl(id, acl),
            Op::RemoveAcl(id, ref acl) => self.remove_acl(id, acl),
            Op::PutListener(id, listener) => {
                self.unchecked = SWEEPS_THAT_ASK;
                self.put_listener(id, &listener)
            }
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
            Op::PutInterface(index, mac) => {
                let entry = Interface { mac: Mac(mac).to_word() };
                let (map, capacity) = (name::INTERFACES, abi::maps::MAX_INTERFACES);
                let error = |error| full(map, capacity, "interfaces", &error);
                self.maps.interfaces.insert(index, entry, 0).map_err(error)
            }
            Op::RemoveInterface(index) => {
                absent_is_fine(self.maps.interfaces.remove(&index), name::INTERFACES)
            }
        }
    }

    fn put_address(&mut self, address: IpAddr, local: LocalAddress) -> Result<(), DatapathError> {
        // Before it is there, or packets to it would be taken for somebody else's.
        self.add_to_filter(address)?;
        let entry = encode::local_address(local);
        let error = |map, error: &MapError| full(map, abi::maps::MAX_ADDRESSES, "addresses", error);
        match address {
            IpAddr::V4(address) => {
                let key = Key(encode::v4(address));
                let result = self.maps.addresses_v4.insert(key, entry, 0);
                result.map_err(|cause| error(name::ADDRESSES_V4, &cause))
            }
            IpAddr::V6(address) => {
                let key = Key(encode::v6(address));
                let result = self.maps.addresses_v6.insert(key, entry, 0);
                result.map_err(|cause| error(name::ADDRESSES_V6, &cause))
            }
        }
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), DatapathError> {
        match address {
            IpAddr::V4(address) => {
                absent_is_fine(self.maps.addresses_v4.remove(&Key(encode::v4(address))), name::ADDRESSES_V4)?;
            }
            IpAddr::V6(address) => {
                absent_is_fine(self.maps.addresses_v6.remove(&Key(encode::v6(address))), name::ADDRESSES_V6)?;
            }
        }
        self.remove_from_filter(address)
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
        let place = self.listener_place(id, listener)?;
        if !place.is_known {
            zero(&mut self.maps.listener_counters, id.0, name::LISTENER_COUNTERS)?;
            // SAFETY: an entry of a mapped array that only the agent writes; nobody reads these fields while no bucket
            // names the number.
            unsafe {
                (&raw mut (*entry).address).write_volatile(encode::wide(listener.address));
                (&raw mut (*entry).endpoint).write_volatile(encode::endpoint(listener));
                (&raw mut (*entry).vip).write_volatile(listener.vip.0);
            }
        }
        // SAFETY: aligned words of a mapped array that only the agent writes.
        unsafe {
            words::store_u32(&raw mut (*entry).tracking, encode::guarded_tracking(listener));
            words::store_u32(&raw mut (*entry).idle_timeout, encode::idle_ticks(listener.idle_timeout));
            words::store_u32(&raw mut (*entry).closed_to_new, listener.closed_to_new.into());
            words::store_u32(&raw mut (*entry).service, listener.service.0);
            words::store_u64(place.word, place.entry.to_word());
        }
        Ok(())
    }

    /// Removes a listener from its bucket; the last entry there takes its place, so that those in use come first.
    fn remove_listener(&mut self, id: ListenerId, listener: &Listener) -> Result<(), DatapathError> {
        let place = self.listener_place(id, listener)?;
        if place.is_known {
            self.close_gap(place.bucket, place.way)?;
        }
        let entry = self.maps.listeners.at(id.0)?;
        // The idle timeout stays: connections that are still in the table are swept by it.
        // SAFETY: an aligned word of a mapped array that only the agent writes.
        unsafe { words::store_u32(&raw mut (*entry).service, 0) };
        Ok(())
    }

    /// Where a listener stands or may stand.
    fn listener_place(&self, id: ListenerId, listener: &Listener) -> Result<ListenerPlace, DatapathError> {
        let hash = encode::listener_hash(listener, self.hash_seed);
        let entry = Entry { digest: digest(hash), listener: id.0 };
        let mut free = None;
        for bucket in abi::listener::buckets(hash) {
            let entries = self.maps.listener_buckets.read(bucket)?.words;
            for (way, &known) in entries.iter().enumerate() {
                let word = self.bucket_word(bucket, way)?;
                let place = ListenerPlace { bucket, way, word, entry, is_known: known == entry.to_word() };
                if place.is_known {
                    return Ok(place);
                }
                if known == 0 && free.is_none() {
                    free = Some(place);
                }
            }
        }
        free.ok_or(DatapathError::Full {
            map: name::LISTENER_BUCKETS,
            capacity: abi::maps::MAX_LISTENERS,
            what: "listeners, each VIP counted",
        })
    }

    fn bucket_word(&self, bucket: u32, way: usize) -> Result<*mut u64, DatapathError> {
        let bucket = self.maps.listener_buckets.at(bucket)?;
        // SAFETY: a word of a mapped array; `way` is below `BUCKET`.
        Ok(unsafe { (&raw mut (*bucket).words).cast::<u64>().add(way) })
    }

    /// Takes an entry out of a bucket. A full bucket that gets room may have sent a listener on to the next one: that
    /// one comes back, or it would not be found any more.
    fn close_gap(&self, bucket: u32, way: usize) -> Result<(), DatapathError> {
        let words = self.maps.listener_buckets.read(bucket)?.words;
        let was_full = words.iter().all(|&word| word != 0);
        let last = words.iter().rposition(|&word| word != 0).unwrap_or(way);
        let next = abi::listener::buckets(bucket.into())[1];
        if was_full && let Some((guest, entry)) = self.guest(bucket, next)? {
            // SAFETY: aligned words of a mapped array that only the agent writes.
            unsafe { words::store_u64(self.bucket_word(bucket, way)?, entry) };
            wait_for_packets();
            return self.close_gap(next, guest);
        }
        // SAFETY: as above.
        unsafe { words::store_u64(self.bucket_word(bucket, way)?, words[last]) };
        if last != way {
            // A packet that looked at the gap before must still find the one that filled it where it was.
            wait_for_packets();
        }
        // SAFETY: as above.
        unsafe { words::store_u64(self.bucket_word(bucket, last)?, 0) };
        Ok(())
    }

    /// An entry of `bucket` that stands in `next` because it found no room.
    fn guest(&self, bucket: u32, next: u32) -> Result<Option<(usize, u64)>, DatapathError> {
        for (way, &word) in self.maps.listener_buckets.read(next)?.words.iter().enumerate() {
            let Some(entry) = Entry::from_word(word) else { continue };
            let listener = self.maps.listeners.read(entry.listener)?;
            let corrupt =
                DatapathError::Corrupt { map: name::LISTENERS, index: entry.listener, what: "family" };
            let listener = encode::listener_back(&listener).ok_or(corrupt)?;
            if abi::listener::buckets(encode::listener_hash(&listener, self.hash_seed))[0] == bucket {
                return Ok(Some((way, word)));
            }
        }
        Ok(None)
    }

    /// Writes whatever slots differ to a free stretch of the arena and then names it, all at once.
    fn put_service(&mut self, id: ServiceId, service: &Service) -> Result<(), DatapathError> {
        let entry = self.maps.services.at(id.0)?;
        let Service { picks, persistence, balance_unknown } = service;
        // SAFETY: aligned words of a mapped array that only the agent writes.
        unsafe {
            let ticks = persistence.map_or(0, encode::idle_ticks);
            words::store_u32(&raw mut (*entry).persistence, ticks);
            words::store_u32(&raw mut (*entry).balance_unknown, (*balance_unknown).into());
        }
        for family in Family::ALL {
            let picks = &picks[family.index()];
            let (turns, ring) = (encode::turns(&picks.turns), encode::ring(&picks.ring));
            let [turns_word, ring_word] = picks_words(entry, family);
            // Where the ring decides there are no turns: so the ring stands first, and goes last.
            if turns.1.is_empty() {
                self.publish(ring_word, &ring)?;
                self.publish(turns_word, &turns)?;
            } else {
                self.publish(turns_word, &turns)?;
                self.publish(ring_word, &ring)?;
            }
        }
        Ok(())
    }

    /// Has a word name a stretch with these slots.
    fn publish(&mut self, word: *mut u64, (kind, slots): &(u8, Vec<u32>)) -> Result<(), DatapathError> {
        // SAFETY: an aligned word of a mapped array that only the agent writes.
        let old = Stretch::from_word(unsafe { word.read_volatile() });
        if old.kind == *kind && self.slots_of(old)? == *slots {
            return Ok(());
        }
        let new = Stretch { kind: *kind, ..self.write_slots(slots)? };
        // SAFETY: as above.
        unsafe { words::store_u64(word, new.to_word()) };
        self.arena.retire(old, self.clock.elapsed());
        Ok(())
    }

    fn write_slots(&mut self, slots: &[u32]) -> Result<Stretch, DatapathError> {
        let full =
            DatapathError::Full { map: name::ARENA, capacity: self.maps.arena.len(), what: "slots in all" };
        let len = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let stretch = self.arena.take(len, self.clock.elapsed()).ok_or(full)?;
        for (index, &value) in (stretch.base..).zip(slots) {
            let slot = self.maps.arena.at(index)?;
            // SAFETY: an aligned word of a mapped array.
            unsafe { words::store_u32(slot, value) };
        }
        Ok(stretch)
    }

    /// The slots of a stretch as they stand in the arena.
    pub(super) fn slots_of(&self, stretch: Stretch) -> Result<Vec<u32>, DatapathError> {
        (stretch.base..stretch.base.saturating_add(stretch.len))
            .map(|index| self.maps.arena.read(index))
            .collect()
    }

    fn put_backend(&mut self, id: BackendId, backend: &Backend) -> Result<(), DatapathError> {
        let entry = self.maps.backends.at(id.0)?;
        let family = Family::of(backend.address.ip());
        // SAFETY: an entry of a mapped array that only the agent writes.
        let is_new = unsafe { words::load_u32(&raw mut (*entry).state) } == state::FREE;
        if is_new {
            zero(&mut self.maps.backend_counters, id.0, name::BACKEND_COUNTERS)?;
            self.forget_active(id)?;
            // SAFETY: as above; nobody reads these fields while the number is not in use.
            unsafe {
                (&raw mut (*entry).address).write_volatile(encode::wide(backend.address.ip()));
                (&raw mut (*entry).port).write_volatile(nlb_common::be::Be16::new(backend.address.port()));
                (&raw mut (*entry).family).write_volatile(encode::family_number(family));
            }
        }
        if backend.forward == Forward::Dnat {
            // Before its first connection, or its answers would be taken for somebody else's.
            self.add_server_to_filter(backend.address.ip())?;
        }
        let (forwarding, source, sum) = encode::forward(backend);
        let (state, deadline) = encode::state_words(backend.state);
        // SAFETY: aligned words of a mapped array that only the agent writes. A backend without a tunnel's source has no
        // flows yet, and one that has a source keeps it.
        unsafe {
            (&raw mut (*entry).forwarding).write_volatile(forwarding);
            let before = entry.read_volatile();
            if (before.tunnel_source, before.tunnel_sum) != (source, sum) {
                (&raw mut (*entry).tunnel_source).write_volatile(source);
                (&raw mut (*entry).tunnel_sum).write_volatile(sum);
            }
            words::store_u64(&raw mut (*entry).next_hop, encode::next_hop_word(backend.next_hop));
            words::store_u32((&raw mut (*entry).snat_slot).cast(), encode::snat_word(backend.snat));
            (&raw mut (*entry).max_len).write_volatile(backend.max_len.unwrap_or(abi::backend::NO_LIMIT));
            let eligibility = encode::eligibility_number(backend.eligibility);
            words::store_u32(&raw mut (*entry).eligibility, eligibility);
            // A draining backend is served before its deadline is looked at.
            if deadline != 0 {
                words::store_u32(&raw mut (*entry).deadline, deadline);
            }
            words::store_u32(&raw mut (*entry).state, state);
        }
        Ok(())
    }

    /// A number that is given to somebody new has no connections.
    fn forget_active(&self, id: BackendId) -> Result<(), DatapathError> {
        let active = self.maps.active.at(id.0)?;
        // SAFETY: an aligned word of a mapped array; no flow names the number.
        unsafe { words::store_u64(active, Active::default().0) };
        Ok(())
    }

    fn remove_backend(&mut self, id: BackendId) -> Result<(), DatapathError> {
        let entry = self.maps.backends.at(id.0)?;
        // SAFETY: an aligned word of a mapped array that only the agent writes.
        let before = unsafe {
            let before = entry.read_volatile();
            words::store_u32(&raw mut (*entry).state, state::FREE);
            before
        };
        match encode::backend_back(&before) {
            Some(Backend { forward: Forward::Dnat, address, .. }) => {
                self.remove_server_from_filter(address.ip())
            }
            _ => Ok(()),
        }
    }

    fn put_egress(&mut self, id: EgressId, egress: Egress) -> Result<(), DatapathError> {
        let entry = self.maps.egresses.at(id.0.into())?;
        // SAFETY: an entry of a mapped array that only the agent writes, and that no backend names yet or any more.
        unsafe { entry.write_volatile(encode::egress(egress)) };
        Ok(())
    }
}

/// A listener's word in a bucket: its own, or a free one.
struct ListenerPlace {
    bucket: u32,
    way: usize,
    word: *mut u64,
    entry: Entry,
    is_known: bool,
}

/// The words of turns and ring.
fn picks_words(entry: *mut ServiceEntry, family: Family) -> [*mut u64; 2] {
    // SAFETY: within the entry of a mapped array.
    unsafe {
        let picks = (&raw mut (*entry).picks).cast::<abi::service::Picks>().add(family.index());
        [&raw mut (*picks).turns, &raw mut (*picks).ring]
    }
}

/// Waits until every packet that was on its way through the program is through, and with it every reference that
/// it had read: an XDP program runs in an RCU read-side section, and `MEMBARRIER_CMD_GLOBAL` is an RCU grace
/// period (membarrier(2)).
pub(super) fn wait_for_packets() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: takes numbers only.
    if unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } != 0 {
        // Not on every kernel (nohz_full): a hundred thousand times what a packet takes will do.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A hash map said no: mostly because it is full.
fn full(map: &'static str, capacity: u32, what: &'static str, error: &MapError) -> DatapathError {
    let is_full =
        matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::E2BIG));
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
pub(super) fn zero<T: aya::Pod + Default>(
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
