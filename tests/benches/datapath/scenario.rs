//! The scenarios, as data. To add one, add it to [`all`]; a new kind of subject or table has its place in
//! [`instance`](crate::instance), a new fate in [`check`](crate::check).

use nlb_agent::datapath::{Family, Tracking};
use nlb_common::{abi::bench::reference, verdict::Verdict};

use crate::{
    scene::{Kind, SERVERS, Scheduler},
    traffic::{Mode, Sender},
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Parse and send back.
    Baseline,
    /// The reference balancer.
    Reference,
    /// The datapath with a service of so many servers.
    Service { servers: usize, kind: Kind },
}

/// What is in its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// So many established flows: 0, 1, ... Scenarios with equal subject, family and table share it.
    Holds(u32),
    /// First so many new flows, which is more than there is room for, then so many established ones. Shared as well.
    Full { new: u32, established: u32 },
    /// So many new flows. Made anew for every measurement, which has at most `packets` packets.
    Renewed { new: u32, packets: u32 },
}

/// What has to become of every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Passed, unchanged.
    Passed,
    /// Dropped.
    Dropped,
    /// Sent back with the MAC addresses swapped.
    SentBack,
    /// Rewritten, to a server from a SNAT address.
    Forwarded,
    /// Rewritten, to a client from the VIP.
    Answered,
    /// Encapsulated, to a server.
    Encapsulated,
    /// Encapsulated behind a UDP header.
    EncapsulatedInUdp,
    /// As it is, to a server's MAC address.
    Relayed,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Unique; what `--filter` looks at.
    pub(crate) name: String,
    pub(crate) family: Family,
    pub(crate) subject: Subject,
    pub(crate) table: Table,
    pub(crate) sender: Sender,
    pub(crate) mode: Mode,
    /// Verdicts that packets may meet; none if the subject does not count them.
    pub(crate) verdicts: &'static [u32],
    pub(crate) fate: Fate,
    /// Name of the scenario it is compared with.
    pub(crate) reference: Option<String>,
}

/// Numbers of flows: one, what fits the nearest cache, and so on.
const FLOWS: [(u32, &str); 5] =
    [(1, "1"), (1_000, "1k"), (65_536, "64k"), (100_000, "100k"), (1_000_000, "1M")];
/// Those of modes that differ from `ipip` in what is sent alone, and what their tables hold.
const OTHERS_FLOWS: [(u32, &str); 2] = [FLOWS[0], FLOWS[2]];
const OTHERS_TABLE: u32 = 65_536;
/// How many of them `nat` has SNAT ports for.
const NAT_FLOWS: usize = 3;
/// Established flows in a `nat` table: some more than are picked from, because the slot of each is a matter of its
/// hash, and replies are picked by slot and port.
const NAT_TABLE: u32 = 67_584;
/// New flows that `nat` surely has ports for, whatever slots they hash to.
const NAT_ROOM: u32 = 220_000;
/// New flows that surely take the last port of every slot: the search goes round more than once.
const NAT_OVERRUN: u32 = 400_000;
/// New flows that surely fill the reference's table.
const REFERENCE_OVERRUN: u32 = reference::FLOWS + reference::FLOWS / 8;
/// New flows that surely fill every set of half-open ones.
const HALF_OPEN_OVERRUN: u32 = 1 << 18;
/// New flows that half of the half-open ones are left free by.
const NEW_FLOWS: u32 = 16_384;
/// Flows that stay in a flood.
const FLOOD_FLOWS: u32 = 10_000;

/// All scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [
                baseline(family),
                references(family),
                ipip(family),
                others(family),
                schedulers(family),
                nat(family),
            ]
            .concat()
        })
        .collect()
}

/// The name of a family's baseline.
pub(crate) fn baseline_name(family: Family) -> String {
    format!("baseline parse+tx {family}")
}

fn baseline(family: Family) -> Vec<Scenario> {
    vec![Scenario {
        name: baseline_name(family),
        family,
        subject: Subject::Baseline,
        table: Table::Holds(0),
        sender: Sender::Clients,
        mode: Mode::Random(1_000),
        verdicts: &[],
        fate: Fate::SentBack,
        reference: None,
    }]
}

fn references(family: Family) -> Vec<Scenario> {
    let existing = |(flows, label)| Scenario {
        name: format!("reference existing {label} {family}"),
        family,
        subject: Subject::Reference,
        table: Table::Holds(1_000_000),
        sender: Sender::Clients,
        mode: Mode::any_of(flows),
        verdicts: &[reference::verdict::EXISTING],
        fate: Fate::Encapsulated,
        reference: None,
    };
    let model = existing(FLOWS[0]);
    let mut scenarios = vec![Scenario {
        name: format!("reference miss {family}"),
        sender: Sender::Bystanders,
        mode: Mode::Random(1_000),
        verdicts: &[reference::verdict::PASS],
        fate: Fate::Passed,
        ..model.clone()
    }];
    scenarios.extend(FLOWS.map(existing));
    let full = Table::Full { new: REFERENCE_OVERRUN, established: FLOOD_FLOWS };
    scenarios.push(Scenario {
        name: format!("reference new {family}"),
        table: full,
        mode: Mode::Never,
        verdicts: &[reference::verdict::NEW],
        ..model.clone()
    });
    scenarios.push(Scenario {
        name: format!("reference flood {family}"),
        table: full,
        mode: Mode::Flood(FLOOD_FLOWS),
        verdicts: &[reference::verdict::NEW, reference::verdict::EXISTING],
        ..model
    });
    scenarios
}

/// A tunnel with full tracking and with none but in transition: what there is for the reference.
fn ipip(family: Family) -> Vec<Scenario> {
    let existing = |name: &str, kind, (flows, label)| Scenario {
        name: format!("{name} existing {label} {family}"),
        family,
        subject: Subject::Service { servers: SERVERS, kind },
        table: Table::Holds(1_000_000),
        sender: Sender::Clients,
        mode: Mode::any_of(flows),
        verdicts: &[Verdict::Forward as u32],
        fate: Fate::Encapsulated,
        reference: Some(format!("reference existing {label} {family}")),
    };
    let full = Kind::Ipip(Tracking::Full, Scheduler::RoundRobin);
    let transition = Kind::Ipip(Tracking::Transition, Scheduler::FlowHash);
    let mut scenarios = vec![Scenario {
        name: format!("ipip miss {family}"),
        sender: Sender::Bystanders,
        mode: Mode::Random(1_000),
        verdicts: &[Verdict::PassNotOurs as u32],
        fate: Fate::Passed,
        reference: Some(format!("reference miss {family}")),
        ..existing("ipip", full, FLOWS[0])
    }];
    scenarios.extend(FLOWS.map(|flows| existing("ipip", full, flows)));
    scenarios.extend(
        FLOWS.map(|flows| Scenario {
            table: Table::Holds(0),
            ..existing("ipip transition", transition, flows)
        }),
    );
    scenarios.push(Scenario {
        name: format!("ipip flood {family}"),
        table: Table::Full { new: HALF_OPEN_OVERRUN, established: FLOOD_FLOWS },
        mode: Mode::Flood(FLOOD_FLOWS),
        reference: Some(format!("reference flood {family}")),
        ..existing("ipip", full, FLOWS[0])
    });
    scenarios
}

/// The other modes whose flows are those of the flow table.
fn others(family: Family) -> Vec<Scenario> {
    let existing = |name: &str, kind, fate, (flows, label)| Scenario {
        name: format!("{name} existing {label} {family}"),
        family,
        subject: Subject::Service { servers: SERVERS, kind },
        table: Table::Holds(OTHERS_TABLE),
        sender: Sender::Clients,
        mode: Mode::any_of(flows),
        verdicts: &[Verdict::Forward as u32],
        fate,
        reference: Some(format!("reference existing {label} {family}")),
    };
    let modes = [("dsr", Kind::Dsr, Fate::Relayed), ("gue", Kind::Gue, Fate::EncapsulatedInUdp)];
    let of = |(name, kind, fate)| OTHERS_FLOWS.map(|flows| existing(name, kind, fate, flows));
    modes.into_iter().flat_map(of).collect()
}

/// First packets of flows, by who picks the server. Few enough for the table of half-open flows.
fn schedulers(family: Family) -> Vec<Scenario> {
    let new = |name: &str, servers, scheduler| Scenario {
        name: format!("ipip new {name} {family}"),
        family,
        subject: Subject::Service { servers, kind: Kind::Ipip(Tracking::Full, scheduler) },
        table: Table::Renewed { new: 0, packets: NEW_FLOWS },
        sender: Sender::Clients,
        mode: Mode::Never,
        verdicts: &[Verdict::Forward as u32],
        fate: Fate::Encapsulated,
        reference: Some(format!("reference new {family}")),
    };
    vec![
        new("wrr", SERVERS, Scheduler::RoundRobin),
        new("wlc", SERVERS, Scheduler::LeastConnections),
        new("wlc, 1000 servers", 10 * SERVERS, Scheduler::LeastConnections),
        new("source_ip", SERVERS, Scheduler::SourceIp),
        new("flow_hash", SERVERS, Scheduler::FlowHash),
    ]
}

fn nat(family: Family) -> Vec<Scenario> {
    let forward = |(flows, label)| Scenario {
        name: format!("nat forward {label} {family}"),
        family,
        subject: Subject::Service { servers: SERVERS, kind: Kind::Nat },
        table: Table::Holds(NAT_TABLE),
        sender: Sender::Clients,
        mode: Mode::any_of(flows),
        verdicts: &[Verdict::Forward as u32],
        fate: Fate::Forwarded,
        reference: Some(format!("reference existing {label} {family}")),
    };
    let model = forward(FLOWS[0]);
    let mut scenarios = vec![Scenario {
        name: format!("nat miss {family}"),
        sender: Sender::Bystanders,
        mode: Mode::Random(1_000),
        verdicts: &[Verdict::PassNotOurs as u32],
        fate: Fate::Passed,
        reference: Some(format!("reference miss {family}")),
        ..model.clone()
    }];
    let flows = &FLOWS[..NAT_FLOWS];
    scenarios.extend(flows.iter().copied().map(forward));
    scenarios.extend(flows.iter().map(|&(flows, label)| Scenario {
        name: format!("nat reply {label} {family}"),
        // One server, so that any reply is from it.
        subject: Subject::Service { servers: 1, kind: Kind::Nat },
        sender: Sender::Server,
        mode: Mode::any_of(flows),
        verdicts: &[Verdict::Reply as u32],
        fate: Fate::Answered,
        ..forward((flows, label))
    }));
    let new = Scenario {
        name: format!("nat new {family}"),
        table: Table::Renewed { new: 0, packets: NAT_ROOM },
        mode: Mode::Never,
        reference: Some(format!("reference new {family}")),
        ..model
    };
    scenarios.push(new.clone());
    scenarios.push(Scenario {
        name: format!("nat new, no port {family}"),
        table: Table::Renewed { new: NAT_OVERRUN, packets: NAT_ROOM },
        verdicts: &[Verdict::DropPortsExhausted as u32],
        fate: Fate::Dropped,
        ..new
    });
    scenarios
}
