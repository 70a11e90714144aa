//! The reference balancer, with maps of its own.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::ProgramFd,
};
use nlb_agent::datapath::Family;
use nlb_common::{
    abi::bench::{
        name,
        reference::{ListenerKey, Outer, RING, service},
    },
    addr::{V4, V6},
    be::Be16,
    checksum::Sum,
    packet::{ETHERNET_LEN, Family as _, Ipv4, Ipv6, protocol},
};

use crate::{
    scene::{self, EGRESS_MAC, SERVERS},
    wrapper::load_program,
};

/// The loaded reference.
pub(crate) struct Reference {
    /// The program.
    pub(crate) fd: ProgramFd,
    verdicts: PerCpuArray<MapData, u64>,
    /// Keeps the maps.
    _ebpf: Ebpf,
}

impl Reference {
    /// Loads it, with a listener and [`SERVERS`] backends in one family. The other one's flow table is made small.
    pub(crate) fn load(object: &[u8], family: Family) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(if family == Family::V4 { name::FLOWS_V6 } else { name::FLOWS_V4 }, 64);
        let mut ebpf = loader.load(object).context("load the reference's maps")?;
        let fd = load_program(&mut ebpf, name::REFERENCE)?;
        match family {
            Family::V4 => {
                listener(&mut ebpf, name::LISTENERS_V4, |ip| Some(V4::from_octets(v4(ip)?)), family)?;
                backends::<8>(&mut ebpf, name::BACKENDS_V4, family)?;
            }
            Family::V6 => {
                listener(&mut ebpf, name::LISTENERS_V6, |ip| Some(V6::from_octets(v6(ip)?)), family)?;
                backends::<13>(&mut ebpf, name::BACKENDS_V6, family)?;
            }
        }
        ring(&mut ebpf)?;
        let verdicts = take(&mut ebpf, name::VERDICTS)?.try_into()?;
        Ok(Self { fd, verdicts, _ebpf: ebpf })
    }

    /// How many packets met each verdict.
    pub(crate) fn verdicts(&self) -> Result<Vec<u64>> {
        let all = self.verdicts.iter().collect::<Result<Vec<_>, _>>().context("read VERDICTS")?;
        Ok(all.iter().map(|by_cpu| by_cpu.iter().sum()).collect())
    }
}

fn take(ebpf: &mut Ebpf, map: &str) -> Result<aya::maps::Map> {
    ebpf.take_map(map).with_context(|| format!("nlb-bench has no map {map}"))
}

fn v4(address: IpAddr) -> Option<[u8; 4]> {
    if let IpAddr::V4(address) = address { Some(address.octets()) } else { None }
}

fn v6(address: IpAddr) -> Option<[u8; 16]> {
    if let IpAddr::V6(address) = address { Some(address.octets()) } else { None }
}

fn listener<A>(ebpf: &mut Ebpf, map: &str, narrow: impl Fn(IpAddr) -> Option<A>, family: Family) -> Result<()>
where
    ListenerKey<A>: Pod,
{
    let vip = scene::vip(family);
    let address = narrow(vip.ip()).context("the VIP is of the family")?;
    let service = service(Be16::new(vip.port()), protocol::TCP);
    let key = ListenerKey { vip: address, service };
    let mut listeners: HashMap<_, ListenerKey<A>, u32> = take(ebpf, map)?.try_into()?;
    listeners.insert(key, 1, 0).context("write a listener")
}

fn backends<const WORDS: usize>(ebpf: &mut Ebpf, map: &str, family: Family) -> Result<()>
where
    Outer<WORDS>: Pod,
{
    let mut backends: Array<_, Outer<WORDS>> = take(ebpf, map)?.try_into()?;
    for index in 0..SERVERS {
        backends.set(index as u32 + 1, outer(family, index)?, 0).context("write a backend")?;
    }
    Ok(())
}

/// The headers in front of packets to a server.
fn outer<const WORDS: usize>(family: Family, index: usize) -> Result<Outer<WORDS>> {
    let mut bytes = [scene::server_mac(index), EGRESS_MAC].concat();
    let (from, to) = (scene::balancer(family), scene::server(family, index).ip());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend(Ipv4::ETHERTYPE.get().to_be_bytes());
            // Version and length, TOS, total length, identification, DF, TTL, IP in IP, checksum.
            bytes.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 4, 0, 0]);
            bytes.extend([from.octets(), to.octets()].concat());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend(Ipv6::ETHERTYPE.get().to_be_bytes());
            // Version, class, flow label, payload length, IPv6 in IPv6, hop limit.
            bytes.extend([0x60, 0, 0, 0, 0, 0, 41, 64]);
            bytes.extend([from.octets(), to.octets()].concat());
        }
        _ => unreachable!("{from} and {to} are of one family"),
    }
    let (words, tail) = bytes.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|&word| u32::from_ne_bytes(word)).collect();
    let mut sum = Sum::new();
    for pair in bytes[ETHERNET_LEN..].as_chunks().0 {
        sum.add_u16(u16::from_ne_bytes(*pair));
    }
    Ok(Outer {
        words: words.try_into().ok().context("headers of that length")?,
        tail: u16::from_ne_bytes(tail.try_into().context("two bytes are left")?),
        checksum: sum.checksum(),
    })
}

/// A ring on which every backend has the same number of slots, give or take one, scattered.
fn ring(ebpf: &mut Ebpf) -> Result<()> {
    let mut ring: Array<_, u32> = take(ebpf, name::RING)?.try_into()?;
    for slot in 0..RING {
        // An odd factor: every slot of the ring is met once.
        let scattered = slot.wrapping_mul(0x9e37_79b1) % RING;
        ring.set(scattered, 1 + slot % SERVERS as u32, 0).context("write the ring")?;
    }
    Ok(())
}
