//! How entries of the flow table change hands: one piece of code for the program, the agent and the tests that try
//! every interleaving of several of them.
//!
//! # Protocol
//! An entry is two words, [`Key`](crate::abi::flow::Key) and [`Value`]. The value is only changed by compare-and-swap
//! (but for the time in it, which whoever sees a packet may store), and the key is only written by who owns the entry:
//! who has swapped the value for [`Value::RESERVED`] (the program) or for the same value in state
//! [`SWEPT`](state::SWEPT) (the agent).
//!
//! ```text
//!            claim                 fill                    step
//!   FREE ───────────▶ RESERVED ───────────▶ HALF_OPEN … CLOSED ─┐
//!    ▲                 │   ▲   key written,     │   │  ▲        │
//!    │     clear       │   │   then the value    │   │  └────────┘
//!    ├─────────────────┘   └─────────────────────┘   │
//!    │                       evict, end              │ sweep
//!    └────────────────────── SWEPT ◀─────────────────┘
//! ```
//! A reader takes key, value, and the key again: the value is the key's if both times it was the same key. Who inserts
//! looks, after its entry was published, whether the key stands elsewhere in the sets, too, and ends all entries of it
//! but the first: of two that insert one flow at once at least the later one sees the other, and both agree on which
//! of them stays, so that it stands there once.
//!
//! Whoever stores a time does so without looking, and may be late: it lands in whatever the entry is by then. So the time
//! of a free entry means nothing, and an owner gives its entry back by an exchange, which no time can make fail. Whoever
//! takes a flow's entry away swaps the whole value: a flow whose time has just been stored lives.
//!
//! `tests` run every interleaving of a few parties; what they rely on is that no entry is taken, filled and taken again
//! with the very same value (state, listener, backend, millisecond) while somebody is between two instructions.
//!
//! Active connections are counted here and nowhere else: [`Ledger::opened`] before an active flow can be seen,
//! [`Ledger::ended`] by the one who made it inactive, which the swap decides.

#[cfg(test)]
mod explorer;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use crate::abi::flow::{Value, WAYS, state};

/// One set of the table, wherever it lies.
pub trait Set: Copy {
    /// Reads a key.
    fn key(self, way: usize) -> u64;
    /// Reads a value.
    fn value(self, way: usize) -> u64;
    /// Writes a key.
    fn set_key(self, way: usize, key: u64);
    /// Writes `new` if the value still is `old`; whether it was. A full barrier.
    fn swap_value(self, way: usize, old: u64, new: u64) -> bool;
    /// Writes a value whatever it was. A full barrier.
    fn exchange_value(self, way: usize, new: u64);
    /// Reads a link.
    fn link(self, way: usize) -> u32;
    /// Writes a link.
    fn set_link(self, way: usize, link: u32);
}

/// Who counts active connections.
pub trait Ledger {
    /// A flow to a backend is about to be active.
    fn opened(&self, backend: u32);
    /// A flow to a backend is active no more; `link` is that of its entry, or 0.
    fn ended(&self, backend: u32, link: u32);
}

/// An entry.
#[derive(Clone, Copy, Debug)]
pub struct Place<S> {
    /// Its set.
    pub set: S,
    /// Its position in the set.
    pub way: usize,
}

impl<S: Set> Place<S> {
    /// The value as it is now.
    #[inline(always)]
    pub fn value(self) -> Value {
        Value(self.set.value(self.way))
    }

    #[inline(always)]
    fn swap(self, old: Value, new: Value) -> bool {
        self.set.swap_value(self.way, old.0, new.0)
    }

    /// The link of a flow; 0: none.
    #[inline(always)]
    pub fn link(self, value: Value) -> u32 {
        if value.is_linked() { self.set.link(self.way) } else { 0 }
    }
}

/// The entry of a key.
#[inline(always)]
pub fn find<S: Set, const N: usize>(sets: [S; N], key: u64) -> Option<(Place<S>, Value)> {
    for set in sets {
        for way in 0..WAYS {
            if set.key(way) == key {
                let value = Value(set.value(way));
                if value.is_live() && set.key(way) == key {
                    return Some((Place { set, way }, value));
                }
            }
        }
    }
    None
}

/// A flow to be inserted.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// Its key.
    pub key: u64,
    /// Its value: live.
    pub value: Value,
    /// Its link; 0: none.
    pub link: u32,
}

/// Makes an entry that `fits` this caller's own; what stood in it has ended.
#[inline(always)]
pub fn claim<S: Set, const N: usize>(
    sets: [S; N],
    ledger: &impl Ledger,
    fits: impl Fn(Value) -> bool,
) -> Option<Place<S>> {
    for set in sets {
        for way in 0..WAYS {
            let place = Place { set, way };
            let seen = place.value();
            if fits(seen) && reserve(place, seen, ledger) {
                return Some(place);
            }
        }
    }
    None
}

/// Makes an entry this caller's own if it still is as `seen`.
#[inline(always)]
pub fn reserve<S: Set>(place: Place<S>, seen: Value, ledger: &impl Ledger) -> bool {
    if !place.swap(seen, Value::RESERVED) {
        return false;
    }
    if seen.is_active() {
        ledger.ended(seen.backend(), place.link(seen));
    }
    true
}

/// Fills a claimed entry of `sets`; should the flow stand there twice afterwards, its first entry stays.
#[inline(always)]
pub fn fill<S: Set, const N: usize>(sets: [S; N], place: Place<S>, new: New, ledger: &impl Ledger) {
    let New { key, value, link } = new;
    let value = value.linked(link != 0);
    place.set.set_key(place.way, key);
    if link != 0 {
        place.set.set_link(place.way, link);
    }
    if value.is_active() {
        ledger.opened(value.backend());
    }
    publish(place, value);
    let mut stands = false;
    for set in sets {
        for way in 0..WAYS {
            let place = Place { set, way };
            if set.key(way) == key && place.value().is_live() {
                if stands {
                    end(place, key, ledger);
                }
                stands = true;
            }
        }
    }
}

/// Gives an entry that is the caller's own a value.
#[inline(always)]
pub fn publish<S: Set>(place: Place<S>, value: Value) {
    place.set.exchange_value(place.way, value.0);
}

/// How often a change is tried again that met another one.
const TRIES: u32 = 3;

/// Changes a flow's state; `after` says to which, `None` to leave it.
#[inline(always)]
pub fn step<S: Set>(place: Place<S>, key: u64, ledger: &impl Ledger, after: impl Fn(Value) -> Option<Value>) {
    for _ in 0..TRIES {
        let seen = place.value();
        if !seen.is_live() || place.set.key(place.way) != key {
            return;
        }
        let Some(next) = after(seen) else {
            return;
        };
        if next.is_active() && !seen.is_active() {
            ledger.opened(next.backend());
        }
        if place.swap(seen, next) {
            if seen.is_active() && !next.is_active() {
                ledger.ended(seen.backend(), place.link(seen));
            }
            return;
        }
        if next.is_active() && !seen.is_active() {
            ledger.ended(next.backend(), 0);
        }
    }
}

/// Ends a flow and frees its entry, whatever changes meanwhile, unless the entry is another flow's by now or somebody
/// else ends it.
#[inline(always)]
pub fn end<S: Set>(place: Place<S>, key: u64, ledger: &impl Ledger) {
    for _ in 0..TRIES {
        let seen = place.value();
        if !seen.is_live() || place.set.key(place.way) != key {
            return;
        }
        if reserve(place, seen, ledger) {
            clear(place);
            return;
        }
    }
}

/// Frees an entry that is the caller's own.
#[inline(always)]
pub fn clear<S: Set>(place: Place<S>) {
    place.set.set_key(place.way, 0);
    publish(place, Value::FREE);
}

/// Makes an entry the agent's own if it still is as `seen`; counting is left to the agent.
pub fn sweep<S: Set>(place: Place<S>, seen: Value) -> bool {
    place.swap(seen, seen.with_state(state::SWEPT))
}
