//! The sweeper: walks a family's connection table and ends what is over.

use std::collections::{BTreeMap, BTreeSet};

use aya::Pod;
use nlb_common::{
    abi::{
        backend::{self, Backend},
        conn::{self, Conn, EXCLUDED, FREE, RESERVED, Status},
        flow::{self, FlowSet, WAYS},
        listener::Listener,
    },
    addr::Address,
    hash::Tuple,
    tcp::State,
    ticks::Ticks,
};

use super::{mapped::Mapped, words};
use crate::datapath::{BackendId, DatapathError, Family, FlowCounts, ListenerId, SnatSlot};

/// Entries that were reserved at the last sweep: whoever reserved them takes microseconds, so one that still is
/// at the next sweep was left behind by an agent that died in the middle.
pub(super) type Reserved = BTreeMap<u32, Status>;

/// A family's tables, and what is needed to judge their entries.
pub(super) struct Tables<'a, A> {
    pub(super) family: Family,
    pub(super) conns: &'a Mapped<Conn<A>>,
    pub(super) flows: &'a Mapped<FlowSet>,
    pub(super) listeners: &'a Mapped<Listener>,
    pub(super) backends: &'a Mapped<Backend>,
    pub(super) hash_seed: u64,
}

impl<A: Address> Tables<'_, A>
where
    Conn<A>: Pod,
{
    /// One walk over the entries of the SNAT slots in use.
    pub(super) fn sweep(
        &self,
        slots: &[SnatSlot],
        now: Ticks,
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
                    if before.get(&index) == Some(&status) {
                        self.swap(index, status, status.next_use(FREE))?;
                    } else {
                        reserved.insert(index, status);
                    }
                }
                if !status.is_conn() {
                    continue;
                }
                if self.is_over(index, status, now)? {
                    counts.ended += u64::from(self.end(index, status)?);
                    continue;
                }
                held += 1;
                let conn = self.conns.read(index)?;
                let flows = counts.backends.entry(BackendId(conn.backend)).or_default();
                flows.held += 1;
                flows.active += u64::from(self.status(index)?.state().is_active());
                *counts.listeners.entry(ListenerId(conn.listener)).or_default() += 1;
            }
            counts.snats.insert((self.family, slot), held);
        }
        Ok(())
    }

    /// Marks the ports that flows may not use, and frees those they may use again.
    pub(super) fn exclude(&self, slot: SnatSlot, ports: &BTreeSet<u16>) -> Result<(), DatapathError> {
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

    /// Whether a connection is idle past its time. One whose backend's time is over is closed here, and ends a
    /// little later, so that its last packets still meet the right verdict.
    fn is_over(&self, index: u32, status: Status, now: Ticks) -> Result<bool, DatapathError> {
        let conn = self.conns.read(index)?;
        let mut state = status.state();
        if state.is_active() && self.backends.read(conn.backend)?.state != backend::state::SERVING {
            self.swap(index, status, status.with_state(State::CLOSED))?;
            state = State::CLOSED;
        }
        let idle = Ticks(self.listeners.read(conn.listener)?.idle_timeout);
        Ok(Ticks(conn.last_seen).age(now) > conn::timeout(state, idle))
    }

    /// Ends a connection; `false` if it changed meanwhile and so is not over.
    fn end(&self, index: u32, seen: Status) -> Result<bool, DatapathError> {
        let conn = self.conns.read(index)?;
        let reserved = seen.next_use(RESERVED);
        if !self.swap(index, seen, reserved)? {
            return Ok(false);
        }
        self.forget(&conn, index)?;
        self.swap(index, reserved, reserved.with_state(FREE))?;
        Ok(true)
    }

    /// Removes a connection's flow entry.
    fn forget(&self, conn: &Conn<A>, index: u32) -> Result<(), DatapathError> {
        let tuple = Tuple {
            client: conn.client,
            vip: conn.vip,
            client_port: conn.client_port,
            vip_port: conn.vip_port,
            protocol: conn.protocol,
        };
        let hash = tuple.hash(self.hash_seed);
        let set = self.flows.at(flow::set_index(hash, self.flows.len() - 1))?;
        let word = flow::Entry { digest: flow::digest(hash), conn: index }.to_word();
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
