//! Persistence entries: which are over, and which there are.

use nlb_common::{
    abi::{
        backend::state,
        conn::HALF_OPEN_TIMEOUT,
        persistence::{Owner, PersistenceEntry, PersistenceSet, Use, WAYS},
    },
    ticks::Ticks,
};

use super::{
    super::{mapped::Mapped, words},
    Judge,
};
use crate::datapath::{BackendId, DatapathError, FlowCounts, ServiceId};

/// The table.
pub(in crate::datapath::aya) struct Persistence<'a>(pub(in crate::datapath::aya) &'a Mapped<PersistenceSet>);

/// An entry, as read.
pub(in crate::datapath::aya) struct Found {
    pub(in crate::datapath::aya) client: [u32; 4],
    pub(in crate::datapath::aya) owner: Owner,
    pub(in crate::datapath::aya) used: Use,
}

impl Persistence<'_> {
    fn entry(&self, set: u32, way: usize) -> Result<*mut PersistenceEntry, DatapathError> {
        let set = self.0.at(set)?;
        // SAFETY: within the set; `way` is below `WAYS`.
        Ok(unsafe { (&raw mut (*set).entries).cast::<PersistenceEntry>().add(way) })
    }

    /// Removes the entries whose time is over, and those whose backend does not exist any more; notes whom the others
    /// lead to.
    pub(in crate::datapath::aya) fn sweep(
        &self,
        judge: &Judge<'_>,
        counts: &mut FlowCounts,
    ) -> Result<(), DatapathError> {
        let mut persisted = vec![false; judge.backends.len()];
        for set in 0..self.0.len() {
            for way in 0..WAYS {
                let entry = self.entry(set, way)?;
                let (owner, used) = read(entry);
                // An agent that was killed in the middle left it dead.
                if used.is_dead() {
                    free(entry);
                    continue;
                }
                if owner == Owner::FREE || owner == Owner::RESERVED {
                    continue;
                }
                if is_over(owner, used, judge) {
                    // SAFETY: an aligned word of a mapped array.
                    let is_mine = unsafe { words::swap_u64(&raw mut (*entry).use_, used.0, Use::DEAD.0) };
                    if is_mine {
                        free(entry);
                    }
                } else if let Some(noted) = persisted.get_mut(owner.backend() as usize) {
                    *noted = true;
                }
            }
        }
        counts.persisted =
            (0..).zip(persisted).filter_map(|(number, noted)| noted.then_some(BackendId(number))).collect();
        Ok(())
    }

    /// The entries of connections that were established.
    pub(in crate::datapath::aya) fn entries(&self) -> Result<Vec<Found>, DatapathError> {
        let mut found = Vec::new();
        for set in 0..self.0.len() {
            for way in 0..WAYS {
                let entry = self.entry(set, way)?;
                let (owner, used) = read(entry);
                // SAFETY: an entry of a mapped array; the owner says afterwards whose it was.
                let client = unsafe { (&raw const (*entry).client).read_volatile() };
                let is_entry = owner != Owner::FREE && owner != Owner::RESERVED && !owner.is_tentative();
                if is_entry && !used.is_dead() && read(entry).0 == owner {
                    found.push(Found { client, owner, used });
                }
            }
        }
        Ok(found)
    }
}

fn read(entry: *mut PersistenceEntry) -> (Owner, Use) {
    // SAFETY: aligned words of a mapped array.
    unsafe { (Owner(words::load_u64(&raw mut (*entry).owner)), Use(words::load_u64(&raw mut (*entry).use_))) }
}

fn is_over(owner: Owner, used: Use, judge: &Judge<'_>) -> bool {
    let is_orphan = judge.backend(owner.backend()) == state::FREE;
    let lifetime: Ticks =
        if owner.is_tentative() { HALF_OPEN_TIMEOUT } else { judge.persistence(ServiceId(owner.service())) };
    (is_orphan && used.connections() == 0) || used.is_over(judge.now, lifetime)
}

/// Frees a dead entry: until the owner is gone, nobody takes it.
fn free(entry: *mut PersistenceEntry) {
    // SAFETY: aligned words of a mapped array. The program may change the owner's backend meanwhile; the entry is dead
    // all the same.
    unsafe {
        words::store_u64(&raw mut (*entry).owner, Owner::RESERVED.0);
        words::store_u64(&raw mut (*entry).use_, 0);
        words::store_u64(&raw mut (*entry).owner, Owner::FREE.0);
    }
}
