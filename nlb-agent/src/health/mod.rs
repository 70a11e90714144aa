//! Health checks: what probes say about servers.
//!
//! [`machine`] turns probe results into changes of health (pure), [`probe`] performs one probe (I/O),
//! [`task`] drives both for all servers.

mod http;
mod machine;
mod probe;
mod sent;
mod task;
mod tcp;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    machine::{Machine, Thresholds},
    probe::{Failure, probe},
    task::{Flip, Targets, run},
};

/// What is known about a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// The service checks nothing.
    Unchecked,
    /// Not enough probes yet; treated as healthy.
    Unknown,
    /// The last `healthy_threshold` probes succeeded, and not enough failed since.
    Healthy,
    /// The last `unhealthy_threshold` probes failed, and not enough succeeded since.
    Unhealthy(Reason),
}

impl Health {
    /// Whether the server may get new connections.
    pub fn is_usable(self) -> bool {
        match self {
            Self::Unchecked | Self::Unknown | Self::Healthy => true,
            Self::Unhealthy(_) => false,
        }
    }

    /// The reason of an unhealthy server.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Unhealthy(reason) => Some(reason),
            Self::Unchecked | Self::Unknown | Self::Healthy => None,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "n/a",
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy(_) => "unhealthy",
        })
    }
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The connection was refused or no route leads there.
    ConnectFailed,
    /// The handshake took longer than the timeout.
    ConnectTimeout,
    /// The connection broke right after it was established, before the request was sent.
    ConnectInterrupted,
    /// The request could not be written.
    RequestFailed,
    /// Writing the request took longer than the timeout.
    RequestTimeout,
    /// The connection broke before the response was complete.
    ResponseFailed,
    /// The response took longer than the timeout.
    ResponseTimeout,
    /// The response has a status code that is not expected.
    CodeMismatch,
    /// The response is no HTTP.
    FormatError,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectFailed => "CONNECT_FAILED",
            Self::ConnectTimeout => "CONNECT_TIMEOUT",
            Self::ConnectInterrupted => "CONNECT_INTERRUPTED",
            Self::RequestFailed => "REQUEST_FAILED",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::ResponseFailed => "RESPONSE_FAILED",
            Self::ResponseTimeout => "RESPONSE_TIMEOUT",
            Self::CodeMismatch => "CODE_MISMATCH",
            Self::FormatError => "FORMAT_ERROR",
        })
    }
}
