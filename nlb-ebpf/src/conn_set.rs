//! From a client's packet to its connection in `nat`: one cache line names the connections of a hash.

use nlb_common::{
    abi::{
        conn::Status,
        conn_set::{self, ConnSet, WAYS},
    },
    hash::Tuple,
};

use crate::{
    conn::{self, Entry},
    family::Tables,
    shared,
};

/// The number of sets minus one.
const MASK: u32 = nlb_common::abi::maps::CONN_SETS - 1;

/// A connection found: still to be checked with [`conn::unchanged`] after its fields were read.
pub(crate) struct Found<F: Tables> {
    /// Its index.
    pub index: u32,
    /// Its entry.
    pub entry: Entry<F>,
    /// The status from before any field was read.
    pub status: Status,
}

/// The set of a hash.
#[inline(always)]
fn set<F: Tables>(hash: u64) -> Option<*mut ConnSet> {
    F::conn_sets().get_ptr_mut(conn_set::set_index(hash, MASK))
}

/// A word of a set.
#[inline(always)]
fn word(set: *mut ConnSet, way: usize) -> *mut u64 {
    // SAFETY: a map value; `way` is below `WAYS`.
    unsafe { (&raw mut (*set).words).cast::<u64>().add(way) }
}

/// The connection of a client's packet.
#[inline(always)]
pub(crate) fn find<F: Tables>(tuple: &Tuple<F::Address>, hash: u64) -> Option<Found<F>> {
    let set = set::<F>(hash)?;
    for way in 0..WAYS {
        // SAFETY: a word of a map value.
        let word = unsafe { shared::read(word(set, way)) };
        let index = word as u32;
        if index == 0 || (word >> 32) as u32 != conn_set::digest(hash) {
            continue;
        }
        let entry = conn::at::<F>(index)?;
        let status = conn::status::<F>(entry);
        if status.is_conn() && is_of::<F>(entry, tuple) {
            return Some(Found { index, entry, status });
        }
    }
    None
}

/// Whether the entry is of the flow: the digest only said that it may be.
#[inline(always)]
fn is_of<F: Tables>(entry: Entry<F>, tuple: &Tuple<F::Address>) -> bool {
    // SAFETY: a map value; should it be rewritten meanwhile, `conn::unchanged` tells.
    let conn = unsafe { &*entry };
    conn.client == tuple.client
        && conn.vip == tuple.vip
        && conn.client_port == tuple.client_port
        && conn.vip_port == tuple.vip_port
        && conn.protocol == tuple.protocol
}

/// Remembers a connection; `false` if the set names nothing but live ones.
#[inline(always)]
pub(crate) fn insert<F: Tables>(hash: u64, index: u32) -> bool {
    let Some(set) = set::<F>(hash) else {
        return false;
    };
    let new = conn_set::Entry { digest: conn_set::digest(hash), conn: index }.to_word();
    for way in 0..WAYS {
        let word = word(set, way);
        // SAFETY: a word of a map value.
        let old = unsafe { shared::read(word) };
        if old != 0 && !is_stale::<F>(old) {
            continue;
        }
        // SAFETY: as above. Who is quicker has the place; the next one may be free as well.
        if unsafe { shared::swap_if(word, old, new) } {
            return true;
        }
    }
    false
}

/// Whether an entry names a connection that is gone, or by now another flow's.
#[inline(always)]
fn is_stale<F: Tables>(word: u64) -> bool {
    let Some(entry) = conn::at::<F>(word as u32) else {
        return true;
    };
    // SAFETY: a map value, aligned.
    let digest = unsafe { shared::read(&raw const (*entry).digest) };
    digest != (word >> 32) as u32 || !conn::status::<F>(entry).is_conn()
}

/// Forgets which connection a flow had.
#[inline(always)]
pub(crate) fn remove<F: Tables>(hash: u64, index: u32) {
    let Some(set) = set::<F>(hash) else {
        return;
    };
    let old = conn_set::Entry { digest: conn_set::digest(hash), conn: index }.to_word();
    for way in 0..WAYS {
        // SAFETY: a word of a map value.
        unsafe { shared::swap_if(word(set, way), old, 0) };
    }
}
