//! A packet for every verdict.

use nlb_agent::{
    datapath::{Backend, BackendState, Family, Op, Service},
    model::{OnDrainExpiry, Protocol},
};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{At, Frame, flag};

use crate::{
    announce,
    bench::Bench,
    connection::Connection,
    dnat, echo, guard, ports,
    scene::{self, FIRST_PORT, OTHER_PORT, TCP_PORT, UDP_PORT, host_vip, snat, stranger, vip},
};

/// Sets a scene in which a packet meets the verdict, and makes the packet; `None`: not in a test run. The match has
/// no wildcard, so that a new verdict asks for its packet.
fn packet(bench: &mut Bench, family: Family, verdict: Verdict) -> Option<Frame> {
    let number = verdict as u16;
    let client = scene::client(family, number);
    let syn = Frame::tcp(client, vip(family, TCP_PORT), flag::SYN);
    let expire = |bench: &mut Bench, how| {
        bench.apply(&[scene::wheel(&[0])]);
        let connection = Connection::established(bench, family, number);
        bench.apply(&[scene::changed(family, 0, |backend| backend.state = BackendState::Expired(how))]);
        connection
    };
    let frame = match verdict {
        Verdict::PassNotIp => syn.patch(At::Link(12), &[0x08, 0x06]),
        Verdict::PassMalformed => syn.patch(At::Network(0), &[0x15]),
        Verdict::PassNotOurs => Frame::tcp(client, stranger(family, 80), flag::SYN),
        Verdict::PassNoFlow => Frame::tcp(client, snat(family, FIRST_PORT), flag::SYN),
        Verdict::PassProtocol => Frame::other(client, vip(family, 0), 89),
        Verdict::PassHost => Frame::tcp(client, host_vip(family, 22), flag::SYN),
        Verdict::Forward => syn,
        Verdict::Reply => Connection::syn(bench, family, number).answer(flag::SYN_ACK),
        Verdict::ResetUnknownFlow => Frame::tcp(client, vip(family, TCP_PORT), flag::ACK),
        Verdict::ResetExpired => expire(bench, OnDrainExpiry::Reset).request(flag::ACK),
        Verdict::DropMalformed => syn.patch(At::Transport(12), &[0]),
        Verdict::DropFragment if family == Family::V4 => syn.patch(At::Network(6), &[0x00, 1]),
        // The ports become its offset.
        Verdict::DropFragment => syn.patch(At::Network(6), &[44]),
        // IPv4 has none.
        Verdict::DropExtensionHeader if family == Family::V4 => return None,
        Verdict::DropExtensionHeader => syn.patch(At::Network(6), &[0]),
        Verdict::DropNoListener => Frame::tcp(client, vip(family, OTHER_PORT), flag::SYN),
        Verdict::DropListenerDisabled => {
            let (id, mut listener) = scene::listener(family, Protocol::Tcp);
            listener.closed_to_new = true;
            bench.apply(&[Op::PutListener(id, listener)]);
            syn
        }
        Verdict::DropNoBackend => {
            bench.apply(&[Op::PutService(scene::SERVICE, Service::default())]);
            syn
        }
        Verdict::DropUnknownFlow => Frame::tcp(client, vip(family, TCP_PORT), flag::RST),
        Verdict::DropExpired => expire(bench, OnDrainExpiry::Silent).request(flag::ACK),
        Verdict::DropPortsExhausted => {
            change_backends(bench, family, |backend| backend.snat.count = 0);
            syn
        }
        Verdict::DropFlowTableFull => ports::one_too_many(bench, family).1,
        Verdict::DropTtlExpired => Frame::udp(client, vip(family, UDP_PORT)).hops(1),
        // Without a next hop the kernel is asked; the loopback device forwards nothing.
        Verdict::DropNoNextHop => {
            change_backends(bench, family, |backend| backend.next_hop = None);
            syn
        }
        Verdict::DropTooBig => {
            change_backends(bench, family, |backend| backend.max_len = Some(1279));
            let frame = Frame::udp(client, vip(family, UDP_PORT)).payload(&[0; 1400]);
            if family == Family::V4 { frame.patch(At::Network(6), &[0, 0]) } else { frame }
        }
        Verdict::AnswerTooBig => {
            change_backends(bench, family, |backend| backend.max_len = Some(1300));
            Frame::udp(client, vip(family, UDP_PORT)).payload(&[0; 1400])
        }
        Verdict::AnswerArp if family == Family::V6 => return None,
        Verdict::AnswerArp => {
            bench.apply(&announce::ops());
            let request = announce::request(scene::client(family, 0).ip(), vip(family, 0).ip());
            syn.macs([0xff; 6], Frame::SOURCE).patch(At::Link(12), &[&[8, 6], &request[..]].concat())
        }
        Verdict::AnswerNeighbour if family == Family::V4 => return None,
        Verdict::AnswerNeighbour => {
            bench.apply(&announce::ops());
            announce::solicitation(client, vip(family, 0))
        }
        Verdict::AnswerEcho => {
            bench.apply(&announce::ops());
            echo::request(client, vip(family, 0))
        }
        Verdict::DropClash => {
            bench.apply(&dnat::ops(u16::MAX));
            dnat::clash(bench, family, number).1
        }
        Verdict::DropSecurityGroup => {
            bench.apply(&guard::ops(family, Protocol::Tcp, Some(1), &[]));
            syn
        }
        // The kernel does not refuse room in front of a packet of a test run, nor to shorten it.
        Verdict::DropInternal => return None,
    };
    Some(frame)
}

fn change_backends(bench: &mut Bench, family: Family, change: fn(&mut Backend)) {
    for index in 0..3 {
        bench.apply(&[scene::changed(family, index, change)]);
    }
}

#[test]
fn every_verdict_has_its_packet_in_both_families() {
    let mut bench = scene::bench();
    for family in Family::ALL {
        for &verdict in Verdict::ALL {
            if let Some(frame) = packet(&mut bench, family, verdict) {
                bench.expect(&frame, verdict);
            }
            bench.apply(&scene::ops());
        }
    }
}
