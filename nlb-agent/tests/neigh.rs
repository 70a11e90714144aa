//! Next hops from a real kernel, in network namespaces of their own. Needs root.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::{IpAddr, UdpSocket},
    process::Command,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Uid, gettid},
};
use nlb_agent::neigh::{self, Interface, NextHop, Resolution, View};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// A network namespace: a thread in it that works through jobs. It vanishes with the thread.
struct Namespace {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    thread_id: i32,
}

impl Namespace {
    fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (ready, entered) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            ready.send(gettid().as_raw()).expect("somebody waits");
            queue.into_iter().for_each(|job| job());
        });
        Self { jobs, thread_id: entered.recv().expect("the thread is in its namespace") }
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.send(job).expect("the thread lives");
        result.recv().expect("the job did not panic")
    }

    fn ip(&self, arguments: &'static str) {
        self.run(move || ip(arguments));
    }
}

/// Runs `ip` in the calling thread's namespace.
fn ip(arguments: &str) {
    assert!(try_ip(arguments), "ip {arguments}");
}

fn try_ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split_whitespace()).status().expect("iproute2 is installed").success()
}

/// Says so past the test harness, which swallows what passing tests print.
fn skip(what: &str, why: &str) {
    writeln!(io::stderr(), "SKIPPED {what}: {why}").expect("stderr");
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

struct Watcher(watch::Receiver<Arc<View>>);

impl Watcher {
    async fn until(&mut self, what: &str, condition: impl Fn(&View) -> bool) -> Arc<View> {
        let seen = self.0.wait_for(|view| condition(view));
        if let Ok(view) = timeout(Duration::from_secs(15), seen).await {
            return Arc::clone(&view.expect("the task runs"));
        }
        panic!("{what}: not within 15 s, but {:#?}", self.0.borrow());
    }

    /// Waits for the next hop of `server` to have this MAC address.
    async fn until_mac(&mut self, server: &str, mac: [u8; 6]) -> Resolution {
        let server = address(server);
        let has = |view: &View| next_hop(view, server).is_some_and(|next_hop| next_hop.mac == mac);
        self.until(&format!("{server} at {mac:02x?}"), has).await.resolutions[&server]
    }
}

fn next_hop(view: &View, server: IpAddr) -> Option<NextHop> {
    view.resolutions.get(&server).and_then(|resolution| resolution.next_hop)
}

fn index(interface: &str) -> u32 {
    nix::net::if_::if_nametoindex(interface).expect("the device is there")
}

const BALANCER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MOVED: [u8; 6] = [2, 0, 0, 0, 0, 3];

#[test]
fn next_hops_follow_the_kernel() {
    if !Uid::effective().is_root() {
        return skip("next_hops_follow_the_kernel", "network namespaces need root");
    }
    let (balancer, server) = (Namespace::new(), Namespace::new());
    let server_thread = server.thread_id;
    balancer.run(move || {
        ip("link set lo up");
        ip(&format!(
            "link add veth0 address 02:00:00:00:00:01 type veth peer name veth1 netns {server_thread}"
        ));
        ip("address add 10.0.0.1/24 dev veth0");
        ip("address add 2001:db8::1/64 dev veth0 nodad");
        ip("link set veth0 up");
        ip("route add 192.0.2.0/24 via 10.0.0.2 dev veth0 onlink");
    });
    server.ip("link set veth1 address 02:00:00:00:00:02");
    server.ip("address add 10.0.0.2/24 dev veth1");
    server.ip("address add 2001:db8::2/64 dev veth1 nodad");
    server.ip("link set veth1 up");

    balancer.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(follow(server));
    });
}

async fn follow(server: Namespace) {
    let known = ["10.0.0.2", "2001:db8::2", "192.0.2.9"];
    let (silent, own, nowhere) = (address("10.0.0.77"), address("10.0.0.1"), address("198.51.100.1"));
    let servers: BTreeSet<_> = known.map(address).into_iter().chain([silent, own, nowhere]).collect();
    let (servers_out, servers) = watch::channel(Arc::new(servers));
    let (view_out, view) = watch::channel(Arc::new(View::default()));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(neigh::run([index("veth0"), 9999].into(), servers, view_out, shutdown.clone()));
    let mut watcher = Watcher(view);

    // On the link and through a gateway, without a packet from anybody else.
    let expected = [("10.0.0.1", false), ("2001:db8::1", false), ("10.0.0.1", true)];
    for (known, (source, routed)) in known.into_iter().zip(expected) {
        let resolution = watcher.until_mac(known, SERVER).await;
        let next_hop = NextHop { interface: index("veth0"), vlan: None, source_mac: BALANCER, mac: SERVER };
        let expected = Resolution {
            next_hop: Some(next_hop),
            source: Some(address(source)),
            local: false,
            routed,
            mtu: Some(1500),
        };
        assert_eq!(resolution, expected, "{known}");
    }
    let view = Arc::clone(&watcher.0.borrow());
    assert_eq!(
        view.resolutions[&silent],
        Resolution { source: Some(own), mtu: Some(1500), ..Resolution::default() }
    );
    assert_eq!(
        view.resolutions[&own],
        Resolution { source: Some(own), local: true, mtu: Some(u16::MAX), ..Resolution::default() }
    );
    assert_eq!(view.resolutions[&nowhere], Resolution::default());
    // A device that is not there is left out.
    let veth0 = Interface { mac: BALANCER, vlans: BTreeSet::new() };
    assert_eq!(view.interfaces, [(index("veth0"), veth0)].into());
    for host in ["127.0.0.1", "10.0.0.1", "2001:db8::1"] {
        assert!(view.host_addresses.contains(&address(host)), "{host} in {:?}", view.host_addresses);
    }

    // A late server is found by asking again.
    server.ip("address add 10.0.0.77/24 dev veth1");
    watcher.until_mac("10.0.0.77", SERVER).await;

    // The server's MAC address changes; it speaks, as servers do.
    server.ip("link set veth1 address 02:00:00:00:00:03");
    for (server_address, balancer_address) in [("10.0.0.2", "10.0.0.1:9"), ("2001:db8::2", "[2001:db8::1]:9")]
    {
        let deadline = Instant::now() + Duration::from_secs(15);
        let moved = |view: &Arc<View>| {
            next_hop(view, address(server_address)).is_some_and(|next_hop| next_hop.mac == MOVED)
        };
        loop {
            server.run(move || {
                let socket = UdpSocket::bind((address(server_address), 0)).expect("a socket");
                let _ = socket.send_to(b"hello", balancer_address);
            });
            match timeout(Duration::from_millis(200), watcher.0.wait_for(moved)).await {
                Ok(view) => break drop(view.expect("the task runs")),
                Err(_elapsed) => assert!(Instant::now() < deadline, "{server_address} did not move"),
            }
        }
    }

    // A route changes: its gateway is unknown first.
    ip("route replace 192.0.2.0/24 via 10.0.0.4 dev veth0");
    watcher.until("an unknown gateway", |view| next_hop(view, address("192.0.2.9")).is_none()).await;
    server.ip("address add 10.0.0.4/24 dev veth1");
    watcher.until_mac("192.0.2.9", MOVED).await;

    ip("address add 10.0.0.50/32 dev lo");
    watcher.until("a new address", |view| view.host_addresses.contains(&address("10.0.0.50"))).await;

    vlan(&server, &servers_out, &mut watcher).await;

    servers_out.send_replace(Arc::default());
    watcher.until("nothing asked for", |view| view.resolutions.is_empty()).await;
    shutdown.cancel();
    task.await.expect("no panic").expect("no error");
}

async fn vlan(server: &Namespace, servers: &watch::Sender<Arc<BTreeSet<IpAddr>>>, watcher: &mut Watcher) {
    if !try_ip("link add link veth0 name vlan7 type vlan id 7") {
        return skip("the VLAN part of next_hops_follow_the_kernel", "the kernel has no VLAN devices");
    }
    ip("address add 10.7.0.1/24 dev vlan7");
    ip("link set vlan7 up");
    server.ip("link add link veth1 name vlan7 type vlan id 7");
    server.ip("address add 10.7.0.2/24 dev vlan7");
    server.ip("link set vlan7 up");
    servers.send_replace(Arc::new([address("10.7.0.2")].into()));
    let resolution = watcher.until_mac("10.7.0.2", MOVED).await;
    let next_hop = NextHop { interface: index("veth0"), vlan: Some(7), source_mac: BALANCER, mac: MOVED };
    assert_eq!(resolution.next_hop, Some(next_hop));
    let vlans = &watcher.0.borrow().interfaces[&index("veth0")].vlans;
    assert_eq!(*vlans, [7].into());
}
