//! A SYN flood from addresses that do not exist.

use std::{
    io::IoSlice,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    libc,
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrLike as _, bind,
        sendmmsg, socket,
    },
};

use crate::{
    packet::{Frame, flag},
    world::Attacker,
};

/// How many packets go to the kernel at once.
const BATCH: usize = 64;
/// SYNs a second at most: more than that and two processors are busy with the servers' answers alone, and what a queue
/// on the way drops says nothing about the balancer. What it does at its full rate, `cargo xtask bench` measures.
const RATE: f64 = 200_000.0;
/// Where the packets say they come from; the last two bytes are any.
const SPOOFED: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 0, 0)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, 0))];

/// A flood that goes on in the background.
#[derive(Debug)]
pub struct Flood {
    stopping: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Starts to send SYNs to the `targets` in turn, each from an address and a port of which none was sent before but by
    /// chance, as fast as the others leave one thread the machine, up to a rate; after `limit` it ends by itself.
    ///
    /// # Errors
    /// The attacker's namespace cannot be entered, or its interface takes no frames.
    pub fn start(attacker: &Attacker, targets: &[SocketAddr], limit: Duration) -> Result<Self> {
        let socket = attacker.namespace.run(|| open(Attacker::INTERFACE))??;
        let mut spoofers: Vec<_> =
            (0..BATCH).map(|index| Spoofer::new(targets[index % targets.len()], index as u64)).collect();
        let (stopping, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sender = {
            let (stopping, sent) = (Arc::clone(&stopping), Arc::clone(&sent));
            let began = Instant::now();
            thread::spawn(move || {
                be_modest();
                while !stopping.load(Ordering::Relaxed) && began.elapsed() < limit {
                    spoofers.iter_mut().for_each(Spoofer::next);
                    let by_now = send(&socket, &spoofers)?;
                    let by_now = by_now + sent.fetch_add(by_now, Ordering::Relaxed);
                    let due = Duration::from_secs_f64(by_now as f64 / RATE);
                    thread::sleep(due.saturating_sub(began.elapsed()));
                }
                Ok(())
            })
        };
        Ok(Self { stopping, sent, sender: Some(sender) })
    }

    /// How many SYNs have been sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the flood; returns how many SYNs were sent.
    ///
    /// # Errors
    /// It had to end early: the interface took no more frames.
    pub fn stop(mut self) -> Result<u64> {
        self.end()?;
        Ok(self.sent())
    }

    fn end(&mut self) -> Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        let Some(sender) = self.sender.take() else { return Ok(()) };
        sender.join().map_err(|_| anyhow!("the flood panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Whoever wants to know how it went calls `stop`.
        let _ = self.end();
    }
}

/// Leaves the processor to those who are flooded, where there is not enough of it: on the way through a world of namespaces
/// the sender's thread does most of the work for each packet.
fn be_modest() {
    const NICENESS: libc::c_int = 10;
    // SAFETY: it takes no pointers; 0 is the calling thread. If it fails the flood is only ruder.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
}

/// A socket for frames, bound to an interface of the calling thread's namespace.
fn open(interface: &str) -> Result<OwnedFd> {
    // Protocol 0: it receives nothing.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.context("cannot make a packet socket")?;
    let index = if_nametoindex(interface).with_context(|| format!("there is no interface {interface}"))?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(index).context("the interface has a strange number")?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: a complete address of its family, as long as we say.
    let address = unsafe {
        LinkAddr::from_raw(
            (&raw const address).cast(),
            Some(size_of::<libc::sockaddr_ll>() as libc::socklen_t),
        )
    };
    let address = address.context("no address of an interface")?;
    bind(socket.as_raw_fd(), &address).with_context(|| format!("cannot bind to interface {interface}"))?;
    Ok(socket)
}

/// Sends one frame of each; returns how many the interface took.
fn send(socket: &OwnedFd, spoofers: &[Spoofer]) -> Result<u64> {
    let slices: Vec<_> = spoofers.iter().map(|spoofer| [IoSlice::new(&spoofer.frame)]).collect();
    let mut headers = MultiHeaders::<()>::preallocate(slices.len(), None);
    let nowhere_else = vec![None; slices.len()];
    match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, nowhere_else, [], MsgFlags::empty()) {
        Ok(results) => Ok(results.count() as u64),
        // The queue was full for a moment.
        Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => Ok(0),
        Err(error) => Err(error).context("cannot send frames"),
    }
}

/// A SYN that says every time that it comes from somewhere else.
///
/// Checksums stay what they are: what address and port add to the sums is taken away from the sequence number and, in
/// IPv4, from the identification.
#[derive(Clone, Debug)]
struct Spoofer {
    frame: Vec<u8>,
    /// Where the last two bytes of the source address, the port, the low half of the sequence number and, in IPv4, the
    /// identification are.
    at: At,
    random: u64,
}

#[derive(Clone, Copy, Debug)]
struct At {
    address: usize,
    port: usize,
    sequence: usize,
    identification: Option<usize>,
}

impl Spoofer {
    fn new(target: SocketAddr, seed: u64) -> Self {
        let from = SPOOFED[usize::from(target.is_ipv6())];
        let [destination, source] = Attacker::MACS;
        let syn = Frame::tcp(SocketAddr::new(from, 1024), target, flag::SYN).macs(destination, source);
        let (network, transport) = (syn.network_offset(), syn.transport_offset());
        let (address, identification) =
            if from.is_ipv4() { (network + 14, Some(network + 4)) } else { (network + 22, None) };
        let at = At { address, port: transport, sequence: transport + 6, identification };
        // Any odd multiplier: seeds that differ little lead to numbers that differ much.
        let random = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { frame: syn.build(), at, random }
    }

    /// From the next address and port.
    fn next(&mut self) {
        let At { address, port, sequence, identification } = self.at;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let (new_address, new_port) = (self.random as u16, (self.random >> 16) as u16 | 1024);
        let from_address = difference(new_address, self.get(address));
        let from_port = difference(new_port, self.get(port));
        self.set(address, new_address);
        self.set(port, new_port);
        let sum = difference(self.get(sequence), from_address);
        self.set(sequence, difference(sum, from_port));
        if let Some(at) = identification {
            self.set(at, difference(self.get(at), from_address));
        }
    }

    fn get(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.frame[at], self.frame[at + 1]])
    }

    fn set(&mut self, at: usize, word: u16) {
        self.frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
    }
}

/// In the arithmetic of checksums (RFC 1071).
fn difference(from: u16, less: u16) -> u16 {
    let (sum, carry) = from.overflowing_add(!less);
    sum.wrapping_add(u16::from(carry))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    use super::Spoofer;

    #[test]
    fn every_syn_comes_from_somewhere_else_and_has_right_checksums() {
        for target in ["10.0.0.10:80", "[fd00::10]:80"] {
            let mut spoofer = Spoofer::new(target.parse().unwrap(), 7);
            let mut sources = BTreeSet::new();
            for _ in 0..10_000 {
                spoofer.next();
                let packet = PacketHeaders::from_ethernet_slice(&spoofer.frame).unwrap();
                let Some(TransportHeader::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
                assert!(tcp.syn && !tcp.ack, "{packet:?}");
                let (source, expected) = match packet.net.as_ref().unwrap() {
                    NetHeaders::Ipv4(ip, _) => {
                        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "{packet:?}");
                        (ip.source.to_vec(), tcp.calc_checksum_ipv4(ip, &[]).unwrap())
                    }
                    NetHeaders::Ipv6(ip, _) => (ip.source.to_vec(), tcp.calc_checksum_ipv6(ip, &[]).unwrap()),
                    other => panic!("{other:?}"),
                };
                assert_eq!(tcp.checksum, expected, "{packet:?}");
                sources.insert((source, tcp.source_port));
            }
            assert!(sources.len() > 9_900, "{target}: only {} sources", sources.len());
        }
    }
}
