//! From a packet to its connection: one cache line names the connections of a hash. With `dnat` a connection has two
//! names, one for each direction.

use nlb_common::{
    abi::{
        conn::{Conn, Status, translation},
        conn_set::{self, ConnSet, WAYS},
    },
    hash::Tuple,
};

use crate::{
    config,
    conn::{self, Entry},
    family::Tables,
    shared,
};

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
    F::conn_sets().get_ptr_mut(conn_set::set_index(hash, F::conn_mask()))
}

/// A word of a set.
#[inline(always)]
fn word(set: *mut ConnSet, way: usize) -> *mut u64 {
    // SAFETY: a map value; `way` is below `WAYS`.
    unsafe { (&raw mut (*set).words).cast::<u64>().add(way) }
}

/// The connection of a client's packet.
#[inline(always)]
pub(crate) fn find<F: Tables, const TRANSLATION: u8>(
    tuple: &Tuple<F::Address>,
    hash: u64,
) -> Option<Found<F>> {
    search(hash, |_, conn| is_of::<F, TRANSLATION>(conn, tuple))
}

/// The connection of a server's packet, with `dnat`.
#[inline(always)]
pub(crate) fn find_reply<F: Tables>(tuple: &Tuple<F::Address>, hash: u64) -> Option<Found<F>> {
    search(hash, |_, conn| is_answered_by::<F>(conn, tuple))
}

/// A connection but that of `index` to which the same server's packets would belong.
#[inline(always)]
pub(crate) fn rival<F: Tables>(tuple: &Tuple<F::Address>, hash: u64, index: u32) -> Option<Found<F>> {
    search(hash, |at, conn| at != index && is_answered_by::<F>(conn, tuple))
}

/// The first connection of a hash that `suits`.
#[inline(always)]
fn search<F: Tables>(hash: u64, suits: impl Fn(u32, &Conn<F::Address>) -> bool) -> Option<Found<F>> {
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
        // SAFETY: a map value; should it be rewritten meanwhile, `conn::unchanged` tells.
        if status.is_conn() && suits(index, unsafe { &*entry }) {
            return Some(Found { index, entry, status });
        }
    }
    None
}

/// Whether the entry is of the flow: the digest only said that it may be.
#[inline(always)]
fn is_of<F: Tables, const TRANSLATION: u8>(conn: &Conn<F::Address>, tuple: &Tuple<F::Address>) -> bool {
    conn.client == tuple.client
        && conn.vip == tuple.vip
        && conn.client_port == tuple.client_port
        && conn.vip_port == tuple.vip_port
        && how(conn) == u16::from_ne_bytes([tuple.protocol, TRANSLATION])
}

/// Protocol and translation: the same addresses and ports may have belonged to a listener of another mode.
#[inline(always)]
fn how<A>(conn: &Conn<A>) -> u16 {
    u16::from_ne_bytes([conn.protocol, conn.translation])
}

/// Whether the packets of the tuple's server are replies of the connection.
#[inline(always)]
fn is_answered_by<F: Tables>(conn: &Conn<F::Address>, tuple: &Tuple<F::Address>) -> bool {
    conn.reply_tuple() == *tuple && conn.translation == translation::DESTINATION
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
    let (digest, conn) = unsafe { (shared::read(&raw const (*entry).digest), &*entry) };
    let named = (word >> 32) as u32;
    let is_reply = || {
        conn.translation == translation::DESTINATION
            && conn_set::digest(conn.reply_hash(config::hash_seed())) == named
    };
    !conn::status::<F>(entry).is_conn() || (digest != named && !is_reply())
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
