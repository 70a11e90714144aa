//! Which server a client stays with. The protocol is in `nlb_common::abi::persistence`.

use nlb_common::{
    abi::{
        conn::HALF_OPEN_TIMEOUT,
        persistence::{self, Owner, PersistenceEntry, PersistenceSet, Use, WAYS},
    },
    event::Event,
    hash::Hasher,
    ticks::Ticks,
};

use crate::{clock, config, counters, family::Words, maps::PERSISTENCE, shared};

/// How often a change is tried again that met another one.
const TRIES: u32 = 4;

/// A client of a service at a VIP.
struct Client {
    address: [u32; 4],
    /// Service, VIP, and for what is to be remembered the backend.
    owner: Owner,
    hash: u64,
}

/// Where a client stays: what the functions below are asked about. In scalars, because the verifier looks at those
/// functions by themselves.
#[derive(Clone, Copy)]
pub(crate) struct Stay {
    /// The client's address.
    pub client: Words,
    /// Service, VIP and, where one is to be remembered, backend.
    pub owner: Owner,
    /// How long an entry lives.
    pub timeout: Ticks,
}

impl Stay {
    /// The server the client stays with; `None`: there is no entry, or its time is over.
    #[inline(always)]
    pub(crate) fn server(self) -> Option<u32> {
        let Words(high, low) = self.client;
        match persistence_server(high, low, self.owner.0, self.timeout.0) {
            0 => None,
            number => Some(number),
        }
    }

    /// Remembers the server of a client's first packet, until a connection is established; a client that has an entry
    /// gets the new server there.
    #[inline(always)]
    pub(crate) fn remember(self) {
        let Words(high, low) = self.client;
        persistence_remember(high, low, self.owner.0, self.timeout.0);
    }

    /// Counts an established connection: the client's entry lives at least as long as it. The answer is the link for
    /// [`persistence_release`]; 0: there is no room for an entry.
    #[inline(always)]
    pub(crate) fn hold(self) -> u32 {
        let Words(high, low) = self.client;
        persistence_hold(high, low, self.owner.0)
    }
}

/// [`Stay::server`]; 0: none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn persistence_server(high: u64, low: u64, owner: u64, timeout: u32) -> u32 {
    Client::new(high, low, owner).server(Ticks(timeout), clock::now()).unwrap_or(0)
}

/// [`Stay::remember`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn persistence_remember(high: u64, low: u64, owner: u64, timeout: u32) -> u32 {
    Client::new(high, low, owner).remember(Ticks(timeout), clock::now());
    0
}

/// [`Stay::hold`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn persistence_hold(high: u64, low: u64, owner: u64) -> u32 {
    Client::new(high, low, owner).hold(clock::now())
}

type Entry = *mut PersistenceEntry;

impl Client {
    #[inline(always)]
    fn new(high: u64, low: u64, owner: u64) -> Self {
        let owner = Owner(owner);
        let mut hasher = Hasher::new(config::hash_seed());
        hasher.add(high);
        hasher.add(low);
        hasher.add(owner.with_backend(0).0);
        Self { address: Words(high, low).address(), owner, hash: hasher.finish() }
    }

    #[inline(always)]
    fn server(&self, timeout: Ticks, now: Ticks) -> Option<u32> {
        let (entry, _) = self.find()?;
        let (owner, seen) = (owner(entry), use_(entry));
        if seen.is_dead() || seen.is_over(now, lifetime(owner, timeout)) {
            return None;
        }
        Some(owner.backend())
    }

    #[inline(always)]
    fn remember(&self, timeout: Ticks, now: Ticks) {
        let Some((entry, _)) = self.find() else {
            // If there is no room now, there may be when the connection is established: only then it is counted.
            self.insert(self.owner.tentative(true), Use::new(now));
            return;
        };
        let (seen, before) = (use_(entry), owner(entry));
        let mut after = before.with_backend(self.owner.backend());
        if seen.is_over(now, lifetime(before, timeout)) {
            after = after.tentative(true);
            // SAFETY: a word of a map value.
            if !unsafe { shared::swap_if(&raw mut (*entry).use_, seen.0, Use::new(now).0) } {
                return;
            }
        }
        // SAFETY: as above.
        unsafe { shared::swap_if(&raw mut (*entry).owner, before.0, after.0) };
    }

    #[inline(always)]
    fn hold(&self, now: Ticks) -> u32 {
        if let Some((entry, link)) = self.find() {
            let before = owner(entry);
            if before.is_tentative() {
                let after = before.with_backend(self.owner.backend()).tentative(false);
                // SAFETY: a word of a map value.
                unsafe { shared::swap_if(&raw mut (*entry).owner, before.0, after.0) };
            }
            if count(entry, now) {
                return link;
            }
        }
        let used = Use::new(now).opened(now);
        let Some(link) = self.insert(self.owner, used) else {
            counters::event(Event::PersistenceFull);
            return 0;
        };
        link
    }

    #[inline(always)]
    fn find(&self) -> Option<(Entry, u32)> {
        for set in persistence::sets(self.hash, config::persistence_mask()) {
            for way in 0..WAYS {
                let entry = at(set, way)?;
                if !owner(entry).is_of(self.owner) {
                    continue;
                }
                // SAFETY: a map value; `owner` says afterwards whose it was.
                let client = unsafe { (*entry).client };
                if client == self.address && owner(entry).is_of(self.owner) {
                    return Some((entry, persistence::link(set, way as u32)));
                }
            }
        }
        None
    }

    /// Makes an entry: in a free place, or in that of a tentative one.
    #[inline(always)]
    fn insert(&self, new: Owner, used: Use) -> Option<u32> {
        let sets = persistence::sets(self.hash, config::persistence_mask());
        let (entry, link) = match claim(sets, |seen| seen == Owner::FREE) {
            Some(free) => free,
            None => claim(sets, Owner::is_tentative)?,
        };
        // SAFETY: a map value that is reserved for this packet.
        unsafe {
            (*entry).client = self.address;
            shared::write(&raw mut (*entry).use_, used.0);
            shared::swap_if(&raw mut (*entry).owner, Owner::RESERVED.0, new.0);
        }
        Some(link)
    }
}

/// How long an entry lives: a tentative one as long as a handshake may take.
#[inline(always)]
fn lifetime(owner: Owner, timeout: Ticks) -> Ticks {
    if owner.is_tentative() { HALF_OPEN_TIMEOUT } else { timeout }
}

/// A place that fits, in the first half of either set, else in the second: with the first set always before the second
/// one, some pairs of sets would be full long before the table is.
#[inline(always)]
fn claim(sets: [u32; 2], fits: impl Fn(Owner) -> bool) -> Option<(Entry, u32)> {
    for half in [0, WAYS / 2] {
        for set in sets {
            for way in half..half + WAYS / 2 {
                let entry = at(set, way)?;
                let seen = owner(entry);
                // SAFETY: a word of a map value.
                if fits(seen)
                    && unsafe { shared::swap_if(&raw mut (*entry).owner, seen.0, Owner::RESERVED.0) }
                {
                    return Some((entry, persistence::link(set, way as u32)));
                }
            }
        }
    }
    None
}

#[inline(always)]
fn at(set: u32, way: usize) -> Option<Entry> {
    let set: *mut PersistenceSet = PERSISTENCE.get_ptr_mut(set)?;
    // SAFETY: a map value; `way` is below `WAYS`.
    Some(unsafe { (&raw mut (*set).entries).cast::<PersistenceEntry>().add(way) })
}

#[inline(always)]
fn owner(entry: Entry) -> Owner {
    // SAFETY: a word of a map value.
    Owner(unsafe { shared::read(&raw const (*entry).owner) })
}

#[inline(always)]
fn use_(entry: Entry) -> Use {
    // SAFETY: as above.
    Use(unsafe { shared::read(&raw const (*entry).use_) })
}

/// One connection more; `false`: the agent is removing the entry.
#[inline(always)]
fn count(entry: Entry, now: Ticks) -> bool {
    for _ in 0..TRIES {
        let seen = use_(entry);
        if seen.is_dead() {
            return false;
        }
        // SAFETY: a word of a map value.
        if unsafe { shared::swap_if(&raw mut (*entry).use_, seen.0, seen.opened(now).0) } {
            return true;
        }
    }
    false
}

/// One connection less of the entry of a link. The time is written first: without connections it counts.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn persistence_release(link: u32) -> u32 {
    let index = link.wrapping_sub(1);
    let Some(entry) = at(index / WAYS as u32, (index % WAYS as u32) as usize) else {
        return 0;
    };
    let now = clock::now();
    // SAFETY: words of a map value; this target is little-endian.
    unsafe { shared::write((&raw mut (*entry).use_).cast::<u32>().add(1), now.0) };
    if use_(entry).connections() != 0 {
        // SAFETY: as above; the count is not 0, so nothing is borrowed from the bits above it.
        unsafe { shared::subtract_one(&raw mut (*entry).use_) };
    }
    0
}
