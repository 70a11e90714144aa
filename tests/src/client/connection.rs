//! One HTTP connection.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::{
    libc,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

/// How long a client waits for anything: longer than a lost SYN takes to be sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Enough for the head of an answer; a crowd has many connections.
const BUFFER: usize = 512;

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
        Self::over(TcpStream::connect_timeout(&target, PATIENCE)?)
    }

    /// As [`Connection::open`], from an address and port of the caller's choice; port 0 is any.
    ///
    /// # Errors
    /// As [`Connection::open`], or the address is not ours, or the port in use.
    pub fn open_from(source: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let family = if source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        // It limits the time to connect, too.
        setsockopt(
            &socket,
            sockopt::SendTimeout,
            &TimeVal::from(libc::timeval { tv_sec: PATIENCE.as_secs() as libc::time_t, tv_usec: 0 }),
        )?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(target))?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(BUFFER, stream) })
    }

    /// Waits so long for anything from now on.
    ///
    /// # Errors
    /// The socket does not take the option.
    pub fn be_patient(&self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))
    }

    /// The client's address and port.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn source(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// Ends the connection by a RST.
    ///
    /// # Errors
    /// The socket does not take the option.
    pub fn reset(self) -> io::Result<()> {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        Ok(setsockopt(self.stream.get_ref(), sockopt::Linger, &at_once)?)
    }

    /// Forgets the connection without a word to anybody, as a client does whose power fails.
    ///
    /// # Errors
    /// The socket does not take the option; that takes root.
    pub fn vanish(self) -> io::Result<()> {
        // A socket under repair sends nothing when it is closed.
        Ok(setsockopt(self.stream.get_ref(), sockopt::TcpRepair, &1)?)
    }

    /// The body that the server answers to a GET of `path`.
    ///
    /// # Errors
    /// The connection ends or is silent for 5 s, or the status is not 200.
    pub fn get(&mut self, path: &str) -> io::Result<String> {
        self.ask(path, "keep-alive")?;
        self.answer()
    }

    /// As [`Connection::get`], but the server closes the connection after its answer; returns once it has.
    ///
    /// # Errors
    /// As [`Connection::get`], or as [`Connection::ended`].
    pub fn get_last(mut self, path: &str) -> io::Result<String> {
        self.ask(path, "close")?;
        let answer = self.answer()?;
        self.ended(PATIENCE)?;
        Ok(answer)
    }

    /// Sends a request.
    pub(super) fn ask(&mut self, path: &str, connection: &str) -> io::Result<()> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Reads the answer to a request; returns its body.
    pub(super) fn answer(&mut self) -> io::Result<String> {
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
    let mut connection = Connection::open(target)?;
    connection.ask(path, "close")?;
    connection.answer()
}

/// An address with port 0, to open connections from.
pub fn any_port_of(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}
