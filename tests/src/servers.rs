//! Real servers: an nginx in each server namespace of a world.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    wait,
    world::{Namespace, Process, World},
};

/// The port all servers listen on.
pub const PORT: u16 = 8080;

/// The size of `/big` in bytes.
pub const BIG: usize = 64 << 20;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of a world's server, which is what it answers to `GET /`; `index` starts at 0.
///
/// # Panics
/// There are only eight names.
pub fn name(index: usize) -> &'static str {
    NAMES[index]
}

/// The web servers of a world. They answer
///
/// * `/`: the server's name,
/// * `/healthz`: 200,
/// * `/client`: the client's address, as the server sees it,
/// * `/big`: [`BIG`] bytes, the same on every server and equal to the file [`Servers::content`],
/// * `/slow?rate=N`: the same, at N bytes a second,
///
/// all with their name in the header `X-Server`. Who asked for `/client` or `/big` they [note](Servers::visitors).
#[derive(Debug)]
pub struct Servers<'w> {
    world: &'w World,
    processes: Vec<Option<Process>>,
}

impl<'w> Servers<'w> {
    /// Starts a server in each server namespace and waits until all answer.
    ///
    /// # Errors
    /// nginx is missing or does not come up.
    pub fn start(world: &'w World) -> Result<Self> {
        let mut servers = Self { world, processes: Vec::new() };
        let content = servers.content();
        fs::write(&content, noise(BIG)).with_context(|| format!("cannot write {}", content.display()))?;
        for index in 0..world.servers.len() {
            servers.processes.push(None);
            servers.restart(index)?;
        }
        Ok(servers)
    }

    /// The file behind `/big` and `/slow`.
    pub fn content(&self) -> PathBuf {
        self.world.dir().join("big")
    }

    /// The addresses that a server has seen asking for a path, one for each time, according to its access log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn visitors(&self, index: usize, path: &str) -> Result<Vec<String>> {
        let file = self.directory(index).join("access.log");
        let log = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let visitor = |line: &str| {
            let (address, asked) = line.split_once(' ')?;
            (asked == path).then(|| address.to_owned())
        };
        Ok(log.lines().filter_map(visitor).collect())
    }

    fn directory(&self, index: usize) -> PathBuf {
        self.world.dir().join(format!("nginx-{}", name(index)))
    }

    /// Ends a server as a crash would: its connections are reset, new ones refused.
    ///
    /// # Errors
    /// It still takes connections after a while.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        self.processes[index] = None;
        // Its workers are not our children: they end when they end.
        let namespace = &self.world.servers[index];
        wait::until(&format!("nginx {} to be gone", name(index)), PATIENCE, || {
            (!listens(namespace)).then_some(())
        })
    }

    /// Starts a server, again if it has run before, and waits until it answers.
    ///
    /// # Errors
    /// As [`Servers::start`].
    pub fn restart(&mut self, index: usize) -> Result<()> {
        let name = name(index);
        let dir = self.directory(index);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let file = dir.join("nginx.conf");
        fs::write(&file, configuration(name, &self.content()))
            .with_context(|| format!("cannot write {}", file.display()))?;

        let namespace = &self.world.servers[index];
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&dir).arg("-c").arg(&file).args(["-e", "stderr"]);
        let mut process = namespace.spawn(&mut command, &dir.join("nginx.log"))?;
        wait::until(&format!("nginx {name} to listen"), PATIENCE, || {
            (process.ended().is_some() || listens(namespace)).then_some(())
        })?;
        if let Some(status) = process.ended() {
            anyhow::bail!("nginx {name} ended at once: {status}: {}", process.log_tail());
        }
        self.processes[index] = Some(process);
        Ok(())
    }
}

fn listens(namespace: &Namespace) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    namespace.run(|| TcpStream::connect(address).is_ok()).unwrap_or(false)
}

/// A connection lives as long as its client wants: whatever ends one in a test is not nginx.
fn configuration(name: &str, content: &Path) -> String {
    format!(
        r#"daemon off;
user root;
pid nginx.pid;
worker_processes 1;
error_log stderr warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    log_format visitor '$remote_addr $uri';
    default_type text/plain;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    keepalive_time 10h;
    send_timeout 3600s;
    server {{
        add_header X-Server {name};
        listen {PORT} backlog=4096;
        listen [::]:{PORT} backlog=4096;
        location = / {{ return 200 "{name}"; }}
        location = /healthz {{ return 200 "ok"; }}
        location = /client {{ access_log access.log visitor; return 200 "$remote_addr"; }}
        location = /big {{ access_log access.log visitor; alias {content}; }}
        location = /slow {{ alias {content}; limit_rate $arg_rate; }}
    }}
}}
"#,
        content = content.display(),
    )
}

/// Bytes without a pattern that a lost, doubled or exchanged packet could hide in (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
