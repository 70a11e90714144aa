//! The program, and what it does with packets.

use std::net::{IpAddr, SocketAddr};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use nlb_tests::packet::Frame;

use crate::shop;

/// Room for an outer header.
const GROWTH: usize = 64;
/// IP protocol number of TCP.
const TCP: u8 = 6;
/// Length of an Ethernet header.
const LINK: usize = 14;

/// What became of a client's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// It went to this server.
    Server(usize),
    /// The client got a RST.
    Reset,
    /// Nobody got it.
    Dropped,
}

/// A frame through the program, as it was left; `None`: it was dropped.
pub(crate) fn run(program: &Xdp, frame: &Frame) -> Option<Vec<u8>> {
    let bytes = frame.build();
    let mut out = vec![0; bytes.len() + GROWTH];
    let len = u32::try_from(bytes.len()).unwrap();
    // A `struct xdp_md`: it came in from the loopback device.
    let context: Vec<u8> = [0, len, 0, 1, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let options = TestRunOptions {
        data_in: Some(&bytes),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).unwrap();
    out.truncate(result.data_size_out as usize);
    match result.return_value {
        1 => None,
        3 | 4 => Some(out),
        other => panic!("action {other}: {frame:?}"),
    }
}

/// What becomes of a client's packet.
pub(crate) fn send(program: &Xdp, frame: &Frame) -> Answer {
    run(program, frame).map_or(Answer::Dropped, |out| answer_of(frame, &out))
}

/// What a frame that was left like this means for its sender.
pub(crate) fn answer_of(frame: &Frame, out: &[u8]) -> Answer {
    let to = destination(out);
    if to == frame.from().ip() {
        return Answer::Reset;
    }
    Answer::Server(shop::server_at(to).unwrap_or_else(|| panic!("sent to {to}: {frame:?}")))
}

/// Source and destination of a TCP segment that was translated; `None`: it is in a tunnel.
pub(crate) fn translated(frame: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (protocol, source, ports) = match frame[LINK] >> 4 {
        4 => (
            frame[LINK + 9],
            IpAddr::from(<[u8; 4]>::try_from(&frame[LINK + 12..LINK + 16]).unwrap()),
            LINK + 20,
        ),
        _ => (
            frame[LINK + 6],
            IpAddr::from(<[u8; 16]>::try_from(&frame[LINK + 8..LINK + 24]).unwrap()),
            LINK + 40,
        ),
    };
    let port = |at| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let ends = (SocketAddr::new(source, port(ports)), SocketAddr::new(destination(frame), port(ports + 2)));
    (protocol == TCP).then_some(ends)
}

/// Where the outermost IP header of a frame leads.
fn destination(frame: &[u8]) -> IpAddr {
    match frame[LINK] >> 4 {
        4 => IpAddr::from(<[u8; 4]>::try_from(&frame[LINK + 16..LINK + 20]).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(&frame[LINK + 24..LINK + 40]).unwrap()),
    }
}
