//! Right before fast: packets one by one, and what became of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use etherparse::{IpNumber, NetSlice, SlicedPacket};
use nlb_agent::datapath::Family;
use nlb_common::packet::gue;
use nlb_tests::packet::{Frame, flag};

use crate::{
    instance::Instance,
    parsed::{Check, Parsed},
    scenario::{Fate, Scenario, Table},
    scene,
    traffic::{self, Mode, Sender},
    wrapper::{Action, Left, Wrapper},
};

/// How many packets are looked at.
const PACKETS: u32 = 10_000;
/// How many first packets of a tunnel's flows: so few that no half-open flow has to make room for another one.
const FIRST_PACKETS: u32 = 1_000;

/// How many packets of a scenario are looked at.
pub(crate) fn packets(scenario: &Scenario) -> u32 {
    let is_first = scenario.fate == Fate::Encapsulated && matches!(scenario.table, Table::Renewed { .. });
    if is_first { FIRST_PACKETS } else { PACKETS }
}

/// Length of an Ethernet header.
const ETHERNET_LEN: usize = 14;

/// Sender and receiver of a frame as it was sent.
type Ends = (SocketAddr, SocketAddr);

/// Who got the packets of a flow, by its ends. The flows are those that are picked: known from before.
pub(crate) type Targets = BTreeMap<Ends, SocketAddr>;

/// Sends packets one by one: once past the program to see what it gets, then through it, then as the next packets of
/// the same flows. Fails at the first that is not as it should be.
pub(crate) fn check(wrapper: &mut Wrapper, instance: &mut Instance, scenario: &Scenario) -> Result<Targets> {
    let packets = packets(scenario);
    let plan = |flags| traffic::plan(scenario.family, scenario.sender, scenario.mode, flags);
    let first = plan([flag::ACK, flag::SYN]);
    let state = traffic::start(0, instance.next);

    let empty = wrapper.empty.try_clone()?;
    wrapper.aim(&empty, first, state)?;
    let sent: Vec<Parsed> = wrapper.steps(packets)?.iter().map(|left| Parsed::of(&left.frame)).collect();
    check_sent(scenario, &sent)?;

    let before = instance.verdicts()?;
    wrapper.aim(instance.fd(), first, state)?;
    let left = wrapper.steps(packets)?;
    check_verdicts(scenario, &before, &instance.verdicts()?, packets, 0)?;
    wrapper.aim(instance.fd(), plan([flag::ACK; 2]), state)?;
    let next = wrapper.steps(packets)?;
    instance.next += packets;

    let mut targets = BTreeMap::new();
    let mut picked = Targets::new();
    for ((sent, left), next) in sent.iter().zip(&left).zip(&next) {
        let context = || format!("sent {sent:?}, left {left:02x?}");
        let target = target(scenario, sent, left).with_context(context)?;
        let is_new = sent.tcp.as_ref().is_some_and(|tcp| tcp.flags == flag::SYN);
        if let Some(target) = target {
            let again = (follow_up(scenario, sent, next).with_context(context)?).context("no follow-up")?;
            ensure!(again == target, "the next packet went to {again}: {}", context());
            let earlier = *targets.entry((sent.from, sent.to)).or_insert(target);
            ensure!(earlier == target, "an earlier packet went to {earlier}: {}", context());
            if !is_new {
                picked.insert((sent.from, sent.to), target);
            }
        }
    }
    if scenario.fate == Fate::Answered {
        let clients: BTreeSet<_> = targets.values().collect();
        ensure!(clients.len() == targets.len(), "replies of different flows went to one client");
    }
    Ok(picked)
}

/// The wrapper makes what the scenario says.
fn check_sent(scenario: &Scenario, sent: &[Parsed]) -> Result<()> {
    let expected_end = match scenario.sender {
        Sender::Clients => scene::vip(scenario.family),
        Sender::Bystanders => scene::stranger(scenario.family),
        Sender::Server => scene::server(scenario.family, 0),
    };
    let mut flows = BTreeSet::new();
    let mut new = 0;
    for parsed in sent {
        let fixed_end = if scenario.sender == Sender::Server { parsed.from } else { parsed.to };
        ensure!(parsed.checksum == Check::Right && fixed_end == expected_end, "the wrapper sends {parsed:?}");
        flows.insert((parsed.from, parsed.to));
        new += usize::from(parsed.tcp.as_ref().is_some_and(|tcp| tcp.flags == flag::SYN));
    }
    let right = match scenario.mode {
        Mode::Fixed => flows.len() == 1 && new == 0,
        Mode::Sequential(count) | Mode::Random(count) => {
            flows.len() > count.min(PACKETS) as usize / 2 && flows.len() <= count as usize && new == 0
        }
        Mode::Never => flows.len() == sent.len() && new == sent.len(),
        Mode::Flood(_) => flows.len() > new && new > sent.len() / 2,
    };
    ensure!(right, "the wrapper sends {} flows, {new} of them new, in {} packets", flows.len(), sent.len());
    Ok(())
}

/// All packets but for `strays` have met a verdict that the scenario allows.
pub(crate) fn check_verdicts(
    scenario: &Scenario,
    before: &[u64],
    after: &[u64],
    packets: u32,
    strays: u32,
) -> Result<()> {
    if scenario.verdicts.is_empty() {
        return Ok(());
    }
    let deltas: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let right: u64 = scenario.verdicts.iter().filter_map(|&verdict| deltas.get(verdict as usize)).sum();
    ensure!(
        right <= u64::from(packets) && right >= u64::from(packets - strays),
        "of {packets} packets {right} met a verdict out of {:?}; all: {deltas:?}",
        scenario.verdicts
    );
    Ok(())
}

/// Who got the next packet of a flow. It is no SYN: that it is forwarded shows that the flow is known.
fn follow_up(scenario: &Scenario, sent: &Parsed, left: &Left) -> Result<Option<SocketAddr>> {
    let mut sent = sent.clone();
    if let Some(tcp) = &mut sent.tcp {
        tcp.flags = flag::ACK;
    }
    target(scenario, &sent, left)
}

/// Who got a packet; an error if it is not what the scenario says.
fn target(scenario: &Scenario, sent: &Parsed, left: &Left) -> Result<Option<SocketAddr>> {
    let action = match scenario.fate {
        Fate::Passed => Action::Pass,
        Fate::Dropped => Action::Drop,
        Fate::SentBack
        | Fate::Forwarded
        | Fate::Answered
        | Fate::Encapsulated
        | Fate::EncapsulatedInUdp
        | Fate::Relayed => Action::Tx,
    };
    ensure!(left.action == action, "it was to be {action:?}");
    let family = scenario.family;
    match scenario.fate {
        Fate::Dropped => Ok(None),
        Fate::Passed => {
            ensure!(Parsed::of(&left.frame) == *sent, "it was changed");
            Ok(None)
        }
        Fate::SentBack => {
            let mut expected = sent.clone();
            (expected.to_mac, expected.from_mac) = (sent.from_mac, sent.to_mac);
            ensure!(Parsed::of(&left.frame) == expected, "it was changed");
            Ok(None)
        }
        Fate::Forwarded => forwarded(family, sent, &Parsed::of(&left.frame)).map(Some),
        Fate::Answered => answered(family, sent, &Parsed::of(&left.frame)).map(Some),
        Fate::Encapsulated => encapsulated(family, sent, &left.frame, inside(family), 0).map(Some),
        Fate::EncapsulatedInUdp => {
            encapsulated(family, sent, &left.frame, IpNumber::UDP, gue::HEADER_LEN).map(Some)
        }
        Fate::Relayed => relayed(family, sent, &Parsed::of(&left.frame)).map(Some),
    }
}

fn forwarded(family: Family, sent: &Parsed, out: &Parsed) -> Result<SocketAddr> {
    let index = scene::server_index(family, out.to.ip()).context("it went to no server")?;
    ensure!(out.to == scene::server(family, index), "it went to another port");
    let own = (0..scene::SNATS).any(|slot| scene::snat(family, slot) == out.from.ip());
    ensure!(own && out.from.port() >= scene::FIRST_SNAT_PORT, "it comes from no SNAT port");
    let macs = [scene::server_mac(index), scene::EGRESS_MAC];
    ensure!(*out == sent.clone().moved(&[], macs, out.from, out.to), "more was changed than should be");
    Ok(out.to)
}

fn answered(family: Family, sent: &Parsed, out: &Parsed) -> Result<SocketAddr> {
    ensure!(out.from == scene::vip(family), "it does not come from the VIP");
    let macs = [Frame::SOURCE, Frame::DESTINATION];
    ensure!(*out == sent.clone().moved(&[], macs, out.from, out.to), "more was changed than should be");
    Ok(out.to)
}

fn relayed(family: Family, sent: &Parsed, out: &Parsed) -> Result<SocketAddr> {
    let server = (0..scene::SERVERS).find(|&index| scene::server_mac(index) == out.to_mac);
    let index = server.context("it went to no server's MAC address")?;
    let macs = [scene::server_mac(index), scene::EGRESS_MAC];
    ensure!(*out == sent.clone().moved(&[], macs, sent.from, sent.to), "more was changed than should be");
    Ok(scene::server(family, index))
}

/// The protocol number of a packet inside another one.
fn inside(family: Family) -> IpNumber {
    if family == Family::V4 { IpNumber::IPV4 } else { IpNumber::IPV6 }
}

/// A packet in a header of `protocol`, which has so many bytes more in front of it.
fn encapsulated(
    family: Family,
    sent: &Parsed,
    frame: &[u8],
    protocol: IpNumber,
    between: usize,
) -> Result<SocketAddr> {
    let (from, to, found, inner) = outer(frame)?;
    ensure!(found == protocol, "the outer header is one of protocol {found:?}");
    ensure!(from == scene::balancer(family), "the outer source is {from}");
    let index = scene::server_index(family, to).context("it went to no server")?;
    let link = frame.get(..ETHERNET_LEN).context("no Ethernet header")?;
    ensure!(link[..12] == [scene::server_mac(index), scene::EGRESS_MAC].concat(), "wrong MAC addresses");
    let mut expected = sent.clone();
    (expected.to_mac, expected.from_mac) = (scene::server_mac(index), scene::EGRESS_MAC);
    let inner = Parsed::of(&[link, inner.get(between..).context("too short")?].concat());
    // The datapath takes a hop off; the reference leaves that out.
    let less = Parsed { hops: expected.hops - 1, ..expected.clone() };
    ensure!(inner == expected || inner == less, "the inner packet was changed");
    Ok(scene::server(family, index))
}

/// Sender, receiver, protocol and contents of an outer header whose length and checksum are right.
fn outer(frame: &[u8]) -> Result<(IpAddr, IpAddr, IpNumber, &[u8])> {
    let packet = SlicedPacket::from_ethernet(frame)?;
    let rest = frame.len() - ETHERNET_LEN;
    match packet.net.context("no outer header")? {
        NetSlice::Ipv4(packet) => {
            let header = packet.header();
            ensure!(header.to_header().calc_header_checksum() == header.header_checksum(), "wrong checksum");
            ensure!(usize::from(header.total_len()) == rest, "wrong length");
            let inner = frame.get(ETHERNET_LEN + 20..).context("too short")?;
            Ok((header.source_addr().into(), header.destination_addr().into(), header.protocol(), inner))
        }
        NetSlice::Ipv6(packet) => {
            let header = packet.header();
            ensure!(usize::from(header.payload_length()) + 40 == rest, "wrong length");
            let inner = frame.get(ETHERNET_LEN + 40..).context("too short")?;
            Ok((header.source_addr().into(), header.destination_addr().into(), header.next_header(), inner))
        }
        NetSlice::Arp(_) => anyhow::bail!("an ARP packet"),
    }
}
