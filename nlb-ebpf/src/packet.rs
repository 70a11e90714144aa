//! A packet and its headers.

use aya_ebpf::programs::XdpContext;
use nlb_common::{
    abi::{
        backend::{Backend, NextHop, forwarding},
        handover::TOO_BIG,
    },
    bytes::Bytes,
    hash::Destination,
    packet::{ETHERNET_LEN, Link, Network, Tags, Transport, protocol},
    tcp,
};

use crate::{
    family::Tables,
    handover,
    outcome::{Outcome, Step},
    shared,
};

/// A packet to one of the balancer's addresses.
pub(crate) struct Packet<'a, F: Tables> {
    /// The kernel's handle.
    pub ctx: &'a XdpContext,
    /// Its bytes.
    pub frame: Bytes,
    /// From the network header on.
    pub packet: Bytes,
    /// From the transport header on.
    pub segment: Bytes,
    /// Its link layer.
    pub link: Link,
    /// Its network layer.
    pub network: Network<F::Address>,
    /// Its transport layer.
    pub transport: Transport,
    /// Whether this is [`crate::plain`]'s: not to be changed unless it can be sent right away.
    pub is_plain: bool,
}

impl<'a, F: Tables> Packet<'a, F> {
    /// Parses a packet that is known to be of the family and to have a transport header.
    #[inline(always)]
    pub(crate) fn parse(ctx: &'a XdpContext) -> Option<Self> {
        let frame = frame(ctx);
        let link = Link::parse(frame)?;
        let packet = frame.after(link.len()).proven(F::HEADER_LEN)?;
        let network = F::network(ctx, packet)?;
        let segment = packet.after(network.header_len.into());
        let transport = Transport::parse(segment, &network).ok()?;
        Some(Self { ctx, frame, packet, segment, link, network, transport, is_plain: false })
    }

    /// As [`Packet::parse`], a packet whose transport header is not in it.
    #[inline(always)]
    pub(crate) fn of_transport(ctx: &'a XdpContext, transport: Transport) -> Option<Self> {
        let frame = frame(ctx);
        let link = Link::parse(frame)?;
        let packet = frame.after(link.len()).proven(F::HEADER_LEN)?;
        let network = F::parse(packet).ok()?;
        let segment = packet.after(network.header_len.into());
        Some(Self { ctx, frame, packet, segment, link, network, transport, is_plain: false })
    }

    /// The word of the next hop to a backend, if the packet fits the way there. If it is not known the kernel will be asked,
    /// which is not for [`crate::plain`], and neither is `gue`, for whose sake all others would take longer.
    #[inline(always)]
    pub(crate) fn next_hop(&self, backend: *const Backend) -> Step<u64> {
        // SAFETY: a map value, aligned.
        let next_hop = unsafe { shared::read(&raw const (*backend).next_hop) };
        // SAFETY: as above.
        let max_len = unsafe { (&raw const (*backend).max_len).read_volatile() };
        let fits = self.network.len <= u32::from(max_len);
        if self.is_plain {
            return if fits && is_plain_way(backend, next_hop) { Ok(next_hop) } else { Err(Outcome::rest()) };
        }
        if !fits {
            handover::leave(TOO_BIG | u64::from(max_len));
            return Err(Outcome::call(F::TOO_BIG_SLOT));
        }
        Ok(next_hop)
    }

    /// Where it goes.
    #[inline(always)]
    pub(crate) fn destination(&self) -> Destination<F::Address> {
        let (network, transport) = (&self.network, &self.transport);
        Destination { vip: network.destination, port: transport.destination, protocol: transport.protocol }
    }

    /// Parses a packet without tags and options, of the family, that has a transport header and room for one of TCP's.
    #[inline(always)]
    pub(crate) fn plain(ctx: &'a XdpContext) -> Option<Self> {
        let frame = frame(ctx).proven(ETHERNET_LEN + F::HEADER_LEN + tcp::HEADER_LEN)?;
        let link = Link { tags: Tags::NONE, ethertype: F::ETHERTYPE };
        let packet = frame.split::<ETHERNET_LEN>();
        let network = F::parse_plain(packet).ok()?;
        if network.fragment {
            return None;
        }
        let segment = F::after_plain_header(packet);
        let transport = usable_transport::<F>(segment, &network)?;
        Some(Self { ctx, frame, packet, segment, link, network, transport, is_plain: true })
    }
}

/// Whether [`crate::plain`] sends to a backend whose next hop this is.
#[inline(always)]
fn is_plain_way(backend: *const Backend, next_hop: u64) -> bool {
    // SAFETY: a map value; the mode does not change while the number is in use.
    let mode = unsafe { (*backend).forwarding };
    NextHop::egress_of(next_hop).is_some() && mode != forwarding::GUE
}

/// The bytes of the packet as it is now; to be asked again after every change of its size.
///
/// Volatile: else the compiler hands the two pointers to a function instead of the handle that they come from, cut down
/// to the 32 bits that they have in its type, which the verifier takes for numbers.
#[inline(always)]
pub(crate) fn frame(ctx: &XdpContext) -> Bytes {
    // SAFETY: the kernel's handle; it guarantees these bytes until the program ends or resizes the packet.
    unsafe {
        let start = (&raw const (*ctx.ctx).data).read_volatile();
        let end = (&raw const (*ctx.ctx).data_end).read_volatile();
        Bytes::new(start as usize, end as usize)
    }
}

/// The transport header of a packet that a listener may want.
#[inline(always)]
pub(crate) fn usable_transport<F: Tables>(
    segment: Bytes,
    network: &Network<F::Address>,
) -> Option<Transport> {
    let is_usable = matches!(network.protocol, protocol::TCP | protocol::UDP);
    if is_usable { Transport::parse(segment, network).ok() } else { None }
}
