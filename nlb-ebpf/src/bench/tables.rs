//! What the reference balancer has for each address family: maps, and the header it puts in front.

use aya_ebpf::{
    maps::{Array, HashMap, LruHashMap},
    programs::XdpContext,
};
use nlb_common::{
    abi::bench::reference::{Flow, FlowKey, ListenerKey, Outer},
    addr::{V4, V6},
    be::Be16,
    bytes::Bytes,
    checksum::Sum,
    packet::{ETHERNET_LEN, Family, Ipv4, Ipv6},
};

use crate::{maps, room};

/// A family with its maps.
pub(crate) trait Tables: Family {
    /// Length of the outer IP header.
    const OUTER_LEN: usize = Self::HEADER_LEN;
    /// An entry of the array of backends.
    type Outer: 'static;

    /// The protocol of a packet that is whole and has a header of [`Family::HEADER_LEN`].
    fn plain_protocol(frame: Bytes) -> Option<u8>;
    /// Listeners.
    fn listeners() -> &'static HashMap<ListenerKey<Self::Address>, u32>;
    /// Flows.
    fn flows() -> &'static LruHashMap<FlowKey<Self::Address>, Flow>;
    /// Backends.
    fn backends() -> &'static Array<Self::Outer>;
    /// Writes the outer headers in front of `inner` bytes of IP, where there is room for them by now.
    fn encapsulate(ctx: &XdpContext, outer: &Self::Outer, inner: u16) -> Option<()>;
}

impl Tables for Ipv4 {
    type Outer = Outer<8>;

    #[inline(always)]
    fn plain_protocol(frame: Bytes) -> Option<u8> {
        let is_plain = frame.read::<u8>(ETHERNET_LEN)? == 0x45;
        // More-fragments flag, or an offset.
        let is_whole = frame.read::<Be16>(ETHERNET_LEN + 6)?.get() & 0x3fff == 0;
        if is_plain && is_whole { frame.read(ETHERNET_LEN + 9) } else { None }
    }

    #[inline(always)]
    fn listeners() -> &'static HashMap<ListenerKey<V4>, u32> {
        &maps::LISTENERS_V4
    }

    #[inline(always)]
    fn flows() -> &'static LruHashMap<FlowKey<V4>, Flow> {
        &maps::FLOWS_V4
    }

    #[inline(always)]
    fn backends() -> &'static Array<Outer<8>> {
        &maps::BACKENDS_V4
    }

    #[inline(always)]
    fn encapsulate(ctx: &XdpContext, outer: &Outer<8>, inner: u16) -> Option<()> {
        let start = room::<{ ETHERNET_LEN + Ipv4::HEADER_LEN }>(ctx)?;
        let len = Be16::new(Self::OUTER_LEN as u16 + inner).raw();
        let mut sum = Sum::from_checksum(outer.checksum);
        sum.add_u16(len);
        // SAFETY: within the bounds that `room` checked.
        unsafe {
            copy(start, outer);
            start.add(ETHERNET_LEN + 2).cast::<u16>().write_volatile(len);
            start.add(ETHERNET_LEN + 10).cast::<u16>().write_volatile(sum.checksum());
        }
        Some(())
    }
}

impl Tables for Ipv6 {
    type Outer = Outer<13>;

    #[inline(always)]
    fn plain_protocol(frame: Bytes) -> Option<u8> {
        frame.read(ETHERNET_LEN + 6)
    }

    #[inline(always)]
    fn listeners() -> &'static HashMap<ListenerKey<V6>, u32> {
        &maps::LISTENERS_V6
    }

    #[inline(always)]
    fn flows() -> &'static LruHashMap<FlowKey<V6>, Flow> {
        &maps::FLOWS_V6
    }

    #[inline(always)]
    fn backends() -> &'static Array<Outer<13>> {
        &maps::BACKENDS_V6
    }

    #[inline(always)]
    fn encapsulate(ctx: &XdpContext, outer: &Outer<13>, inner: u16) -> Option<()> {
        let start = room::<{ ETHERNET_LEN + Ipv6::HEADER_LEN }>(ctx)?;
        // SAFETY: within the bounds that `room` checked.
        unsafe {
            copy(start, outer);
            start.add(ETHERNET_LEN + 4).cast::<u16>().write_volatile(Be16::new(inner).raw());
        }
        Some(())
    }
}

/// # Safety
/// There are `4 * WORDS + 2` writable bytes at `start`.
#[inline(always)]
unsafe fn copy<const WORDS: usize>(start: *mut u8, outer: &Outer<WORDS>) {
    for (at, &word) in outer.words.iter().enumerate() {
        // SAFETY: the caller's. The kernel runs BPF stores of any width at any alignment on the machines nlb
        // supports.
        unsafe { start.cast::<u32>().add(at).write_volatile(word) };
    }
    // SAFETY: as above.
    unsafe { start.add(4 * WORDS).cast::<u16>().write_volatile(outer.tail) };
}
