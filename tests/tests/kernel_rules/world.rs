//! An agent over a loaded program, packets, and time.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nlb_agent::{
    config::XdpMode,
    datapath::{
        BackendId, Datapath as _, Image, Service, ServiceId,
        aya::{self as kernel, Options, Sizes},
    },
    health::Health,
};
use nlb_common::{event::Event, ticks::Ticks, verdict::Verdict};
use nlb_tests::packet::Frame;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{
    agent::{Agent, End},
    aging::Aging,
    datapath::Shared,
    program::{self, Answer},
    shop::{self, Shop},
};

const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "nlb-rules-";

/// What tables and hashes are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Sizes of the tables.
    pub(crate) sizes: Sizes,
    /// The same one in every run, unless a test says otherwise; `None`: any.
    pub(crate) hash_seed: Option<u64>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            sizes: Sizes { flows: 1 << 14, persistence: 1 << 12, ..Sizes::default() },
            hash_seed: Some(0x6e6c_6273),
        }
    }
}

/// Everything.
pub(crate) struct World {
    runtime: Runtime,
    /// `None` only at the end, or while it is restarted.
    agent: Option<Agent>,
    /// As above.
    datapath: Option<Shared>,
    aging: Aging,
    ahead: Arc<AtomicU64>,
    /// When it began, how much time has passed since, and how much of that was skipped.
    began: Instant,
    simulated: Duration,
    skipped: Duration,
    state_dir: TempDir,
    options: Options,
}

impl World {
    /// An agent that knows nothing yet.
    pub(crate) fn new(setup: Setup) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "the kernel tier loads BPF programs: run it as root");
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let options = Options {
            bpffs: Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", process::id())),
            interfaces: Vec::new(),
            xdp_mode: XdpMode::Auto,
            log_drops: false,
            sizes: setup.sizes,
            hash_seed: setup.hash_seed,
        };
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (ahead, state_dir) = (Arc::default(), tempfile::tempdir().unwrap());
        let datapath = Shared::load(&options);
        let agent = Agent::start(&runtime, state_dir.path(), datapath.clone(), Arc::clone(&ahead));
        let aging = Aging::of(&options.bpffs.join("maps"));
        let (agent, datapath) = (Some(agent), Some(datapath));
        let (simulated, skipped) = (Duration::ZERO, Duration::ZERO);
        Self {
            runtime,
            agent,
            datapath,
            aging,
            ahead,
            began: Instant::now(),
            simulated,
            skipped,
            state_dir,
            options,
        }
    }

    /// An agent with a shop.
    pub(crate) fn with(shop: &Shop) -> Self {
        let mut world = Self::new(Setup::default());
        world.apply(shop);
        world
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("it runs")
    }

    /// The datapath.
    pub(crate) fn datapath(&self) -> &Shared {
        self.datapath.as_ref().expect("it is loaded")
    }

    /// What the maps hold.
    pub(crate) fn image(&self) -> Image {
        self.datapath().image().unwrap()
    }

    /// The service over TCP, and its number.
    pub(crate) fn service(&self) -> (ServiceId, Service) {
        let mut image = self.image();
        let tcp = image.listeners.values().find(|listener| listener.port == shop::TCP_PORT).unwrap();
        let id = tcp.service;
        (id, image.services.remove(&id).unwrap())
    }

    /// Changes the desired state; the maps follow at once.
    pub(crate) fn apply(&mut self, shop: &Shop) {
        self.agent().apply(&self.runtime, &shop.yaml());
    }

    /// As [`apply`](Self::apply), any manifests.
    pub(crate) fn apply_yaml(&mut self, yaml: &str) {
        self.agent().apply(&self.runtime, yaml);
    }

    /// Says what a probe finds of a server, in all services.
    pub(crate) fn flip(&mut self, server: usize, health: Health) {
        self.agent().flip(&shop::name(server), health);
        self.settle();
    }

    /// Lets the agent do what it has to.
    fn settle(&self) {
        // Paused time goes on only when nobody has anything to do.
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }

    /// Lets time pass, with one sweep at the end of it. What really has passed since the last time is part of it, so that
    /// a slow machine sees the same.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.simulated += time;
        let skip = self.simulated.saturating_sub(self.began.elapsed()).saturating_sub(self.skipped);
        let ticks = (skip.as_nanos() >> 20) as u32;
        let skip = Ticks(ticks).to_duration();
        self.skipped += skip;
        self.aging.age(ticks);
        self.ahead.store(self.skipped.as_millis() as u64, Ordering::Relaxed);
        self.runtime.block_on(async { tokio::time::advance(time.max(Duration::from_secs(1))).await });
        self.settle();
    }

    /// How much time has passed since the beginning, simulated or real.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed() + self.skipped
    }

    /// Lets seconds pass, with a sweep in each.
    pub(crate) fn seconds(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.pass(Duration::from_secs(1)));
    }

    /// Ends the agent and the program it loaded; then new ones take over what is pinned.
    pub(crate) fn restart(&mut self, how: End) {
        self.agent.take().expect("it runs").end(&self.runtime, how);
        self.datapath = None;
        let datapath = Shared::load(&self.options);
        self.datapath = Some(datapath.clone());
        let ahead = Arc::clone(&self.ahead);
        self.agent = Some(Agent::start(&self.runtime, self.state_dir.path(), datapath, ahead));
        self.settle();
    }

    /// From now on there is only the datapath.
    pub(crate) fn kill_agent(&mut self) {
        self.agent.take().expect("it runs").end(&self.runtime, End::Killed);
    }

    /// A frame through the program, as it was left; `None`: it was dropped.
    pub(crate) fn run(&self, frame: &Frame) -> Option<Vec<u8>> {
        program::run(self.datapath().lock().program().unwrap(), frame)
    }

    /// What becomes of a client's packet.
    pub(crate) fn send(&self, frame: &Frame) -> Answer {
        program::send(self.datapath().lock().program().unwrap(), frame)
    }

    /// How often an event happened.
    pub(crate) fn event(&self, event: Event) -> u64 {
        self.datapath().events().unwrap()[event as usize]
    }

    /// How many packets met a verdict.
    pub(crate) fn verdict(&self, verdict: Verdict) -> u64 {
        self.datapath().verdicts().unwrap()[verdict as usize]
    }

    /// The backend of a server for the service over TCP.
    pub(crate) fn backend(&self, server: usize) -> Option<BackendId> {
        let backends = self.image().backends;
        let mut found = backends.iter().filter(|(_, backend)| {
            backend.address.port() == shop::TCP_PORT && shop::server_at(backend.address.ip()) == Some(server)
        });
        found.next().map(|(id, _)| *id)
    }

    /// The active connections of servers 0, 1, ... over TCP; what is counted is what the tables hold.
    pub(crate) fn active(&self, servers: usize) -> Vec<u64> {
        let image = self.image();
        let recount = self.datapath().lock().sweep().unwrap().backends;
        let ids: Vec<BackendId> = image.backends.keys().copied().collect();
        let traffic = self.datapath().traffic(&ids).unwrap();
        let mut active = vec![0; servers];
        for (id, backend) in &image.backends {
            let counted = traffic[id].active;
            assert_eq!(counted, recount.get(id).map_or(0, |flows| flows.active), "backend {id}");
            if backend.address.port() == shop::TCP_PORT {
                active[shop::server_at(backend.address.ip()).unwrap()] += counted;
            }
        }
        active
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.end(&self.runtime, End::Killed);
        }
        self.datapath = None;
        let path: &PathBuf = &self.options.bpffs;
        if let Err(error) = kernel::detach(path) {
            eprintln!("{} stays behind: {error}", path.display());
        }
    }
}

/// Removes what killed runs left behind.
fn remove_leftovers() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            // Another test may be quicker.
            let _ = kernel::detach(&entry.path());
        }
    }
}
