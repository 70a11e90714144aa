//! Pings, by the kernel's own hand: it makes requests, and takes replies that fit only.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::world::Namespace;

/// What is sent along.
const DATA: [u8; 56] = *b"what a ping takes along comes back as it was sent, truly";

/// Pings an address from a namespace, one request after the other; each must be answered within `patience`.
///
/// # Errors
/// One was not, or not with what was sent.
pub fn ping(namespace: &Namespace, target: IpAddr, count: u16, patience: Duration) -> Result<()> {
    // Whose group may ping: root's, in both families.
    namespace.set("ipv4/ping_group_range", "0 0")?;
    namespace.run(|| ping_here(target, count, patience))?
}

fn ping_here(target: IpAddr, count: u16, patience: Duration) -> Result<()> {
    let socket = open(target)?;
    socket.set_read_timeout(Some(patience))?;
    let [request, reply] = if target.is_ipv4() { [8, 0] } else { [128, 129] };
    for sequence in 1..=count {
        let [high, low] = sequence.to_be_bytes();
        // The kernel fills in checksum and identifier.
        let message = [&[request, 0, 0, 0, 0, 0, high, low][..], &DATA].concat();
        socket.send(&message)?;
        let mut answer = [0; 128];
        let len =
            socket.recv(&mut answer).with_context(|| format!("{target} does not answer ping {sequence}"))?;
        let [kind, code, _, _, _, _, ref rest @ ..] = answer[..len] else {
            anyhow::bail!("{target} answers with {len} bytes");
        };
        ensure!([kind, code] == [reply, 0], "{target} answers with type {kind}, code {code}");
        ensure!(
            rest == [&[high, low][..], &DATA].concat(),
            "{target} answers with something else: {rest:02x?}"
        );
    }
    Ok(())
}

fn open(target: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = UdpSocket::from(socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?);
    socket.connect(SocketAddr::new(target, 0))?;
    Ok(socket)
}
