//! RST: the answer to a TCP segment of no known flow (RFC 9293, section 3.10.7.1).

use nlb_agent::datapath::Family;
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Checksum, Frame, SERVICE_VLAN, Tag, VLAN, flag};

use crate::{
    bench::{Action, Run},
    parsed::{Check, Parsed, Tcp},
    scene::{self, TCP_PORT, client, vip},
};

/// Sequence and acknowledgement number of the segments.
const NUMBERS: (u32, u32) = (0xffff_fffe, 0x1234_5678);

/// Asserts that `run` answers `frame` with a RST that has these numbers and flags, and nothing else in it.
#[track_caller]
pub(crate) fn check_reset(run: &Run, frame: &Frame, sequence: u32, acknowledgement: u32, flags: u8) {
    assert_eq!(run.action, Action::Tx, "{frame:?}");
    let sent = Parsed::of(&frame.build());
    let tcp = Tcp { sequence, acknowledgement, flags, window: 0, urgent: 0, options: Vec::new() };
    let ip_rest = if frame.to().is_ipv4() { vec![0, 0, 0, 0x40, 0] } else { vec![0x60, 0, 0, 0] };
    let expected = Parsed {
        to_mac: sent.from_mac,
        from_mac: sent.to_mac,
        tags: sent.tags,
        from: sent.to,
        to: sent.from,
        hops: 64,
        ip_rest,
        tcp: Some(tcp),
        checksum: Check::Right,
        payload: Vec::new(),
        padding: 0,
    };
    assert_eq!(run.parsed(), expected, "{frame:?}");
}

#[test]
fn the_numbers_are_those_the_sender_believes() {
    const RST_ACK: u8 = flag::RST | flag::ACK;
    let (sequence, acknowledgement) = NUMBERS;
    // Flags, bytes of data, and the numbers and flags of the RST.
    let rows = [
        (flag::ACK, 0, (acknowledgement, 0, flag::RST)),
        (flag::ACK | flag::PSH, 100, (acknowledgement, 0, flag::RST)),
        (flag::SYN_ACK, 0, (acknowledgement, 0, flag::RST)),
        (flag::FIN_ACK, 5, (acknowledgement, 0, flag::RST)),
        (0, 0, (0, sequence, RST_ACK)),
        (0, 3, (0, sequence.wrapping_add(3), RST_ACK)),
        (flag::PSH, 1000, (0, sequence.wrapping_add(1000), RST_ACK)),
        (flag::FIN, 0, (0, sequence.wrapping_add(1), RST_ACK)),
        (flag::FIN, 7, (0, sequence.wrapping_add(8), RST_ACK)),
        (flag::SYN | flag::FIN, 1, (0, sequence.wrapping_add(3), RST_ACK)),
    ];
    let mut bench = scene::bench();
    for family in Family::ALL {
        for (flags, len, (reset_sequence, reset_acknowledgement, reset_flags)) in rows {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let frame =
                Frame::tcp(client(family, 1), vip(family, TCP_PORT), flags).numbers(NUMBERS.0, NUMBERS.1);
            let frame = frame.payload(&payload);
            let run = bench.expect(&frame, Verdict::ResetUnknownFlow);
            check_reset(&run, &frame, reset_sequence, reset_acknowledgement, reset_flags);
        }
    }
}

/// Options of both headers, padding and a wrong checksum do not count as data, and tags come back.
#[test]
fn what_surrounds_the_segment_does_not_change_its_answer() {
    let mut bench = scene::bench();
    let tags: [&[Tag]; 5] = [
        &[],
        &[(VLAN, 0x2064)],
        &[(VLAN, 100), (VLAN, 200)],
        &[(SERVICE_VLAN, 7)],
        &[(SERVICE_VLAN, 7), (VLAN, 8)],
    ];
    for family in Family::ALL {
        for tags in tags {
            for ip_options in [&[][..], &[1, 1, 1, 0], &[1; 40]] {
                for tcp_options in [&[][..], &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], &[1; 40]] {
                    for (payload, padding) in [(&b""[..], 0), (b"", 6), (b"abc", 0), (b"abc", 40)] {
                        let frame = Frame::tcp(client(family, 1), vip(family, TCP_PORT), flag::FIN)
                            .tags(tags)
                            .ip_options(ip_options)
                            .tcp_options(tcp_options)
                            .payload(payload)
                            .padding(padding)
                            .checksum(Checksum::Wrong)
                            .numbers(41, 0);
                        let run = bench.expect(&frame, Verdict::ResetUnknownFlow);
                        let acknowledgement = 42 + payload.len() as u32;
                        check_reset(&run, &frame, 0, acknowledgement, flag::RST | flag::ACK);
                    }
                }
            }
        }
    }
}

#[test]
fn a_rst_is_never_answered() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        for flags in [flag::RST, flag::RST | flag::ACK, flag::RST | flag::SYN, flag::RST | flag::FIN] {
            let frame = Frame::tcp(client(family, 1), vip(family, TCP_PORT), flags);
            let run = bench.expect(&frame, Verdict::DropUnknownFlow);
            assert_eq!(run.action, Action::Drop);
        }
    }
}

/// The hop count is looked at first: who is out of hops learns it from nobody.
#[test]
fn the_answer_has_a_hop_count_of_its_own() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        let frame = Frame::tcp(client(family, 1), vip(family, TCP_PORT), flag::ACK).numbers(1, 2);
        check_reset(
            &bench.expect(&frame.clone().hops(2), Verdict::ResetUnknownFlow),
            &frame,
            2,
            0,
            flag::RST,
        );
        bench.expect(&frame.hops(1), Verdict::DropTtlExpired);
    }
}
