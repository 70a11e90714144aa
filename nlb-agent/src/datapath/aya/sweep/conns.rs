//! A family's connection table.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use aya::Pod;
use nlb_common::{
    abi::{
        conn::{self, Conn, EXCLUDED, FREE, RESERVED, SWEPT, Status, translation},
        conn_set::{self, ConnSet, WAYS},
        sweep::table,
    },
    addr::Address,
    tcp::State,
    ticks::Ticks,
};

use super::{
    super::{encode, mapped::Mapped, words},
    Ends, Judge,
    end::End,
};
use crate::datapath::{BackendId, DatapathError, Family, FlowCounts, ListenerId, SnatSlot};

/// Entries that were reserved at the last sweep, and since when they have been.
pub(in crate::datapath::aya) type Reserved = BTreeMap<u32, (Status, Instant)>;

/// Whoever reserves an entry takes microseconds, on a machine that others use, too, milliseconds: one that is reserved
/// for this long was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// A family's tables.
pub(in crate::datapath::aya) struct Tables<'a, A> {
    pub(in crate::datapath::aya) family: Family,
    pub(in crate::datapath::aya) conns: &'a Mapped<Conn<A>>,
    pub(in crate::datapath::aya) links: &'a Mapped<u32>,
    pub(in crate::datapath::aya) sets: &'a Mapped<ConnSet>,
    pub(in crate::datapath::aya) hash_seed: u64,
}

impl<A: Address> Tables<'_, A>
where
    Conn<A>: Pod,
{
    /// One walk over the entries of the SNAT slots in use.
    pub(in crate::datapath::aya) fn sweep(
        &self,
        slots: &[SnatSlot],
        judge: &Judge<'_>,
        ends: &Ends<'_>,
        reserved: &mut Reserved,
        counts: &mut FlowCounts,
    ) -> Result<(), DatapathError> {
        let before = std::mem::take(reserved);
        for &slot in slots {
            let mut held = 0;
            for port in 0..=u16::MAX {
                let index = conn::index(slot.0.into(), port);
                let status = self.status(index)?;
                if status.state() == RESERVED {
                    let since = match before.get(&index) {
                        Some(&(seen, since)) if seen == status => since,
                        _ => Instant::now(),
                    };
                    if since.elapsed() > LEFT_BEHIND {
                        self.swap(index, status, status.next_use(FREE))?;
                    } else {
                        reserved.insert(index, (status, since));
                    }
                }
                if !status.is_conn() {
                    continue;
                }
                let conn = self.conns.read(index)?;
                let is_denied = judge.is_denied(conn.listener, || self.address(conn.client));
                if is_denied || is_over(&conn, status, judge) {
                    counts.ended += u64::from(self.end(index, status, FREE, ends)?);
                    continue;
                }
                if status.state().is_active() && !judge.is_serving(conn.backend) {
                    // It ends a little later, so that its last packets still meet the right verdict.
                    self.end(index, status, State::CLOSED, ends)?;
                }
                held += 1;
                let flows = counts.backends.entry(BackendId(conn.backend)).or_default();
                flows.held += 1;
                flows.active += u64::from(self.status(index)?.state().is_active());
                *counts.listeners.entry(ListenerId(conn.listener)).or_default() += 1;
            }
            counts.snats.insert((self.family, slot), held);
        }
        Ok(())
    }

    /// How many entries of these SNAT slots are in use.
    pub(in crate::datapath::aya) fn used(&self, slots: &[SnatSlot]) -> Result<u64, DatapathError> {
        let mut used = 0;
        for &slot in slots {
            for port in 0..=u16::MAX {
                used += u64::from(self.status(conn::index(slot.0.into(), port))?.is_conn());
            }
        }
        Ok(used)
    }

    /// What the tables take, used or not.
    pub(in crate::datapath::aya) fn bytes(&self) -> u64 {
        let entries = u64::from(self.conns.len()) * (size_of::<Conn<A>>() + size_of::<u32>()) as u64;
        entries + u64::from(self.sets.len()) * size_of::<ConnSet>() as u64
    }

    /// Marks the ports that flows may not use, and frees those they may use again.
    pub(in crate::datapath::aya) fn exclude(
        &self,
        slot: SnatSlot,
        ports: &BTreeSet<u16>,
    ) -> Result<(), DatapathError> {
        for port in 0..=u16::MAX {
            let index = conn::index(slot.0.into(), port);
            let status = self.status(index)?;
            match (status.state(), ports.contains(&port)) {
                (FREE, true) => self.swap(index, status, status.next_use(EXCLUDED))?,
                (EXCLUDED, false) => self.swap(index, status, status.next_use(FREE))?,
                _ => continue,
            };
        }
        Ok(())
    }

    /// An address of the family.
    fn address(&self, address: A) -> IpAddr {
        let mut wide = [0; 4];
        for (wide, word) in wide.iter_mut().zip(address.words().as_ref()) {
            *wide = *word;
        }
        encode::narrow(self.family, wide)
    }

    fn status(&self, index: u32) -> Result<Status, DatapathError> {
        let entry = self.conns.at(index)?;
        // SAFETY: an aligned word of a mapped array.
        Ok(Status(unsafe { words::load_u32(&raw mut (*entry).status) }))
    }

    fn swap(&self, index: u32, old: Status, new: Status) -> Result<bool, DatapathError> {
        let entry = self.conns.at(index)?;
        // SAFETY: an aligned word of a mapped array.
        Ok(unsafe { words::swap_u32(&raw mut (*entry).status, old.0, new.0) })
    }

    fn number(&self) -> u32 {
        match self.family {
            Family::V4 => table::CONNS_V4,
            Family::V6 => table::CONNS_V6,
        }
    }

    /// Ends a connection, or closes it (`to`); `false` if it changed meanwhile.
    fn end(&self, index: u32, seen: Status, to: State, ends: &Ends<'_>) -> Result<bool, DatapathError> {
        let conn = self.conns.read(index)?;
        let backend = seen.state().is_active().then_some(conn.backend);
        let link = if seen.is_linked() { self.links.read(index)? } else { 0 };
        ends.begin(End { table: self.number(), entry: index, backend, link })?;
        let swept = seen.next_use(SWEPT);
        let is_mine = self.swap(index, seen, swept)?;
        if is_mine {
            ends.count()?;
            if to == FREE {
                self.forget(&conn, index)?;
            } else {
                let entry = self.conns.at(index)?;
                // Its last packets may still come from now on, though it may have been silent for long.
                // SAFETY: an aligned word of a mapped array, of an entry that is this agent's.
                unsafe { words::store_u32(&raw mut (*entry).last_seen, ends.now.0) };
            }
            self.swap(index, swept, swept.with_state(to))?;
        }
        ends.finish()?;
        Ok(is_mine)
    }

    /// Finishes what a killed agent had begun here.
    pub(in crate::datapath::aya) fn recover(&self, ends: &Ends<'_>) -> Result<(), DatapathError> {
        let Some(index) = ends.begun_in(self.number())? else {
            return Ok(());
        };
        let status = self.status(index)?;
        // Only an agent makes this state, and the one that did is dead.
        if status.state() == SWEPT {
            ends.count()?;
            self.forget(&self.conns.read(index)?, index)?;
            self.swap(index, status, status.with_state(FREE))?;
        }
        ends.finish()
    }

    /// Removes a connection from the sets of its hashes.
    fn forget(&self, conn: &Conn<A>, index: u32) -> Result<(), DatapathError> {
        if conn.translation == translation::DESTINATION {
            self.unname(conn.reply_hash(self.hash_seed), index)?;
        }
        self.unname(conn.tuple().hash(self.hash_seed), index)
    }

    fn unname(&self, hash: u64, index: u32) -> Result<(), DatapathError> {
        let set = self.sets.at(conn_set::set_index(hash, self.sets.len() - 1))?;
        let word = conn_set::Entry { digest: conn_set::digest(hash), conn: index }.to_word();
        for way in 0..WAYS {
            // SAFETY: an aligned word of a mapped array; `way` is below `WAYS`.
            unsafe {
                let slot = (&raw mut (*set).words).cast::<u64>().add(way);
                words::swap_u64(slot, word, 0);
            }
        }
        Ok(())
    }
}

/// Whether a connection is idle past its time.
fn is_over<A>(conn: &Conn<A>, status: Status, judge: &Judge<'_>) -> bool {
    let idle = Ticks(judge.listener(conn.listener).idle_timeout);
    Ticks(conn.last_seen).age(judge.now) > conn::timeout(status.state(), idle)
}
