//! What the address families have each for themselves: maps.

use aya_ebpf::{
    bindings::xdp_md,
    maps::{Array, HashMap, LpmTrie},
    programs::XdpContext,
};
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
    bytes::Bytes,
    packet::{
        Family as _, Fragment, Ipv4, Ipv6, Link, Network,
        echo::Echo,
        extension::{self, Chain},
    },
    tcp::{Direction, Flags},
};

use crate::{config, conn, conn_set, maps, packet::frame};

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
pub(crate) trait Tables: Echo {
    /// Index into the arrays of two in a service.
    const SERVICE_INDEX: usize;
    /// 4 or 6.
    const NUMBER: u8;
    /// `AF_INET` or `AF_INET6`, for `bpf_fib_lookup`.
    const AF: u8;
    /// The slot of the program that opens flows through tunnels.
    const OPEN_SLOT: u32;
    /// The slot of the program that does whatever the others leave.
    const REST_SLOT: u32;
    /// The slot of the program for fragments.
    const FRAGMENT_SLOT: u32;
    /// The slot of the program for packets that do not fit.
    const TOO_BIG_SLOT: u32;
    /// The slot of the program for ICMP.
    const ICMP_SLOT: u32;
    /// The slot of the program for clients' packets of `dnat`.
    const DNAT_SLOT: u32;
    /// The slot of the program for its servers' packets.
    const BACK_SLOT: u32;
    /// The slot of the program for listeners with an access list.
    const GUARD_SLOT: u32;

    /// Reads the network header, with all that follows it up to the transport header.
    fn network(ctx: &XdpContext, packet: Bytes) -> Option<Network<Self::Address>>;
    /// The same, and which part of a packet it is, of a packet that is a fragment.
    fn fragment(ctx: &XdpContext, packet: Bytes) -> Option<(Network<Self::Address>, Fragment)>;
    /// What an address is to the balancer.
    fn addresses() -> &'static HashMap<Self::Address, LocalAddress>;
    /// Access lists.
    fn acls() -> &'static LpmTrie<AclKey<Self::Address>, u32>;
    /// SNAT addresses.
    fn snats() -> &'static Array<Snat>;
    /// From a client's packet to its connection.
    fn conn_sets() -> &'static Array<ConnSet>;
    /// The number of these sets minus one.
    fn conn_mask() -> u32;
    /// The connection table.
    fn conns() -> &'static Array<Conn<Self::Address>>;
    /// The links of the connection table.
    fn conn_links() -> &'static Array<u32>;
    /// [`conn::slot_for`]; the verifier looks at this and the following by themselves.
    fn slot_for(backend: u32, hash: u64, tried: Option<u32>) -> Option<u32>;
    /// [`conn::take`].
    fn take(backend: u32, slot: u32) -> Option<(u32, Status)>;
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
    const REST_SLOT: u32 = programs::REST_V4;
    const FRAGMENT_SLOT: u32 = programs::FRAGMENT_V4;
    const TOO_BIG_SLOT: u32 = programs::TOO_BIG_V4;
    const ICMP_SLOT: u32 = programs::ICMP_V4;
    const GUARD_SLOT: u32 = programs::GUARD_V4;
    const DNAT_SLOT: u32 = programs::DNAT_V4;
    const BACK_SLOT: u32 = programs::BACK_V4;

    #[inline(always)]
    fn network(_ctx: &XdpContext, packet: Bytes) -> Option<Network<V4>> {
        Self::parse(packet).ok()
    }

    #[inline(always)]
    fn fragment(_ctx: &XdpContext, packet: Bytes) -> Option<(Network<V4>, Fragment)> {
        Some((Self::parse(packet).ok()?, Fragment::of_v4(packet)?))
    }

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
    fn conn_mask() -> u32 {
        config::conn_mask_v4()
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
    fn slot_for(backend: u32, hash: u64, tried: Option<u32>) -> Option<u32> {
        conn_slot_v4(backend, hash, tried.map_or(0, |slot| slot + 1)).checked_sub(1)
    }

    #[inline(always)]
    fn take(backend: u32, slot: u32) -> Option<(u32, Status)> {
        taken(conn_take_v4(backend, slot))
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
    const REST_SLOT: u32 = programs::REST_V6;
    const FRAGMENT_SLOT: u32 = programs::FRAGMENT_V6;
    const TOO_BIG_SLOT: u32 = programs::TOO_BIG_V6;
    const ICMP_SLOT: u32 = programs::ICMP_V6;
    const GUARD_SLOT: u32 = programs::GUARD_V6;
    const DNAT_SLOT: u32 = programs::DNAT_V6;
    const BACK_SLOT: u32 = programs::BACK_V6;

    #[inline(always)]
    fn network(ctx: &XdpContext, packet: Bytes) -> Option<Network<V6>> {
        let network = Self::parse(packet).ok()?;
        let chain = if Self::is_extension(network.protocol) {
            Chain::from_word(extension_headers(ctx.ctx))
        } else {
            Chain { len: network.header_len, protocol: network.protocol, fragment: None }
        };
        Some(network.with(chain))
    }

    #[inline(always)]
    fn fragment(ctx: &XdpContext, packet: Bytes) -> Option<(Network<V6>, Fragment)> {
        let network = Self::parse(packet).ok()?;
        let chain = Chain::from_word(extension_headers(ctx.ctx));
        Some((network.with(chain), chain.fragment?))
    }

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
    fn conn_mask() -> u32 {
        config::conn_mask_v6()
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
    fn slot_for(backend: u32, hash: u64, tried: Option<u32>) -> Option<u32> {
        conn_slot_v6(backend, hash, tried.map_or(0, |slot| slot + 1)).checked_sub(1)
    }

    #[inline(always)]
    fn take(backend: u32, slot: u32) -> Option<(u32, Status)> {
        taken(conn_take_v6(backend, slot))
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
    ($family:ident: $slot:ident, $take:ident, $step:ident, $name:ident, $unname:ident) => {
        /// [`Tables::slot_for`], all slots plus one; 0: there is none.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $slot(backend: u32, hash: u64, tried: u32) -> u32 {
            conn::slot_for::<$family>(backend, hash, tried.checked_sub(1)).map_or(0, |slot| slot + 1)
        }

        /// [`Tables::take`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $take(backend: u32, slot: u32) -> u64 {
            untaken(conn::take::<$family>(backend, slot))
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

by_themselves!(Ipv4: conn_slot_v4, conn_take_v4, conn_step_v4, conn_name_v4, conn_unname_v4);
by_themselves!(Ipv6: conn_slot_v6, conn_take_v6, conn_step_v6, conn_name_v6, conn_unname_v6);

/// Follows the extension headers of an IPv6 packet ([`extension::follow`]): a [`Chain`]. By itself, because there are many
/// ways through them, and the verifier would go each of them at every place where a packet is parsed.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn extension_headers(ctx: *mut xdp_md) -> u64 {
    let chain = |ctx: &XdpContext| {
        let frame = frame(ctx);
        let packet = frame.after(Link::parse(frame)?.len()).proven(Ipv6::HEADER_LEN)?;
        let network = Ipv6::parse(packet).ok()?;
        Some(extension::follow(packet, &network))
    };
    chain(&XdpContext::new(ctx)).map_or(0, Chain::to_word)
}
