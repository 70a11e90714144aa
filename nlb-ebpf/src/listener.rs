//! Which listener a packet is for: one cache line of a bucket, one of the listener.

use nlb_common::{
    abi::listener::{self, BUCKET, Entry, Listener, ListenerBucket},
    hash::{Destination, Hasher},
    ticks::Ticks,
};

use crate::{
    config,
    family::Tables,
    maps::{LISTENER_BUCKETS, LISTENERS},
    shared,
};

/// A listener.
#[derive(Clone, Copy)]
pub(crate) struct Listening {
    /// Its number.
    pub number: u32,
    entry: *const Listener,
}

/// The listener of a destination, and the hash that its flows' hashes go on from.
#[inline(always)]
pub(crate) fn find<F: Tables>(to: &Destination<F::Address>) -> Option<(Listening, Hasher)> {
    let hasher = to.hasher(config::hash_seed());
    let hash = hasher.so_far();
    let [first, second] = listener::buckets(hash);
    let found = match in_bucket::<F>(first, hash, to) {
        Search::Found(found) => found,
        Search::Elsewhere => match in_bucket::<F>(second, hash, to) {
            Search::Found(found) => found,
            Search::Elsewhere | Search::Nowhere => return None,
        },
        Search::Nowhere => return None,
    };
    Some((found, hasher))
}

/// What the first entry of a bucket tells that has a destination's digest.
pub(crate) enum First {
    /// The listener, and the hash that its flows' hashes go on from.
    Found(Listening, Hasher),
    /// There is none.
    Nobody,
    /// It takes [`find`] to know.
    Unsure,
}

/// As [`find`], but gives up where more than one entry would have to be looked at, which is next to never.
#[inline(always)]
pub(crate) fn first<F: Tables>(to: &Destination<F::Address>) -> First {
    let hasher = to.hasher(config::hash_seed());
    let hash = hasher.so_far();
    let [bucket, _] = listener::buckets(hash);
    let Some(bucket) = LISTENER_BUCKETS.get_ptr(bucket) else {
        return First::Nobody;
    };
    let mut number = 0;
    for way in 0..BUCKET {
        // SAFETY: a word of a map value.
        let word = unsafe { shared::read(word(bucket, way)) };
        match Entry::from_word(word) {
            None => return First::Nobody,
            Some(entry) if entry.digest == listener::digest(hash) => {
                number = entry.listener;
                break;
            }
            Some(_) => {}
        }
    }
    match at(number) {
        Some(found) if number != 0 && found.is_at::<F>(to) => First::Found(found, hasher),
        _ => First::Unsure,
    }
}

enum Search {
    Found(Listening),
    /// The bucket is full: who found no room is in the next one.
    Elsewhere,
    Nowhere,
}

#[inline(always)]
fn in_bucket<F: Tables>(index: u32, hash: u64, to: &Destination<F::Address>) -> Search {
    let Some(bucket) = LISTENER_BUCKETS.get_ptr(index) else {
        return Search::Nowhere;
    };
    for way in 0..BUCKET {
        // SAFETY: a word of a map value.
        let word = unsafe { shared::read(word(bucket, way)) };
        let Some(Entry { digest, listener: number }) = Entry::from_word(word) else {
            return Search::Nowhere;
        };
        if digest == listener::digest(hash)
            && let Some(found) = at(number)
            && found.is_at::<F>(to)
        {
            return Search::Found(found);
        }
    }
    Search::Elsewhere
}

#[inline(always)]
fn word(bucket: *const ListenerBucket, way: usize) -> *const u64 {
    // SAFETY: a map value; `way` is below `BUCKET`.
    unsafe { (&raw const (*bucket).words).cast::<u64>().add(way) }
}

/// The listener of a number.
#[inline(always)]
pub(crate) fn at(number: u32) -> Option<Listening> {
    LISTENERS.get_ptr(number).map(|entry| Listening { number, entry })
}

impl Listening {
    #[inline(always)]
    fn is_at<F: Tables>(self, to: &Destination<F::Address>) -> bool {
        // SAFETY: a map value; these fields do not change while a bucket names the number.
        let entry = unsafe { &*self.entry };
        entry.endpoint == listener::endpoint(to.port, to.protocol, F::NUMBER)
            && F::narrow(entry.address) == to.vip
    }

    /// Number of the backend service.
    #[inline(always)]
    pub(crate) fn service(self) -> u32 {
        // SAFETY: a map value, aligned.
        unsafe { shared::read(&raw const (*self.entry).service) }
    }

    /// Number of the VIP.
    #[inline(always)]
    pub(crate) fn vip(self) -> u32 {
        // SAFETY: as above.
        unsafe { shared::read(&raw const (*self.entry).vip) }
    }

    /// IP protocol number.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u8 {
        // SAFETY: as above.
        listener::protocol_of(unsafe { shared::read(&raw const (*self.entry).endpoint) })
    }

    /// How long an established flow may be silent.
    #[inline(always)]
    pub(crate) fn idle_timeout(self) -> Ticks {
        // SAFETY: as above.
        Ticks(unsafe { shared::read(&raw const (*self.entry).idle_timeout) })
    }

    /// Whether it takes no new connections.
    #[inline(always)]
    pub(crate) fn is_closed_to_new(self) -> bool {
        // SAFETY: as above.
        unsafe { shared::read(&raw const (*self.entry).closed_to_new) != 0 }
    }

    /// One of [`nlb_common::abi::listener::tracking`].
    #[inline(always)]
    pub(crate) fn tracking(self) -> u32 {
        listener::tracking_of(self.guarded_tracking())
    }

    /// The same, which is no longer any of them if the listener has an access list.
    #[inline(always)]
    pub(crate) fn guarded_tracking(self) -> u32 {
        // SAFETY: as above.
        unsafe { shared::read(&raw const (*self.entry).tracking) }
    }

    /// The number of its access list; 0: there is none.
    #[inline(always)]
    pub(crate) fn acl(self) -> u32 {
        listener::acl_of(self.guarded_tracking())
    }
}
