//! Real and damaged frames of many protocols, whole and cut at every length: the program passes, drops or sends
//! each of them, counts one verdict, and reads in it what etherparse reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use etherparse::{
    EtherType, Ethernet2Slice, IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, SingleVlanSlice, TcpHeaderSlice, UdpHeaderSlice,
};
use nlb_agent::{
    datapath::{Datapath as _, Family, Listener, ListenerId, LocalAddress, Op, VipId},
    model::Protocol,
};
use nlb_common::{abi::maps::MAX_ADDRESSES, verdict::Verdict};

use crate::{
    bench::{Action, Bench},
    pcap, scene,
};

/// Test runs take frames of up to a page, less the room around them; longer ones are cut.
const LONGEST: usize = 3400;
/// Every frame once; `None` if there are no captures here.
fn frames() -> Option<BTreeSet<Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let Ok(entries) = fs::read_dir(&directory) else {
        println!("SKIPPED: no captures in {}", directory.display());
        return None;
    };
    let files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let captures = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    let mut frames: BTreeSet<_> = captures.flat_map(|path| pcap::frames(&fs::read(path).unwrap())).collect();
    frames = frames.into_iter().map(|frame| frame[..frame.len().min(LONGEST)].to_vec()).collect();
    frames.retain(|frame| frame.len() >= 14);
    assert!(!frames.is_empty(), "{} holds no frame", directory.display());
    Some(frames)
}

/// Every frame, and every frame cut short, each once.
fn cuts(frames: &BTreeSet<Vec<u8>>) -> BTreeSet<&[u8]> {
    frames.iter().flat_map(|frame| (14..=frame.len()).map(|len| &frame[..len])).collect()
}

/// What etherparse reads in a frame, step by step, as far as the program reads.
enum Reading<'a> {
    NotIp,
    Malformed,
    Ip { to: IpAddr, protocol: IpNumber, part: Part, payload: &'a [u8] },
}

/// How much of a packet a frame holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    FirstFragment,
    Fragment,
}

impl Part {
    fn of(is_fragment: bool, is_first: bool) -> Self {
        match (is_fragment, is_first) {
            (false, _) => Self::Whole,
            (true, true) => Self::FirstFragment,
            (true, false) => Self::Fragment,
        }
    }
}

fn read(frame: &[u8]) -> Reading<'_> {
    let Ok(link) = Ethernet2Slice::from_slice_without_fcs(frame) else { return Reading::Malformed };
    let (mut ethertype, mut rest) = (link.ether_type(), link.payload_slice());
    for _ in 0..2 {
        if matches!(ethertype, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
            let Ok(tag) = SingleVlanSlice::from_slice(rest) else { return Reading::Malformed };
            (ethertype, rest) = (tag.ether_type(), tag.payload_slice());
        }
    }
    match ethertype {
        EtherType::IPV4 => read_v4(rest).unwrap_or(Reading::Malformed),
        EtherType::IPV6 => read_v6(rest).unwrap_or(Reading::Malformed),
        _ => Reading::NotIp,
    }
}

fn read_v4(bytes: &[u8]) -> Option<Reading<'_>> {
    let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    let payload = bytes.get(header.slice().len()..)?.get(..header.payload_len().ok()?.into())?;
    Some(Reading::Ip {
        to: header.destination_addr().into(),
        protocol: header.protocol(),
        part: Part::of(header.is_fragmenting_payload(), header.fragments_offset().value() == 0),
        payload,
    })
}

fn read_v6(bytes: &[u8]) -> Option<Reading<'_>> {
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let mut payload = bytes.get(header.slice().len()..)?.get(..header.payload_length().into())?;
    let (mut protocol, mut part, mut len) = (header.next_header(), Part::Whole, 40);
    for position in 0..MOST_HEADERS {
        if protocol == IpNumber::IPV6_HEADER_HOP_BY_HOP && position > 0 {
            break;
        }
        let Some(extension) = extension(protocol, payload) else { break };
        len += extension.len();
        if len > LONGEST_HEADERS || (protocol == IpNumber::IPV6_ROUTE_HEADER && extension[3] != 0) {
            break;
        }
        if protocol == IpNumber::IPV6_FRAGMENTATION_HEADER {
            let slice = Ipv6FragmentHeaderSlice::from_slice(extension).ok()?;
            if slice.is_fragmenting_payload() {
                part = Part::of(true, slice.fragment_offset().value() == 0);
            }
            if part == Part::Fragment {
                break;
            }
        }
        (protocol, payload) = (IpNumber(extension[0]), &payload[extension.len()..]);
    }
    Some(Reading::Ip { to: header.destination_addr().into(), protocol, part, payload })
}

/// How many extension headers are followed, and how far behind the packet's start.
const MOST_HEADERS: usize = 6;
const LONGEST_HEADERS: usize = 255;

/// The extension header that a payload begins with, if it is one and whole.
fn extension(protocol: IpNumber, payload: &[u8]) -> Option<&[u8]> {
    match protocol {
        IpNumber::IPV6_FRAGMENTATION_HEADER => {
            Ipv6FragmentHeaderSlice::from_slice(payload).ok().map(|header| header.slice().len())
        }
        IpNumber::AUTHENTICATION_HEADER => {
            IpAuthHeaderSlice::from_slice(payload).ok().map(|header| header.slice().len())
        }
        IpNumber::IPV6_HEADER_HOP_BY_HOP
        | IpNumber::IPV6_ROUTE_HEADER
        | IpNumber::IPV6_DESTINATION_OPTIONS => {
            Ipv6RawExtHeaderSlice::from_slice(payload).ok().map(|header| header.slice().len())
        }
        _ => None,
    }
    .and_then(|len| payload.get(..len))
}

/// The transport layer's ports; `None`: not to be read.
fn ports(protocol: IpNumber, part: Part, payload: &[u8]) -> Option<(u16, u16)> {
    if protocol == IpNumber::TCP {
        let header = TcpHeaderSlice::from_slice(payload).ok()?;
        return Some((header.source_port(), header.destination_port()));
    }
    let header = UdpHeaderSlice::from_slice(payload).ok()?;
    // etherparse reads the header alone; the length says how much of the packet it is for.
    let longest = if part == Part::Whole { payload.len() } else { usize::MAX };
    (8..=longest).contains(&header.length().into()).then(|| (header.source_port(), header.destination_port()))
}

/// What becomes of a frame when nothing, or every address, is a VIP without listeners.
fn expected(frame: &[u8], is_vip: impl Fn(IpAddr) -> bool) -> Verdict {
    match read(frame) {
        Reading::NotIp => Verdict::PassNotIp,
        Reading::Malformed => Verdict::PassMalformed,
        Reading::Ip { to, .. } if !is_vip(to) => Verdict::PassNotOurs,
        Reading::Ip { part: Part::Fragment, .. } => Verdict::DropFragment,
        Reading::Ip { to, protocol, part, payload } => {
            let is_balanced = matches!(protocol, IpNumber::TCP | IpNumber::UDP);
            match (is_balanced && ports(protocol, part, payload).is_some(), part) {
                (true, _) => Verdict::DropNoListener,
                (false, Part::FirstFragment) => Verdict::DropFragment,
                _ if to.is_ipv6() && is_extension(protocol) => Verdict::DropExtensionHeader,
                _ if !is_balanced => Verdict::PassProtocol,
                _ => Verdict::DropMalformed,
            }
        }
    }
}

/// What another header may follow.
fn is_extension(protocol: IpNumber) -> bool {
    matches!(
        protocol,
        IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_FRAGMENTATION_HEADER
            | IpNumber::AUTHENTICATION_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS
    )
}

/// Whether a frame is a fragment other than a first one: what it meets hangs on what came before.
fn is_later_fragment(frame: &[u8]) -> bool {
    matches!(read(frame), Reading::Ip { part: Part::Fragment, .. })
}

/// The addresses frames go to, and the TCP and UDP ports.
fn destinations(frames: &BTreeSet<Vec<u8>>) -> BTreeMap<IpAddr, BTreeSet<(bool, u16)>> {
    let mut destinations: BTreeMap<IpAddr, BTreeSet<(bool, u16)>> = BTreeMap::new();
    for frame in frames {
        let Reading::Ip { to, protocol, part, payload } = read(frame) else { continue };
        let listeners = destinations.entry(to).or_default();
        if matches!(protocol, IpNumber::TCP | IpNumber::UDP)
            && part != Part::Fragment
            && let Some((_, port)) = ports(protocol, part, payload)
        {
            listeners.insert((protocol == IpNumber::TCP, port));
        }
    }
    assert!(destinations.len() < MAX_ADDRESSES as usize, "{} addresses", destinations.len());
    destinations
}

/// Runs the frames and compares: each packet's action and bytes with the verdict that is expected, and the counters
/// after each thousand (to read them costs more than the packet).
fn check(bench: &mut Bench, frames: &BTreeSet<&[u8]>, is_vip: impl Fn(IpAddr) -> bool) {
    let mut later = Vec::new();
    for chunk in frames.iter().collect::<Vec<_>>().chunks(1000) {
        let before = bench.datapath().verdicts().unwrap();
        let mut counts = vec![0; before.len()];
        for frame in chunk {
            let verdict = expected(frame, &is_vip);
            if verdict == Verdict::DropFragment && is_later_fragment(frame) {
                later.push(**frame);
                continue;
            }
            let (action, out) = bench.run_uncounted(frame);
            let passed = verdict.name().starts_with("PASS");
            assert_eq!(action, if passed { Action::Pass } else { Action::Drop }, "{verdict:?}: {frame:02x?}");
            assert!(out == **frame, "changed: {frame:02x?}");
            counts[verdict as usize] += 1;
        }
        let after = bench.datapath().verdicts().unwrap();
        let moved: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        if moved != counts {
            // Once more, one by one, to name the frame.
            for frame in chunk.iter().filter(|frame| !is_later_fragment(frame)) {
                assert_eq!(bench.run(frame).verdict, expected(frame, &is_vip), "{frame:02x?}");
            }
            panic!("counters moved by {moved:?}, not by {counts:?}, but now they agree");
        }
    }
    // A first fragment that came before, or a cut of it, says for which port they are, where nobody listens, too.
    for frame in later {
        let verdict = bench.run(frame).verdict;
        assert!(
            matches!(verdict, Verdict::DropFragment | Verdict::DropNoListener),
            "{verdict:?}: {frame:02x?}"
        );
    }
}

#[test]
fn every_frame_and_every_cut_is_read_as_etherparse_reads_it() {
    let Some(frames) = frames() else { return };
    let cuts = cuts(&frames);
    let mut bench = Bench::new();
    check(&mut bench, &cuts, |_| false);

    let destinations = destinations(&frames);
    for (number, &address) in (1..).zip(destinations.keys()) {
        let local = LocalAddress { vip: Some(VipId(number)), ..LocalAddress::default() };
        bench.apply(&[Op::PutAddress(address, local)]);
    }
    check(&mut bench, &cuts, |address| destinations.contains_key(&address));
    println!("{} frames, {} with their cuts, twice; {} VIPs", frames.len(), cuts.len(), destinations.len());
}

/// Every address is a VIP, and something listens on every port: what cannot be balanced is still only passed,
/// dropped or answered, and what is balanced comes out readable.
#[test]
fn every_frame_to_a_listener_meets_one_verdict() {
    let Some(frames) = frames() else { return };
    let mut bench = scene::bench();
    let mut ops = Vec::new();
    let mut id = 10;
    for (number, (&address, ports)) in (10..).zip(&destinations(&frames)) {
        let vip = VipId(number);
        ops.push(Op::PutAddress(address, LocalAddress { vip: Some(vip), ..LocalAddress::default() }));
        for &(is_tcp, port) in ports {
            id += 1;
            let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
            let (_, listener) = scene::listener(Family::of(address), protocol);
            let listener = Listener { vip, address, port, ..listener };
            ops.push(Op::PutListener(ListenerId(id), listener));
        }
    }
    bench.apply(&ops);
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    let mut runs = 0;
    for frame in &frames {
        let len = frame.len();
        for cut in [len, len - len.min(3), len - len.min(13), len / 2].into_iter().filter(|&cut| cut >= 14) {
            let run = bench.run(&frame[..cut]);
            runs += 1;
            *met.entry(run.verdict.name()).or_default() += 1;
            let name = run.verdict.name();
            match run.action {
                Action::Pass => {
                    assert!(name.starts_with("PASS"), "{name}: {frame:02x?}");
                    assert!(run.bytes == frame[..cut], "{name}: changed: {frame:02x?}");
                }
                Action::Drop => assert!(name.starts_with("DROP"), "{name}: {frame:02x?}"),
                Action::Tx | Action::Redirect => check_sent(&run.bytes, name),
            }
        }
    }
    println!("{runs} runs with {} listeners: {met:?}", id - 10);
    for name in ["FORWARD", "RESET_UNKNOWN_FLOW"] {
        assert!(met.contains_key(name), "{name}: never");
    }
}

/// What is forwarded goes to a server; what is answered comes from a VIP; both can be read.
fn check_sent(bytes: &[u8], name: &str) {
    let Reading::Ip { to, protocol, payload, part } = read(bytes) else {
        panic!("{name}: not to be read: {bytes:02x?}");
    };
    if part == Part::Fragment {
        let servers = [0, 1, 2].map(|index| scene::server(Family::of(to), index).ip());
        assert!(name == "FORWARD" && servers.contains(&to), "{bytes:02x?}");
        return;
    }
    let (_, port) =
        ports(protocol, part, payload).unwrap_or_else(|| panic!("{name}: not to be read: {bytes:02x?}"));
    if name == "FORWARD" {
        let family = Family::of(to);
        let servers = [0, 1, 2].map(|index| scene::server(family, index));
        assert!(servers.contains(&SocketAddr::new(to, port)), "{bytes:02x?}");
    }
}
