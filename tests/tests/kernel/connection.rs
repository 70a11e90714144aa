//! A connection through the balancer, as a test drives it.

use std::net::SocketAddr;

use nlb_agent::datapath::Family;
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Frame, flag};

use crate::{
    bench::Bench,
    scene::{self, TCP_PORT, UDP_PORT, server_mac},
};

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The client.
    pub(crate) client: SocketAddr,
    /// What it talks to.
    pub(crate) vip: SocketAddr,
    /// What the server sees of the client.
    pub(crate) snat: SocketAddr,
    /// The server.
    pub(crate) server: SocketAddr,
}

impl Connection {
    /// Opens a TCP connection by the `n`-th client's SYN.
    #[track_caller]
    pub(crate) fn syn(bench: &mut Bench, family: Family, n: u16) -> Self {
        let (client, vip) = (scene::client(family, n), scene::vip(family, TCP_PORT));
        Self::open(bench, &Frame::tcp(client, vip, flag::SYN))
    }

    /// Opens a UDP flow by the `n`-th client's first datagram.
    #[track_caller]
    pub(crate) fn datagram(bench: &mut Bench, family: Family, n: u16) -> Self {
        let (client, vip) = (scene::client(family, n), scene::vip(family, UDP_PORT));
        Self::open(bench, &Frame::udp(client, vip))
    }

    /// Opens a TCP connection by a whole handshake.
    #[track_caller]
    pub(crate) fn established(bench: &mut Bench, family: Family, n: u16) -> Self {
        let connection = Self::syn(bench, family, n);
        bench.expect(&connection.answer(flag::SYN_ACK), Verdict::Reply);
        connection.goes_on(bench);
        connection
    }

    /// What a client's first packet opens.
    #[track_caller]
    pub(crate) fn open(bench: &mut Bench, first: &Frame) -> Self {
        let out = bench.expect(first, Verdict::Forward).parsed();
        Self { client: first.from(), vip: first.to(), snat: out.from, server: out.to }
    }

    /// A segment of the client.
    pub(crate) fn request(&self, flags: u8) -> Frame {
        Frame::tcp(self.client, self.vip, flags).numbers(1000, 2000)
    }

    /// A datagram of the client.
    pub(crate) fn question(&self) -> Frame {
        Frame::udp(self.client, self.vip)
    }

    /// A segment of the server.
    pub(crate) fn answer(&self, flags: u8) -> Frame {
        Frame::tcp(self.server, self.snat, flags).numbers(2000, 1001).macs(scene::EGRESS_MAC, server_mac(0))
    }

    /// A datagram of the server.
    pub(crate) fn reply(&self) -> Frame {
        Frame::udp(self.server, self.snat).macs(scene::EGRESS_MAC, server_mac(0))
    }

    /// Sends a segment of the client and asserts that it reaches the same server from the same port.
    #[track_caller]
    pub(crate) fn goes_on(&self, bench: &mut Bench) {
        assert_eq!(Self::open(bench, &self.request(flag::ACK)), *self);
    }

    /// Ends the connection by a FIN of both sides.
    #[track_caller]
    pub(crate) fn finish(&self, bench: &mut Bench) {
        bench.expect(&self.request(flag::FIN_ACK), Verdict::Forward);
        bench.expect(&self.answer(flag::FIN_ACK), Verdict::Reply);
    }
}
