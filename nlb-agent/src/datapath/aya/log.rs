//! The program's own log: what it says of the packets it drops.

use std::{io, os::fd::AsFd as _};

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Hands a record to `tracing`.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "nlb_agent::datapath::program", "{}", record.args());
    }

    fn flush(&self) {}
}

/// The log of the loaded program.
pub struct ProgramLog(EbpfLogger<ToTracing>);

impl ProgramLog {
    pub(super) fn take(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, ToTracing).ok().map(Self)
    }

    /// Passes records on until the agent ends.
    ///
    /// # Errors
    /// The ring buffer cannot be waited for.
    pub async fn run(mut self) -> io::Result<()> {
        let ring = self.0.as_fd().try_clone_to_owned()?;
        // SAFETY: an owned descriptor stays the same file for as long as the registration holds it.
        let fd = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        loop {
            let mut ready = fd.readable().await?;
            self.0.flush();
            ready.clear_ready();
        }
    }
}
