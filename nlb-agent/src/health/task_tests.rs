//! The schedule, on tokio's paused clock and without sockets.

use std::sync::Mutex;

use super::*;
use crate::health::Reason;

fn key(server: usize) -> BackendKey {
    serde_json::from_value(serde_json::json!({
        "service": "web", "group": "servers", "server": format!("s{server}"),
        "address": format!("10.1.{}.{}", server / 250, server % 250 + 1), "port": 8080,
    }))
    .expect("a valid key")
}

fn check(fields: &str) -> Arc<HealthCheck> {
    let yaml = format!("{{healthy_threshold: 1, unhealthy_threshold: 2, {fields}}}");
    Arc::new(serde_yaml::from_str(&yaml).expect("a valid check"))
}

/// What the servers do, and what was asked of them.
#[derive(Debug, Default)]
struct World {
    /// Starts of probes.
    probes: Vec<(SocketAddr, Instant)>,
    running: BTreeMap<SocketAddr, usize>,
    /// What a probe says; absent: success.
    failing: BTreeMap<SocketAddr, Reason>,
    /// No probe can be made.
    short: bool,
    /// How long a probe takes.
    takes: Duration,
}

struct Bench {
    world: Arc<Mutex<World>>,
    targets: watch::Sender<Arc<Targets>>,
    flips: mpsc::Receiver<Flip>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    fn start(targets: Targets, seed: BTreeMap<BackendKey, Health>) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let (targets, targets_seen) = watch::channel(Arc::new(targets));
        let (flips_out, flips) = mpsc::channel(16);
        let shutdown = CancellationToken::new();
        let shared = Arc::clone(&world);
        let probe = move |server, _check: Arc<HealthCheck>| probe(Arc::clone(&shared), server);
        let task = tokio::spawn(run(probe, seed, targets_seen, flips_out, shutdown.clone()));
        Self { world, targets, flips, shutdown, task }
    }

    fn set(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    /// The starts of the probes of `server` since `from`.
    fn starts(&self, server: &BackendKey, from: Instant) -> Vec<Duration> {
        let world = self.world.lock().unwrap();
        let of_server =
            world.probes.iter().filter(|(probed, at)| *probed == server.socket_addr() && *at >= from);
        of_server.map(|(_, at)| *at - from).collect()
    }

    async fn next_flip(&mut self) -> (BackendKey, Health) {
        let flip = self.flips.recv().await.expect("the task runs");
        (flip.key, flip.health)
    }
}

async fn probe(world: Arc<Mutex<World>>, server: SocketAddr) -> Result<(), Failure> {
    struct Running(Arc<Mutex<World>>, SocketAddr);
    impl Drop for Running {
        fn drop(&mut self) {
            *self.0.lock().unwrap().running.get_mut(&self.1).unwrap() -= 1;
        }
    }

    let takes = {
        let mut world = world.lock().unwrap();
        world.probes.push((server, Instant::now()));
        let running = world.running.entry(server).or_default();
        *running += 1;
        assert_eq!(*running, 1, "probes of one server never overlap");
        world.takes
    };
    let running = Running(Arc::clone(&world), server);
    tokio::time::sleep(takes).await;
    drop(running);
    let world = world.lock().unwrap();
    if world.short {
        return Err(Failure::Host(std::io::Error::from_raw_os_error(libc::EMFILE)));
    }
    world.failing.get(&server).map_or(Ok(()), |reason| Err(Failure::Server(*reason)))
}

fn targets(keys: &[BackendKey], check: &Arc<HealthCheck>) -> Targets {
    keys.iter().map(|key| (key.clone(), Arc::clone(check))).collect()
}

const DOWN: Health = Health::Unhealthy(Reason::ConnectFailed);

#[tokio::test(start_paused = true)]
async fn flips_are_reported_once_and_recovery_too() {
    let key = key(1);
    let mut bench =
        Bench::start(targets(std::slice::from_ref(&key), &check("interval: 1s")), BTreeMap::new());
    assert_eq!(bench.next_flip().await, (key.clone(), Health::Healthy));
    let failed_at = Instant::now();
    bench.set(|world| {
        world.failing.insert(key.socket_addr(), Reason::ConnectFailed);
    });
    assert_eq!(bench.next_flip().await, (key.clone(), DOWN));
    assert!(failed_at.elapsed() <= Duration::from_millis(2010), "{:?}", failed_at.elapsed());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(bench.flips.try_recv().is_err(), "no flip without a change");
    bench.set(|world| world.failing.clear());
    assert_eq!(bench.next_flip().await, (key, Health::Healthy));
}

#[tokio::test(start_paused = true)]
async fn probes_start_one_interval_apart() {
    // (interval, how long a probe takes, expected distance)
    for (interval, takes, expected) in
        [("1s", 0, 1000), ("1s", 900, 1000), ("1s", 2500, 2500), ("5s", 100, 5000)]
    {
        let key = key(1);
        let begin = Instant::now();
        let bench = Bench::start(
            targets(std::slice::from_ref(&key), &check(&format!("interval: {interval}, timeout: 10s"))),
            BTreeMap::new(),
        );
        bench.set(|world| world.takes = Duration::from_millis(takes));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let starts = bench.starts(&key, begin);
        assert!(starts.len() >= 11, "{starts:?}");
        for pair in starts.windows(2) {
            // The clock of tokio's timers ticks in milliseconds.
            let distance = (pair[1] - pair[0]).as_millis();
            assert!((expected..=expected + 3).contains(&distance), "{distance} ms, {interval} {takes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_targets_are_spread_over_the_interval() {
    let keys: Vec<_> = (0..10_000).map(key).collect();
    let begin = Instant::now();
    let mut bench = Bench::start(targets(&keys, &check("interval: 2s")), BTreeMap::new());
    let mut known = std::collections::BTreeSet::new();
    while known.len() < keys.len() {
        known.insert(bench.next_flip().await.0);
    }
    assert!(begin.elapsed() <= Duration::from_millis(2100), "{:?}", begin.elapsed());
    let world = bench.world.lock().unwrap();
    let mut tenths = [0_u32; 20];
    for (_, at) in &world.probes {
        let tenth = (*at - begin).as_millis() / 100;
        if let Some(count) = tenths.get_mut(usize::try_from(tenth).unwrap()) {
            *count += 1;
        }
    }
    assert!(tenths.iter().all(|count| (400..600).contains(count)), "{tenths:?}");
}

#[tokio::test(start_paused = true)]
async fn an_edited_check_keeps_the_health_and_a_removed_target_is_forgotten() {
    let key = key(1);
    let one = std::slice::from_ref(&key);
    let mut bench = Bench::start(targets(one, &check("interval: 1s")), BTreeMap::new());
    bench.set(|world| {
        world.failing.insert(key.socket_addr(), Reason::ConnectFailed);
    });
    assert_eq!(bench.next_flip().await, (key.clone(), DOWN));

    bench.targets.send_replace(Arc::new(targets(one, &check("interval: 2s"))));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(bench.flips.try_recv().is_err(), "it is known to be down");

    bench.targets.send_replace(Arc::default());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let removed = Instant::now();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.starts(&key, removed), [], "a removed target is not probed");

    bench.targets.send_replace(Arc::new(targets(one, &check("interval: 2s"))));
    assert_eq!(bench.next_flip().await, (key, DOWN), "it is found out anew");
}

#[tokio::test(start_paused = true)]
async fn a_target_removed_while_it_is_probed_reports_nothing() {
    let key = key(1);
    let mut bench =
        Bench::start(targets(std::slice::from_ref(&key), &check("interval: 1s")), BTreeMap::new());
    bench.set(|world| world.takes = Duration::from_secs(3));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.world.lock().unwrap().running.get(&key.socket_addr()), Some(&1));
    bench.targets.send_replace(Arc::default());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(bench.flips.try_recv().is_err());
    assert_eq!(
        bench.world.lock().unwrap().running.get(&key.socket_addr()),
        Some(&0),
        "the probe is cancelled"
    );
}

#[tokio::test(start_paused = true)]
async fn remembered_health_counts_as_known() {
    let (up, down) = (key(1), key(2));
    let seed = BTreeMap::from([(up.clone(), Health::Healthy), (down.clone(), DOWN)]);
    let mut bench = Bench::start(targets(&[up.clone(), down.clone()], &check("interval: 1s")), seed);
    bench.set(|world| {
        world.failing.insert(down.socket_addr(), Reason::ConnectFailed);
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(bench.flips.try_recv().is_err(), "nothing changed across the restart");
    bench.set(|world| world.failing.clear());
    assert_eq!(bench.next_flip().await, (down, Health::Healthy));
}

#[tokio::test(start_paused = true)]
async fn a_shortage_on_this_host_leaves_health_as_it_is() {
    let key = key(1);
    let mut bench =
        Bench::start(targets(std::slice::from_ref(&key), &check("interval: 1s")), BTreeMap::new());
    assert_eq!(bench.next_flip().await, (key.clone(), Health::Healthy));
    bench.set(|world| world.short = true);
    let short = Instant::now();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(bench.starts(&key, short).len() >= 9, "probing goes on");
    assert!(bench.flips.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_own_port_of_the_check_is_probed() {
    let key = key(1);
    let mut bench = Bench::start(targets(std::slice::from_ref(&key), &check("port: 9000")), BTreeMap::new());
    bench.next_flip().await;
    let world = bench.world.lock().unwrap();
    assert_eq!(world.probes[0].0, SocketAddr::new(key.address, 9000));
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_task_and_its_probes() {
    let key = key(1);
    let bench = Bench::start(targets(std::slice::from_ref(&key), &check("interval: 1s")), BTreeMap::new());
    bench.set(|world| world.takes = Duration::from_secs(1000));
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.shutdown.cancel();
    bench.task.await.expect("no panic");
    tokio::task::yield_now().await;
    assert_eq!(bench.world.lock().unwrap().running.get(&key.socket_addr()), Some(&0));
}
