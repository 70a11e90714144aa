use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Reason;

/// How far a request has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

const NOTHING_SENT: u8 = 0;
const PARTLY_SENT: u8 = 1;
const SENT: u8 = 2;

impl Progress {
    /// What it means that the connection broke now.
    pub(super) fn broken(&self) -> Reason {
        match self.0.load(Ordering::Relaxed) {
            NOTHING_SENT => Reason::ConnectInterrupted,
            PARTLY_SENT => Reason::RequestFailed,
            _ => Reason::ResponseFailed,
        }
    }

    /// What it means that the time is over now.
    pub(super) fn late(&self) -> Reason {
        match self.0.load(Ordering::Relaxed) {
            NOTHING_SENT | PARTLY_SENT => Reason::RequestTimeout,
            _ => Reason::ResponseTimeout,
        }
    }
}

/// A connection that notes its [`Progress`], and reads nothing before the request is sent: a server that
/// talks or closes early is then judged the same way whether that arrives before the request leaves or after.
#[derive(Debug)]
pub(super) struct Sent<S> {
    stream: S,
    progress: Progress,
    reader: Option<Waker>,
}

impl<S> Sent<S> {
    pub(super) fn new(stream: S) -> (Self, Progress) {
        let progress = Progress::default();
        (Self { stream, progress: progress.clone(), reader: None }, progress)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.progress.0.load(Ordering::Relaxed) != SENT {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        if written > 0 {
            self.progress.0.store(PARTLY_SENT, Ordering::Relaxed);
        }
        Poll::Ready(Ok(written))
    }

    /// hyper flushes when it has written all it has, and a probe's request has no body.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.progress.0.load(Ordering::Relaxed) == PARTLY_SENT {
            self.progress.0.store(SENT, Ordering::Relaxed);
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
