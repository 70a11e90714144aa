//! What the address families have each for themselves: maps.

use aya_ebpf::maps::{Array, HashMap};
use nlb_common::{
    abi::{
        conn::Conn,
        flow::FlowSet,
        service,
        vip::{LocalAddress, Snat},
    },
    addr::{V4, V6},
    packet::{Family, Ipv4, Ipv6},
};

use crate::maps;

/// A family with its maps.
pub(crate) trait Tables: Family {
    /// Index into the arrays of two in a service.
    const SERVICE_INDEX: usize;
    /// `AF_INET` or `AF_INET6`, for `bpf_fib_lookup`.
    const AF: u8;

    /// What an address is to the balancer.
    fn addresses() -> &'static HashMap<Self::Address, LocalAddress>;
    /// SNAT addresses.
    fn snats() -> &'static Array<Snat>;
    /// The flow table.
    fn flows() -> &'static Array<FlowSet>;
    /// The connection table.
    fn conns() -> &'static Array<Conn<Self::Address>>;
    /// The family's address in a field that is wide enough for both.
    fn narrow(address: [u32; 4]) -> Self::Address;
    /// The address in a field that is wide enough for both.
    fn widen(address: Self::Address) -> [u32; 4];
}

impl Tables for Ipv4 {
    const SERVICE_INDEX: usize = service::V4;
    const AF: u8 = 2;

    #[inline(always)]
    fn addresses() -> &'static HashMap<V4, LocalAddress> {
        &maps::ADDRESSES_V4
    }

    #[inline(always)]
    fn snats() -> &'static Array<Snat> {
        &maps::SNATS_V4
    }

    #[inline(always)]
    fn flows() -> &'static Array<FlowSet> {
        &maps::FLOWS_V4
    }

    #[inline(always)]
    fn conns() -> &'static Array<Conn<V4>> {
        &maps::CONNS_V4
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
    const AF: u8 = 10;

    #[inline(always)]
    fn addresses() -> &'static HashMap<V6, LocalAddress> {
        &maps::ADDRESSES_V6
    }

    #[inline(always)]
    fn snats() -> &'static Array<Snat> {
        &maps::SNATS_V6
    }

    #[inline(always)]
    fn flows() -> &'static Array<FlowSet> {
        &maps::FLOWS_V6
    }

    #[inline(always)]
    fn conns() -> &'static Array<Conn<V6>> {
        &maps::CONNS_V6
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
