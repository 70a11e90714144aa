//! Clients' packets.

use std::net::SocketAddr;

use nlb_agent::datapath::Family;
use nlb_tests::packet::{Frame, flag};

use crate::{
    program::{Answer, answer_of, translated},
    shop::{self, TCP_PORT, UDP_PORT},
    world::World,
};

/// A client's end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client(pub(crate) SocketAddr);

impl Client {
    /// The `n`-th client, at one of its ports.
    pub(crate) fn new(family: Family, n: usize, port: u16) -> Self {
        Self(SocketAddr::new(shop::client(family, n), port))
    }

    fn family(self) -> Family {
        Family::of(self.0.ip())
    }

    /// A segment to the VIP.
    pub(crate) fn segment(self, flags: u8) -> Frame {
        Frame::tcp(self.0, shop::vip(self.family(), TCP_PORT), flags).numbers(1000, 2000)
    }

    /// A datagram to the VIP.
    pub(crate) fn datagram(self) -> Frame {
        Frame::udp(self.0, shop::vip(self.family(), UDP_PORT))
    }

    /// Sends a segment.
    pub(crate) fn send(self, world: &World, flags: u8) -> Answer {
        world.send(&self.segment(flags))
    }

    /// A handshake; its server.
    #[track_caller]
    pub(crate) fn connect(self, world: &World) -> usize {
        let Some(syn) = world.run(&self.segment(flag::SYN)) else { panic!("the SYN of {self:?} is dropped") };
        let answer = answer_of(&self.segment(flag::SYN), &syn);
        let Answer::Server(server) = answer else { panic!("{answer:?} to the SYN of {self:?}") };
        // Through a tunnel the server answers the client directly; else the balancer waits for it.
        if let Some((from, to)) = translated(&syn) {
            let reply = world.run(&Frame::tcp(to, from, flag::SYN_ACK)).expect("the server's answer passes");
            assert_eq!(translated(&reply).map(|(_, to)| to), Some(self.0));
        }
        assert_eq!(self.send(world, flag::ACK), answer, "the handshake of {self:?}");
        server
    }

    /// Ends a connection by a RST.
    pub(crate) fn abort(self, world: &World) {
        self.send(world, flag::RST);
    }
}
