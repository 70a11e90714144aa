//! What the address families have each for themselves: maps.

use aya_ebpf::maps::{Array, HashMap, LpmTrie};
use nlb_common::{
    abi::{
        acl::AclKey,
        conn::{Conn, Status},
        conn_set::ConnSet,
        flow::Key,
        maps::programs,
        service,
        vip::{LocalAddress, Snat},
    },
    addr::{V4, V6},
    be::Be16,
    packet::{Family, Ipv4, Ipv6},
    tcp::{Direction, Flags},
};

use crate::{conn, conn_set, maps};

/// An address of either family in two registers.
#[derive(Clone, Copy)]
pub(crate) struct Words(pub u64, pub u64);

impl Words {
    /// The address in a field that is wide enough for both.
    #[inline(always)]
    pub(crate) fn address(self) -> [u32; 4] {
        let Self(high, low) = self;
        [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
    }

    /// From such a field.
    #[inline(always)]
    pub(crate) fn of([a, b, c, d]: [u32; 4]) -> Self {
        Self(u64::from(a) << 32 | u64::from(b), u64::from(c) << 32 | u64::from(d))
    }
}

/// A family with its maps.
pub(crate) trait Tables: Family {
    /// Index into the arrays of two in a service.
    const SERVICE_INDEX: usize;
    /// 4 or 6.
    const NUMBER: u8;
    /// `AF_INET` or `AF_INET6`, for `bpf_fib_lookup`.
    const AF: u8;
    /// The slot of the program that opens flows through tunnels.
    const OPEN_SLOT: u32;
    /// The slot of the program for listeners with an access list.
    const GUARD_SLOT: u32;

    /// What an address is to the balancer.
    fn addresses() -> &'static HashMap<Self::Address, LocalAddress>;
    /// Access lists.
    fn acls() -> &'static LpmTrie<AclKey<Self::Address>, u32>;
    /// SNAT addresses.
    fn snats() -> &'static Array<Snat>;
    /// From a client's packet to its connection.
    fn conn_sets() -> &'static Array<ConnSet>;
    /// The connection table.
    fn conns() -> &'static Array<Conn<Self::Address>>;
    /// The links of the connection table.
    fn conn_links() -> &'static Array<u32>;
    /// [`conn::take`]; the verifier looks at this and the following by themselves.
    fn take(backend: u32, hash: u64) -> Option<(u32, Status)>;
    /// [`conn::step`].
    fn step(index: u32, seen: Status, direction: Direction, flags: Flags);
    /// [`conn_set::insert`].
    fn name(hash: u64, index: u32) -> bool;
    /// [`conn_set::remove`].
    fn unname(hash: u64, index: u32);
    /// The key of a flow.
    fn flow_key(client: Self::Address, client_port: Be16, listener: u32, hash: u64) -> Key;
    /// The family's address in a field that is wide enough for both.
    fn narrow(address: [u32; 4]) -> Self::Address;
    /// The address in a field that is wide enough for both.
    fn widen(address: Self::Address) -> [u32; 4];
}

impl Tables for Ipv4 {
    const SERVICE_INDEX: usize = service::V4;
    const NUMBER: u8 = 4;
    const AF: u8 = 2;
    const OPEN_SLOT: u32 = programs::OPEN_V4;
    const GUARD_SLOT: u32 = programs::GUARD_V4;

    #[inline(always)]
    fn addresses() -> &'static HashMap<V4, LocalAddress> {
        &maps::ADDRESSES_V4
    }

    #[inline(always)]
    fn acls() -> &'static LpmTrie<AclKey<V4>, u32> {
        &maps::ACLS_V4
    }

    #[inline(always)]
    fn snats() -> &'static Array<Snat> {
        &maps::SNATS_V4
    }

    #[inline(always)]
    fn conn_sets() -> &'static Array<ConnSet> {
        &maps::CONN_SETS_V4
    }

    #[inline(always)]
    fn conns() -> &'static Array<Conn<V4>> {
        &maps::CONNS_V4
    }

    #[inline(always)]
    fn conn_links() -> &'static Array<u32> {
        &maps::CONN_LINKS_V4
    }

    #[inline(always)]
    fn take(backend: u32, hash: u64) -> Option<(u32, Status)> {
        taken(conn_take_v4(backend, hash))
    }

    #[inline(always)]
    fn step(index: u32, seen: Status, direction: Direction, flags: Flags) {
        conn_step_v4(index, seen.0, packed(direction, flags));
    }

    #[inline(always)]
    fn name(hash: u64, index: u32) -> bool {
        conn_name_v4(hash, index) != 0
    }

    #[inline(always)]
    fn unname(hash: u64, index: u32) {
        conn_unname_v4(hash, index);
    }

    #[inline(always)]
    fn flow_key(client: V4, client_port: Be16, listener: u32, _hash: u64) -> Key {
        Key::v4(client.0, client_port.raw(), listener)
    }

    #[inline(always)]
    fn narrow(address: [u32; 4]) -> V4 {
        V4(address[0])
    }

    #[inline(always)]
    fn widen(address: V4) -> [u32; 4] {
        [address.0, 0, 0, 0]
    }
}

impl Tables for Ipv6 {
    const SERVICE_INDEX: usize = service::V6;
    const NUMBER: u8 = 6;
    const AF: u8 = 10;
    const OPEN_SLOT: u32 = programs::OPEN_V6;
    const GUARD_SLOT: u32 = programs::GUARD_V6;

    #[inline(always)]
    fn addresses() -> &'static HashMap<V6, LocalAddress> {
        &maps::ADDRESSES_V6
    }

    #[inline(always)]
    fn acls() -> &'static LpmTrie<AclKey<V6>, u32> {
        &maps::ACLS_V6
    }

    #[inline(always)]
    fn snats() -> &'static Array<Snat> {
        &maps::SNATS_V6
    }

    #[inline(always)]
    fn conn_sets() -> &'static Array<ConnSet> {
        &maps::CONN_SETS_V6
    }

    #[inline(always)]
    fn conns() -> &'static Array<Conn<V6>> {
        &maps::CONNS_V6
    }

    #[inline(always)]
    fn conn_links() -> &'static Array<u32> {
        &maps::CONN_LINKS_V6
    }

    #[inline(always)]
    fn take(backend: u32, hash: u64) -> Option<(u32, Status)> {
        taken(conn_take_v6(backend, hash))
    }

    #[inline(always)]
    fn step(index: u32, seen: Status, direction: Direction, flags: Flags) {
        conn_step_v6(index, seen.0, packed(direction, flags));
    }

    #[inline(always)]
    fn name(hash: u64, index: u32) -> bool {
        conn_name_v6(hash, index) != 0
    }

    #[inline(always)]
    fn unname(hash: u64, index: u32) {
        conn_unname_v6(hash, index);
    }

    #[inline(always)]
    fn flow_key(_client: V6, _client_port: Be16, _listener: u32, hash: u64) -> Key {
        Key::v6(hash)
    }

    #[inline(always)]
    fn narrow(address: [u32; 4]) -> V6 {
        V6(address)
    }

    #[inline(always)]
    fn widen(address: V6) -> [u32; 4] {
        address.0
    }
}

/// An index and a status in one register; index 0 is never taken.
#[inline(always)]
fn taken(word: u64) -> Option<(u32, Status)> {
    let index = (word >> 32) as u32;
    if index == 0 { None } else { Some((index, Status(word as u32))) }
}

#[inline(always)]
fn untaken(taken: Option<(u32, Status)>) -> u64 {
    taken.map_or(0, |(index, status)| u64::from(index) << 32 | u64::from(status.0))
}

/// Direction and flags in one register.
#[inline(always)]
fn packed(direction: Direction, flags: Flags) -> u32 {
    u32::from(flags.0) | if matches!(direction, Direction::Forward) { 0x100 } else { 0 }
}

#[inline(always)]
fn unpacked(word: u32) -> (Direction, Flags) {
    let direction = if word & 0x100 != 0 { Direction::Forward } else { Direction::Reply };
    (direction, Flags(word as u8))
}

/// What of a family the verifier looks at by itself: functions of scalars.
macro_rules! by_themselves {
    ($family:ident: $take:ident, $step:ident, $name:ident, $unname:ident) => {
        /// [`Tables::take`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $take(backend: u32, hash: u64) -> u64 {
            untaken(conn::take::<$family>(backend, hash))
        }

        /// [`Tables::step`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $step(index: u32, seen: u32, what: u32) -> u32 {
            let (direction, flags) = unpacked(what);
            conn::step::<$family>(index, Status(seen), direction, flags);
            0
        }

        /// [`Tables::name`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $name(hash: u64, index: u32) -> u32 {
            conn_set::insert::<$family>(hash, index).into()
        }

        /// [`Tables::unname`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $unname(hash: u64, index: u32) -> u32 {
            conn_set::remove::<$family>(hash, index);
            0
        }
    };
}

by_themselves!(Ipv4: conn_take_v4, conn_step_v4, conn_name_v4, conn_unname_v4);
by_themselves!(Ipv6: conn_take_v6, conn_step_v6, conn_name_v6, conn_unname_v6);
