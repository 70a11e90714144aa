//! A crowd of clients, over few sets, in both families, through tunnels and NAT, on several CPUs at once.
//!
//! Half of the services' servers come and go. Some flows are *steady*: established before the crowd comes, to servers
//! that stay, through listeners with a long idle timeout; they share sets, ports and counters with all others, and
//! nothing may happen to them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aya::programs::Xdp;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use nlb_agent::{
    datapath::{
        Backend, BackendId, Family, Forward, Listener, ListenerId, Op, Service, ServiceId, Tracking, Turns,
        aya::Sizes,
    },
    model::Protocol,
};
use nlb_common::verdict::Verdict;
use nlb_tests::packet::{Frame, flag};

use crate::{
    bench::{Action, Bench, test_run},
    scene::{self, SERVICE},
};

/// Ports of listeners: NAT, tunnels, tunnels of a service whose clients do not stay, and the steady flows'.
const NAT: u16 = scene::TCP_PORT;
const TUNNEL: u16 = 90;
const LOOSE: u16 = 92;
const STEADY_NAT: u16 = 1080;
const STEADY_TUNNEL: u16 = 1090;
/// The service of the tunnels.
const TUNNELS: ServiceId = ServiceId(2);
/// The service of the tunnels whose clients do not stay.
const LOOSES: ServiceId = ServiceId(3);
/// What is added to the number of a backend for the same server through a tunnel.
const THROUGH_TUNNEL: u32 = 6;
/// The idle timeout of the crowd's flows, short enough to be over while others come.
const SHORT: Duration = Duration::from_millis(20);
/// How many steady flows there are of each kind.
const STEADY: u16 = 8;

/// xorshift64 (Marsaglia, 2003).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From a seed that is not 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(n)) >> 32) as u32
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }
}

/// A backend of the scene that comes and goes, and the same server through a tunnel.
pub(crate) fn changed(family: Family, index: usize, change: impl Fn(&mut Backend)) -> [Op; 2] {
    let (id, mut nat) = scene::backend(family, index);
    let source = scene::snat(family, 0).ip();
    let mut tunnel = Backend { forward: Forward::Ipip(Some(source)), ..nat };
    change(&mut nat);
    change(&mut tunnel);
    [Op::PutBackend(id, nat), Op::PutBackend(BackendId(id.0 + THROUGH_TUNNEL), tunnel)]
}

/// All services on the servers of these indexes; the clients of all but one stay with theirs.
pub(crate) fn services(indexes: &[usize]) -> [Op; 3] {
    let stay = Some(Duration::from_secs(30));
    [(SERVICE, 0, stay), (TUNNELS, THROUGH_TUNNEL, stay), (LOOSES, THROUGH_TUNNEL, None)].map(
        |(id, offset, persistence)| {
            let mut service = Service { persistence, ..Service::default() };
            for family in Family::ALL {
                let backends = scene::backends(family);
                let wheel = indexes.iter().map(|&index| BackendId(backends[index].0 + offset)).collect();
                service.picks[family.index()].turns = Turns::Wheel(wheel);
            }
            Op::PutService(id, service)
        },
    )
}

fn listeners() -> Vec<Op> {
    let mut ops = Vec::new();
    let kinds = [
        (NAT, SERVICE, Tracking::Nat, SHORT),
        (TUNNEL, TUNNELS, Tracking::Full, SHORT),
        (LOOSE, LOOSES, Tracking::Full, SHORT),
        (STEADY_NAT, SERVICE, Tracking::Nat, scene::IDLE),
        (STEADY_TUNNEL, TUNNELS, Tracking::Full, scene::IDLE),
    ];
    for family in Family::ALL {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for (port, service, tracking, idle_timeout) in kinds {
                let id = ListenerId(ops.len() as u32 + 10);
                let (_, listener) = scene::listener(family, protocol);
                ops.push(Op::PutListener(id, Listener { port, service, tracking, idle_timeout, ..listener }));
            }
        }
    }
    ops
}

/// The scene: `flows` are the flow table's, `ports` those of SNAT.
pub(crate) fn bench(flows: u32, ports: u16) -> Bench {
    let mut bench = Bench::sized(Sizes { flows, persistence: 64, ..Sizes::default() });
    let scene = scene::ops().into_iter().filter(|op| !matches!(op, Op::PutListener(..) | Op::PutService(..)));
    bench.apply(&scene.collect::<Vec<_>>());
    for family in Family::ALL {
        bench.apply(&[scene::snat_op(family, ports)]);
        (0..3).for_each(|index| bench.apply(&changed(family, index, |_| ())));
    }
    bench.apply(&services(&[0]));
    bench.apply(&listeners());
    bench
}

/// What one packet is of.
#[derive(Clone, Copy, Debug)]
struct Flow {
    family: Family,
    protocol: Protocol,
    port: u16,
    client: SocketAddr,
}

impl Flow {
    fn frame(self, flags: u8) -> Frame {
        let vip = scene::vip(self.family, self.port);
        match self.protocol {
            Protocol::Udp => Frame::udp(self.client, vip),
            _ => Frame::tcp(self.client, vip, flags),
        }
    }

    fn is_nat(self) -> bool {
        matches!(self.port, NAT | STEADY_NAT)
    }

    /// A server's segment, from where the client's last one went to.
    fn answer(self, path: Path, flags: u8) -> Frame {
        let server = scene::server(self.family, usize::from(path.server));
        let snat = scene::snat(self.family, path.port);
        match self.protocol {
            Protocol::Udp => Frame::udp(server, snat),
            _ => Frame::tcp(server, snat, flags),
        }
    }
}

/// The `n`-th of the crowd's clients: some addresses, with some ports each.
fn client(family: Family, n: u32) -> SocketAddr {
    let base = scene::client(family, 0);
    let host = 100 + n % 32;
    let address = match base.ip() {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) + host).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) + u128::from(host)).into()),
    };
    SocketAddr::new(address, base.port() + (n / 32) as u16)
}

/// A segment of a client of the crowd to a tunnel.
pub(crate) fn through_tunnel(family: Family, n: u32, flags: u8) -> Frame {
    Flow { family, protocol: Protocol::Tcp, port: TUNNEL, client: client(family, n) }.frame(flags)
}

/// Where a packet of NAT went: the server's index and the SNAT port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Path {
    server: u16,
    port: u16,
}

impl Path {
    /// Of a packet as the program left it.
    fn of(family: Family, bytes: &[u8]) -> Option<Self> {
        let (server, ports) = if family == Family::V4 { (33, 34) } else { (53, 54) };
        let port = u16::from_be_bytes([*bytes.get(ports)?, *bytes.get(ports + 1)?]);
        Some(Self {
            server: u16::from(bytes[server].checked_sub(if family == Family::V4 { 11 } else { 0x11 })?),
            port,
        })
    }
}

/// Where the NAT flows of the crowd went, for whoever plays the servers.
pub(crate) struct Paths(Vec<AtomicU64>);

impl Paths {
    /// For so many clients of each kind.
    pub(crate) fn new(clients: u32) -> Self {
        Self((0..clients * 4).map(|_| AtomicU64::new(0)).collect())
    }

    fn at(&self, flow: Flow, n: u32) -> &AtomicU64 {
        let kind = 2 * flow.family.index() + usize::from(flow.protocol == Protocol::Udp);
        &self.0[n as usize * 4 + kind]
    }
}

/// One CPU's part of the crowd.
pub(crate) struct Driver<'a> {
    pub(crate) program: Xdp,
    pub(crate) paths: &'a Paths,
    pub(crate) random: Random,
    /// Clients of each kind, whom all drivers share.
    pub(crate) clients: u32,
}

impl Driver<'_> {
    /// One packet.
    pub(crate) fn step(&mut self) {
        let n = self.random.below(self.clients);
        let family = self.random.one_of(&Family::ALL);
        let flow = Flow {
            family,
            protocol: self.random.one_of(&[Protocol::Tcp, Protocol::Tcp, Protocol::Tcp, Protocol::Udp]),
            port: self.random.one_of(&[NAT, TUNNEL, LOOSE]),
            client: client(family, n),
        };
        let path = self.paths.at(flow, n);
        let known = path.load(Ordering::Relaxed);
        if flow.is_nat() && known != 0 && self.random.below(5) < 2 {
            let path = Path { server: (known >> 16) as u16 - 1, port: known as u16 };
            let flags =
                self.random.one_of(&[flag::SYN_ACK, flag::SYN_ACK, flag::ACK, flag::FIN_ACK, flag::RST]);
            test_run(&self.program, &flow.answer(path, flags).build());
            return;
        }
        let flags = self.random.one_of(&[
            flag::SYN,
            flag::SYN,
            flag::SYN,
            flag::ACK,
            flag::ACK,
            flag::ACK,
            flag::ACK,
            flag::FIN_ACK,
            flag::RST,
        ]);
        let (action, out) = test_run(&self.program, &flow.frame(flags).build());
        // A RST that the program answers with goes back to the client, from no server's address.
        if flow.is_nat()
            && matches!(action, Action::Tx | Action::Redirect)
            && let Some(to) = Path::of(family, &out)
            && to.server < 3
        {
            path.store(u64::from(to.server + 1) << 16 | u64::from(to.port), Ordering::Relaxed);
        }
    }
}

/// Keeps this thread on the `n`-th of the processors that it may use.
pub(crate) fn pin(n: usize) {
    let me = Pid::from_raw(0);
    let allowed = sched_getaffinity(me).unwrap();
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap()).collect();
    let mut one = CpuSet::new();
    one.set(cpus[n % cpus.len()]).unwrap();
    sched_setaffinity(me, &one).unwrap();
}

/// A flow that nothing may happen to, and where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady(Flow, [u8; 6], Option<Path>);

impl Steady {
    /// All of them, established; nobody else may be there yet.
    pub(crate) fn all(bench: &mut Bench) -> Vec<Self> {
        let mut all = Vec::new();
        for family in Family::ALL {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for port in [STEADY_NAT, STEADY_TUNNEL] {
                    let flows = (0..STEADY).map(|n| Flow {
                        family,
                        protocol,
                        port,
                        client: scene::client(family, n),
                    });
                    all.extend(flows.map(|flow| Self::establish(bench, flow)));
                }
            }
        }
        all
    }

    fn establish(bench: &mut Bench, flow: Flow) -> Self {
        let first = bench.expect(&flow.frame(flag::SYN), Verdict::Forward);
        let path = flow.is_nat().then(|| Path::of(flow.family, &first.bytes).unwrap());
        if let Some(path) = path {
            bench.expect(&flow.answer(path, flag::SYN_ACK), Verdict::Reply);
        }
        let mac = first.bytes[..6].try_into().unwrap();
        let steady = Self(flow, mac, path);
        steady.goes_on(bench);
        steady
    }

    /// Asserts that it goes where it always did.
    #[track_caller]
    pub(crate) fn goes_on(&self, bench: &mut Bench) {
        let &Self(flow, mac, path) = self;
        let run = bench.expect(&flow.frame(flag::ACK), Verdict::Forward);
        assert_eq!(run.bytes[..6], mac, "{flow:?}: its server");
        if let Some(path) = path {
            assert_eq!(Path::of(flow.family, &run.bytes), Some(path), "{flow:?}: its port");
            bench.expect(&flow.answer(path, flag::ACK), Verdict::Reply);
        }
    }
}
