//! What packets a scenario has: their ends, their flags, and how flows follow each other.

use std::net::{IpAddr, SocketAddr};

use nlb_agent::datapath::Family;
use nlb_common::abi::bench::traffic::{FRAME_LEN, Plan, State, Template, end, mode};
use nlb_tests::packet::Frame;

use crate::scene;

/// How flows follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Always the same flow.
    Fixed,
    /// Flow after flow, out of so many.
    Sequential(u32),
    /// Any flow out of so many.
    Random(u32),
    /// Each packet a flow that was never there.
    Never,
    /// Mostly such, but now and then a packet of one out of so many flows that are there.
    Flood(u32),
}

impl Mode {
    /// The number in a plan, and how many flows there are to pick from.
    pub(crate) fn numbers(self) -> (u32, u32) {
        match self {
            Self::Fixed => (mode::FIXED, 1),
            Self::Sequential(flows) => (mode::SEQUENTIAL, flows),
            Self::Random(flows) => (mode::RANDOM, flows),
            Self::Never => (mode::NEVER, 1),
            Self::Flood(flows) => (mode::FLOOD, flows),
        }
    }

    /// Of a number of flows.
    pub(crate) fn any_of(flows: u32) -> Self {
        if flows == 1 { Self::Fixed } else { Self::Random(flows) }
    }
}

/// Whose packets they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    /// Clients', to the listener.
    Clients,
    /// Clients', to somebody else.
    Bystanders,
    /// The first server's, to the SNAT addresses: flow n is that of slot n mod 4, port n / 4 from the first.
    Server,
}

/// TCP flags of packets of flows that are picked, and of those that come along.
pub(crate) type Flags = [u8; 2];

/// The low bits of a flow's number that are a client's address; the others are its port.
const CLIENT_BITS: u32 = 16;

/// What the wrapper is told.
pub(crate) fn plan(family: Family, sender: Sender, mode: Mode, flags: Flags) -> Plan {
    let (from, to) = match sender {
        Sender::Clients => (scene::client(family), scene::vip(family)),
        Sender::Bystanders => (scene::client(family), scene::stranger(family)),
        Sender::Server => {
            let to = SocketAddr::new(scene::snat(family, 0), scene::FIRST_SNAT_PORT);
            (scene::server(family, 0), to)
        }
    };
    let (end, varied, address_bits) = match sender {
        Sender::Clients | Sender::Bystanders => (end::SOURCE, from, CLIENT_BITS),
        Sender::Server => (end::DESTINATION, to, scene::SNATS.ilog2()),
    };
    let (mode, flows) = mode.numbers();
    Plan {
        templates: flags.map(|flags| template(from, to, flags)),
        mode,
        flows,
        family: if family == Family::V4 { 4 } else { 6 },
        end,
        address_bits,
        address: last_word(varied.ip()),
        port: varied.port().into(),
        _pad: 0,
    }
}

/// The wrapper's first state: `seed` is of any kind, new flows start at `next`.
pub(crate) fn start(seed: u32, next: u32) -> State {
    let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(seed) + 1);
    State { random, next, turn: 0, packets: 0, _pad: 0 }
}

fn template(from: SocketAddr, to: SocketAddr, flags: u8) -> Template {
    let frame = Frame::tcp(from, to, flags);
    let payload = vec![0x5a; FRAME_LEN - frame.build().len()];
    let bytes = frame.payload(&payload).build();
    let mut words = Template::default();
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

fn last_word(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => u128::from(address) as u32,
    }
}
