use std::{
    error::{self, Error as _},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{Code, Status};

/// Why a command was not carried out: what happened, to what, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no agent answers at {} ({}): start nlb-agent, or name its socket with --socket", socket.display(), brief(source))]
    NoAgent { socket: PathBuf, source: io::Error },

    #[error(
        "the agent's socket {} may not be opened (permission denied): run as root or as a member of the socket's group",
        socket.display()
    )]
    NotAllowed { socket: PathBuf, source: io::Error },

    #[error("the agent at {} gave no answer within {seconds} s: see its log; the request may yet be carried out", socket.display())]
    Silent { socket: PathBuf, seconds: u64 },

    #[error(
        "the connection to the agent at {} broke ({cause}): see whether nlb-agent runs, then look with `get` what was done",
        socket.display()
    )]
    Broken { socket: PathBuf, cause: String },

    /// The agent's own words, which name the object and the remedy.
    #[error("{0}")]
    Refused(String),

    #[error("cannot read {file} ({}): name a readable file with -f, or - for standard input", brief(source))]
    Read { file: String, source: io::Error },

    #[error("{files} holds no resource: write at least one document with `kind` and `name`")]
    NothingToApply { files: String },

    #[error("cannot write the output ({})", brief(.0))]
    Write(#[from] io::Error),

    #[error("cannot start ({})", brief(.0))]
    Runtime(#[source] io::Error),

    #[error("cannot write the answer as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),

    #[error("cannot write the answer as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// What a status says that the agent sent, or that stands for a transport that failed.
    pub(super) fn from_status(status: &Status, socket: &Path, patience: Duration) -> Self {
        if status.source().is_none() {
            return Self::Refused(match status.message() {
                "" => format!("the agent answered {:?}: {}", status.code(), status.code()),
                message => message.to_owned(),
            });
        }
        if let Some(error) = io_source(status) {
            return Self::from_connect(error, socket);
        }
        match status.code() {
            Code::Cancelled | Code::DeadlineExceeded => {
                Self::Silent { socket: socket.to_owned(), seconds: patience.as_secs() }
            }
            _ => Self::Broken { socket: socket.to_owned(), cause: innermost(status) },
        }
    }

    fn from_connect(error: &io::Error, socket: &Path) -> Self {
        let (socket, source) = (socket.to_owned(), io::Error::new(error.kind(), brief(error)));
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotAllowed { socket, source },
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof => Self::Broken { socket, cause: brief(error) },
            _ => Self::NoAgent { socket, source },
        }
    }
}

/// The operating system's words without its number: "connection refused".
fn brief(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The error, its source, the source of that, and so on.
fn sources(status: &Status) -> impl Iterator<Item = &(dyn error::Error + 'static)> {
    std::iter::successors(Some(status as &dyn error::Error), |error| (*error).source())
}

fn io_source(status: &Status) -> Option<&io::Error> {
    sources(status).find_map(|error| error.downcast_ref())
}

fn innermost(status: &Status) -> String {
    sources(status).last().map_or_else(String::new, ToString::to_string)
}
