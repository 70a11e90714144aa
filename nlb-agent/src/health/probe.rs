use std::{io, net::SocketAddr};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Reason, http, tcp};
use crate::model::{HealthCheck, HealthProtocol};

/// Why a probe brought no success.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server's fault, or the network's: counts against its health.
    #[error("{0}")]
    Server(Reason),
    /// This host could not probe at all, e.g. for want of file descriptors: says nothing about the server.
    /// Without this distinction a shortage here would take every server out at once.
    #[error("this host cannot probe: {0}")]
    Host(#[source] io::Error),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Server(reason)
    }
}

/// Probes a server once; done, one way or the other, within the check's timeout.
///
/// # Errors
/// The first thing that went wrong.
pub async fn probe(server: SocketAddr, check: &HealthCheck) -> Result<(), Failure> {
    let deadline = Instant::now() + check.timeout.as_duration();
    let connection = connect(server, deadline).await?;
    match check.protocol {
        HealthProtocol::Tcp => tcp::close(connection).await.map_err(Failure::from),
        HealthProtocol::Http => {
            http::exchange(connection, server, check, deadline).await.map_err(Failure::from)
        }
    }
}

async fn connect(server: SocketAddr, deadline: Instant) -> Result<TcpStream, Failure> {
    match timeout_at(deadline, TcpStream::connect(server)).await {
        Err(_elapsed) => Err(Reason::ConnectTimeout.into()),
        Ok(Err(error)) if is_shortage(&error) => Err(Failure::Host(error)),
        Ok(Err(error)) => Err(connect_reason(&error).into()),
        Ok(Ok(connection)) => Ok(connection),
    }
}

fn connect_reason(error: &io::Error) -> Reason {
    match error.kind() {
        // The handshake was over before the error was fetched, or there would have been a "refused".
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Reason::ConnectInterrupted
        }
        io::ErrorKind::TimedOut => Reason::ConnectTimeout,
        _ => Reason::ConnectFailed,
    }
}

/// Whether this host lacks what a socket needs: descriptors, memory, local ports.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connect_error_has_its_reason() {
        for (errno, expected) in [
            (libc::ECONNREFUSED, Some(Reason::ConnectFailed)),
            (libc::ENETUNREACH, Some(Reason::ConnectFailed)),
            (libc::EHOSTUNREACH, Some(Reason::ConnectFailed)),
            (libc::ETIMEDOUT, Some(Reason::ConnectTimeout)),
            (libc::ECONNRESET, Some(Reason::ConnectInterrupted)),
            (libc::ECONNABORTED, Some(Reason::ConnectInterrupted)),
            (libc::EMFILE, None),
            (libc::EADDRNOTAVAIL, None),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            let reason = (!is_shortage(&error)).then(|| connect_reason(&error));
            assert_eq!(reason, expected, "{error}");
        }
    }
}
