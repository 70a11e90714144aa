//! How the slots of a ring change hands without flow state (`connection_tracking: transition`): the agent's side.
//!
//! What the datapath does with a slot is written at [`nlb_common::abi::ring`]: only while a slot changes hands does
//! it look at the flow table. Why no connection reaches another server than its own, as long as it sends a packet
//! once in an idle timeout and its server is there:
//!
//! - *Of the flows that have no record, all belong to one backend*: in a clean or settling slot to the current one
//!   (no record is made there, and none but the current one's was forgotten); in a window to the previous one, for
//!   every flow that was opened in the window is recorded. So a change in the middle of a window keeps the previous
//!   backend, and a change back to it leaves nothing to record: the slot settles at once.
//! - *When a window is over, every live flow of the previous backend has a record*: each has sent a packet since the
//!   first change. So a change in the middle of a window keeps the window's end, too; and a longer window does no
//!   harm, which is why a restarted agent, who does not know the ends, starts all windows anew.
//! - *A slot becomes clean when no record leads elsewhere*, and in a settling slot none is made. A slot that is
//!   nobody's cannot settle; it stays a window until it is someone's again, or its previous backend is gone.
//!
//! What this does not promise: a SYN that had no record and is sent again after a change goes to the new server. The
//! connection belongs to the server that got the last SYN before the first other packet; if the client has taken the
//! answer of the first one, the connection is reset. (A SYN that overtakes nothing but is overtaken, and comes after
//! its connection's data in a window, is the same case.)
//!
//! What the datapath and the flow table owe the protocol:
//!
//! - A packet of a window is recorded, come what may: an unrecorded SYN's connection goes to the previous server.
//! - A record lives for the idle timeout after its last packet at least; a record that leads to a backend that is
//!   gone for good counts as none.
//! - A backend's number is given anew only when no slot and no record names it, see [`Transition::names`], and all
//!   packets are through that read one that did.
//! - The idle timeout is the longest of the listeners that use the ring.

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration, time::Instant};

use nlb_common::abi::ring::Slot;

/// The slots of a ring on their way to what is desired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transition {
    slots: Vec<Slot>,
    /// When the windows end, by slot.
    ends: BTreeMap<usize, Instant>,
}

impl Transition {
    /// A ring as an earlier agent left it in the datapath. All its windows start anew at `now`.
    pub fn adopt(slots: Vec<Slot>, now: Instant, idle_timeout: Duration) -> Self {
        let windows = slots.iter().enumerate().filter(|(_, slot)| slot.is_window());
        let ends = windows.map(|(index, _)| (index, now + idle_timeout)).collect();
        Self { slots, ends }
    }

    /// As they are to stand in the datapath; a power of two.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether every slot is clean: nothing is left for [`Self::tick`].
    pub fn is_clean(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_clean())
    }

    /// Whether a slot names `backend`, whose number must then not be given anew.
    pub fn names(&self, backend: u16) -> bool {
        self.slots.iter().any(|slot| slot.current() == backend || slot.previous() == backend)
    }

    /// The ring that leads to `desired`, the numbers of the backends that are to get new flows (a power of two of
    /// them; 0: nobody; empty: nobody at all).
    ///
    /// It has as many slots as the larger of the two. A ring does not shrink while it is in use: the flows of two
    /// slots may belong to different servers.
    #[must_use]
    pub fn change(&self, desired: &[u16], now: Instant, idle_timeout: Duration) -> Self {
        let desired = if desired.is_empty() { &[0] } else { desired };
        let len = desired.len().max(self.slots.len());
        let mut changed = Self { slots: Vec::with_capacity(len), ends: BTreeMap::new() };
        for index in 0..len {
            let to = desired[index * desired.len() / len];
            let parent = index * self.slots.len() / len;
            let (slot, end) = match self.slots.get(parent) {
                Some(&slot) => hand_over(slot, self.ends.get(&parent).copied(), to, now + idle_timeout),
                None => (Slot::clean(to), None),
            };
            changed.slots.push(slot);
            changed.ends.extend(end.map(|end| (index, end)));
        }
        changed
    }

    /// Takes every slot one step on, if it may, and returns those that changed, in ascending order.
    ///
    /// `holds` says whether a record of the slot leads to a backend other than its current one; records that lead to
    /// backends that are gone for good need not count. Its answer must come from a sweep that began after the slots
    /// were last written, be it for a change or a tick, and after all packets that saw them as they were before were
    /// through; for the same reason no slot takes two steps at a time. `is_gone` says whether a backend is gone for
    /// good, with all its connections.
    pub fn tick(
        &mut self,
        now: Instant,
        holds: impl Fn(usize) -> bool,
        is_gone: impl Fn(u16) -> bool,
    ) -> Vec<usize> {
        let Self { slots, ends } = self;
        let mut changed = Vec::new();
        for (index, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| !slot.is_clean()) {
            let current = slot.current();
            let is_gone = is_gone(slot.previous());
            // A packet at the very end still counts as one within the idle timeout.
            let is_over = ends.get(&index).is_none_or(|&end| now > end);
            let next = match current {
                // Nobody's slot cannot settle, for (0, 0) is clean; so its window lasts until it is someone's again or
                // nothing can be recorded as its previous backend's any more.
                0 if !is_gone || holds(index) => *slot,
                0 => Slot::clean(0),
                _ if slot.is_window() && (is_over || is_gone) => Slot::new(current, current),
                _ if slot.is_window() || holds(index) => *slot,
                _ => Slot::clean(current),
            };
            if next != *slot {
                *slot = next;
                ends.remove(&index);
                changed.push(index);
            }
        }
        changed
    }
}

/// A slot, with its window's end, given to the backend `to`; a window that opens ends at `fresh`.
fn hand_over(slot: Slot, end: Option<Instant>, to: u16, fresh: Instant) -> (Slot, Option<Instant>) {
    if to == slot.current() {
        return (slot, end);
    }
    let (unrecorded, end) =
        if slot.is_window() { (slot.previous(), end.unwrap_or(fresh)) } else { (slot.current(), fresh) };
    let next = Slot::new(to, unrecorded);
    (next, next.is_window().then_some(end))
}
