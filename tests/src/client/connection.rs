//! One HTTP connection.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a client waits for anything: longer than a lost SYN takes to be sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects, from the calling thread's namespace.
    ///
    /// # Errors
    /// Refused, reset, or no answer within 5 s.
    pub fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The body that the server answers to a GET of `path`.
    ///
    /// # Errors
    /// The connection ends or is silent for 5 s, or the status is not 200.
    pub fn get(&mut self, path: &str) -> io::Result<String> {
        self.ask(path, "keep-alive")
    }

    fn ask(&mut self, path: &str, connection: &str) -> io::Result<String> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;

        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("the server answered {status:?}")));
        }
        let mut length = None;
        loop {
            let header = self.line()?;
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        let length: usize = length.ok_or_else(|| io::Error::other("the answer has no Content-Length"))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        String::from_utf8(body).map_err(io::Error::other)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits until the connection ends by itself; says how.
    ///
    /// # Errors
    /// How it ended, if not by an orderly close: `ConnectionReset` for a reset; `TimedOut` if it did not end
    /// within `patience`.
    pub fn ended(&mut self, patience: Duration) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(patience))?;
        match stream.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::Error::other("the server sent something unasked")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            Err(error) => Err(error),
        }
    }
}

/// The body that the server answers to a GET of `path` on a connection of its own.
///
/// # Errors
/// As [`Connection::open`] and [`Connection::get`].
pub fn get(target: SocketAddr, path: &str) -> io::Result<String> {
    Connection::open(target)?.ask(path, "close")
}
