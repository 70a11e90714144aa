//! The reference: a balancer of the best known kind of design, and nothing else in it. One hash lookup finds the
//! listener, one in an `LRU_HASH` the flow; a flow that is not there gets the backend of its slot in a Maglev ring, and is
//! inserted; the packet goes to the backend as IP in IP.
//!
//! It does all it needs to and no more, so that what is faster than it is so by design: no VLANs, no IP options, no
//! fragments, no way but back; every offset is a constant; headers of backends are precomputed.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX},
    helpers::generated::{bpf_jiffies64, bpf_xdp_adjust_head},
    macros::xdp,
    programs::XdpContext,
};
use nlb_common::{
    abi::bench::reference::{Flow, FlowKey, ListenerKey, RING as RING_SLOTS, service, verdict},
    addr::Address as _,
    be::Be16,
    hash::Hasher,
    packet::{ETHERNET_LEN, Ipv4, Ipv6, ethertype, protocol},
    tcp::Flags,
};

use crate::{
    frame,
    maps::{BACKEND_COUNTERS, RING, VERDICTS},
    tables::Tables,
};

/// Of the ring's hash.
const SEED: u64 = 0x5bd1_e995_9747_b28c;

/// The entry.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn reference(ctx: XdpContext) -> u32 {
    match frame(&ctx).read(ETHERNET_LEN - 2) {
        Some(ethertype::IPV4) => balance::<Ipv4>(&ctx),
        Some(ethertype::IPV6) => balance::<Ipv6>(&ctx),
        _ => XDP_PASS,
    }
}

/// Counted and acted upon; what is not for a listener is passed.
#[inline(always)]
fn balance<F: Tables>(ctx: &XdpContext) -> u32 {
    let Some((key, flags)) = flow_key::<F>(ctx) else {
        count(verdict::PASS);
        return XDP_PASS;
    };
    match send::<F>(ctx, &key, flags) {
        Some(verdict) => {
            count(verdict);
            XDP_TX
        }
        None => XDP_ABORTED,
    }
}

/// The flow of a packet to a listener, and its TCP flags.
#[inline(always)]
fn flow_key<F: Tables>(ctx: &XdpContext) -> Option<(FlowKey<F::Address>, Flags)> {
    let frame = frame(ctx);
    let protocol = F::plain_protocol(frame)?;
    let [client, vip] = F::ADDRESSES.map(|at| ETHERNET_LEN + at);
    let (client, vip) = (frame.read(client)?, frame.read(vip)?);
    let transport = ETHERNET_LEN + F::HEADER_LEN;
    let (client_port, vip_port) = (frame.read::<Be16>(transport)?, frame.read::<Be16>(transport + 2)?);
    let flags = match protocol {
        protocol::TCP => Flags(frame.read(transport + 13)?),
        protocol::UDP => Flags::default(),
        _ => return None,
    };
    // SAFETY: nobody writes into it.
    unsafe { F::listeners().get(ListenerKey { vip, service: service(vip_port, protocol) }) }?;
    let ports = u32::from(client_port.raw()) << 16 | u32::from(vip_port.raw());
    Some((FlowKey { client, vip, ports, protocol: protocol.into() }, flags))
}

/// Sends the packet to its backend; the verdict.
#[inline(always)]
fn send<F: Tables>(ctx: &XdpContext, key: &FlowKey<F::Address>, flags: Flags) -> Option<u32> {
    let (backend, verdict) = match existing::<F>(key, flags) {
        Some(backend) => (backend, verdict::EXISTING),
        None => (new::<F>(key)?, verdict::NEW),
    };
    let len = frame(ctx).len();
    let outer = F::backends().get(backend)?;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(F::OUTER_LEN as i32)) } != 0 {
        return None;
    }
    F::encapsulate(ctx, outer, (len - ETHERNET_LEN) as u16)?;
    let traffic = BACKEND_COUNTERS.get_ptr_mut(backend)?;
    // SAFETY: this CPU's own value, and XDP programs do not interrupt each other.
    unsafe {
        (*traffic).packets += 1;
        (*traffic).bytes += len as u64;
    }
    Some(verdict)
}

/// The backend of a flow that is in the table.
#[inline(always)]
fn existing<F: Tables>(key: &FlowKey<F::Address>, flags: Flags) -> Option<u32> {
    let flow: *mut Flow = F::flows().get_ptr_mut(key)?;
    let now = now();
    // SAFETY: a map value, aligned; who evicts it meanwhile makes at worst one packet go astray.
    unsafe {
        if (*flow).last_seen != now {
            (*flow).last_seen = now;
        }
        if flags.has(Flags::FIN) || flags.has(Flags::RST) {
            (*flow).closed = 1;
        }
        Some((*flow).backend)
    }
}

/// The backend that the ring names, remembered.
#[inline(always)]
fn new<F: Tables>(key: &FlowKey<F::Address>) -> Option<u32> {
    let mut hasher = Hasher::new(SEED);
    key.client.hash(&mut hasher, key.ports);
    key.vip.hash(&mut hasher, key.protocol);
    let backend = *RING.get(hasher.finish() as u32 & (RING_SLOTS - 1))?;
    let flow = Flow { last_seen: now(), backend, closed: 0 };
    // An LRU map always has room; should it not, the ring will say the same next time.
    let _ = F::flows().insert(key, flow, 0);
    Some(backend)
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes no argument and reads no memory of ours.
    unsafe { bpf_jiffies64() }
}

#[inline(always)]
fn count(verdict: u32) {
    if let Some(count) = VERDICTS.get_ptr_mut(verdict) {
        // SAFETY: this CPU's own value, and XDP programs do not interrupt each other.
        unsafe { *count += 1 };
    }
}
