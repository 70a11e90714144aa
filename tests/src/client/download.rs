//! A download by curl.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    wait,
    world::{Process, World},
};

const SERVER_HEADER: &str = "X-Server:";

/// A download that goes on in the background.
#[derive(Debug)]
pub struct Download {
    process: Process,
    file: PathBuf,
    headers: PathBuf,
}

impl Download {
    /// Starts to download `path` from `target` in the client's namespace; `name` names its files.
    ///
    /// # Errors
    /// curl is missing.
    pub fn start(world: &World, name: &str, target: SocketAddr, path: &str) -> Result<Self> {
        Self::begin(world, name, None, target, path)
    }

    /// As [`Download::start`], from one of the client's addresses.
    ///
    /// # Errors
    /// As [`Download::start`].
    pub fn start_from(
        world: &World,
        name: &str,
        source: IpAddr,
        target: SocketAddr,
        path: &str,
    ) -> Result<Self> {
        Self::begin(world, name, Some(source), target, path)
    }

    fn begin(
        world: &World,
        name: &str,
        source: Option<IpAddr>,
        target: SocketAddr,
        path: &str,
    ) -> Result<Self> {
        let file = world.dir().join(format!("{name}.download"));
        let headers = world.dir().join(format!("{name}.headers"));
        let mut curl = Command::new("curl");
        // One connection from beginning to end: nothing is tried twice.
        curl.args(["--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*"]);
        if let Some(source) = source {
            curl.args(["--interface", &source.to_string()]);
        }
        curl.arg("--dump-header")
            .arg(&headers)
            .arg("--output")
            .arg(&file)
            .arg(format!("http://{target}{path}"));
        let process = world.client.spawn(&mut curl, &world.dir().join(format!("{name}.curl.log")))?;
        Ok(Self { process, file, headers })
    }

    /// How many bytes have arrived.
    pub fn received(&self) -> u64 {
        fs::metadata(&self.file).map_or(0, |metadata| metadata.len())
    }

    /// The name of the server it comes from, as the server says, once that has arrived.
    pub fn server(&self) -> Option<String> {
        let headers = fs::read_to_string(&self.headers).ok()?;
        headers.lines().find_map(|line| line.strip_prefix(SERVER_HEADER)).map(|name| name.trim().to_owned())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits until it has ended, and compares what arrived with the file `original`.
    ///
    /// # Errors
    /// It has not ended within `patience`, it failed, or a byte differs.
    pub fn matches(&mut self, original: &Path, patience: Duration) -> Result<()> {
        let status = wait::until("the download to end", patience, || self.process.ended())?;
        ensure!(status.success(), "the download failed: {status}: {}", self.process.log_tail());
        let read = |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        let (received, original) = (read(&self.file)?, read(original)?);
        ensure!(received.len() == original.len(), "{} of {} bytes arrived", received.len(), original.len());
        let differs = received.iter().zip(&original).position(|(received, sent)| received != sent);
        ensure!(differs.is_none(), "byte {} of the download differs", differs.unwrap_or_default());
        Ok(())
    }
}
