//! A server that does what a test tells it, connection by connection.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{wait, world::Namespace};

/// Listens for both families.
#[derive(Debug)]
pub struct Puppet {
    listener: TcpListener,
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    stream: TcpStream,
}

impl Puppet {
    /// Listens on `port` in a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the port is in use.
    pub fn listen(namespace: &Namespace, port: u16) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        let listener =
            listener.with_context(|| format!("cannot listen on port {port} in {}", namespace.name()))?;
        listener.set_nonblocking(true).context("cannot make a listener non-blocking")?;
        Ok(Self { listener })
    }

    /// The next connection.
    ///
    /// # Errors
    /// None comes within `patience`.
    pub fn accept(&self, patience: Duration) -> Result<End> {
        let stream =
            wait::until("a connection", patience, || self.listener.accept().ok().map(|(stream, _)| stream))?;
        End::new(stream)
    }
}

impl End {
    /// Of a connection that is established.
    ///
    /// # Errors
    /// The socket does not take an option.
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true).context("cannot make a socket send at once")?;
        stream.set_nonblocking(true).context("cannot make a socket non-blocking")?;
        Ok(Self { stream })
    }

    /// Says something.
    ///
    /// # Errors
    /// The connection is known to have ended.
    pub fn say(&mut self, word: &[u8]) -> io::Result<()> {
        self.stream.write_all(word)
    }

    /// Waits for something to be said.
    ///
    /// # Errors
    /// It is not said within `patience`, or something else is, or the connection ends.
    pub fn hear(&mut self, word: &[u8], patience: Duration) -> Result<()> {
        let mut heard = Vec::new();
        wait::until(&format!("{word:?}"), patience, || match self.read() {
            Ok(bytes) => {
                heard.extend(bytes);
                (heard.len() >= word.len()).then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        })??;
        anyhow::ensure!(heard == word, "heard {heard:?} instead of {word:?}");
        Ok(())
    }

    /// How the connection has ended, once it has; says and reads nothing before.
    pub fn ended(&mut self) -> Option<ErrorKind> {
        self.read().err().map(|error| error.kind())
    }

    /// What has been said; nothing is no error.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 64];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(buffer[..length].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
