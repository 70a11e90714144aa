//! Probes against servers that misbehave, each in its own way.

use std::{future::pending, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::health::{Failure, probe};

fn check(fields: &str) -> HealthCheck {
    serde_yaml::from_str(&format!("{{timeout: 300ms, {fields}}}")).expect("a valid check")
}

/// What a server does with a connection.
#[derive(Clone, Copy, Debug)]
enum Server {
    /// Reads the request and says this.
    Says(&'static str),
    /// Says this at once and reads nothing.
    Greets(&'static str),
    /// Reads the request, says this, and resets the connection.
    Resets(&'static str),
    /// Reads the request and says this, but keeps the connection open.
    Hangs(&'static str),
    /// Closes at once.
    Closes,
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_closed) => break,
        }
    }
    String::from_utf8(request).expect("a text")
}

/// Serves one connection; the task's result is the request.
async fn serve(server: Server) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        if !matches!(server, Server::Greets(_) | Server::Closes) {
            request = read_request(&mut stream).await;
        }
        if let Server::Says(text) | Server::Greets(text) | Server::Resets(text) | Server::Hangs(text) = server
        {
            let _ = stream.write_all(text.as_bytes()).await;
        }
        match server {
            Server::Says(_) | Server::Closes => {}
            Server::Greets(_) => {
                read_request(&mut stream).await;
            }
            Server::Resets(_) => stream.set_zero_linger().unwrap(),
            Server::Hangs(_) => pending().await,
        }
        request
    });
    (address, task)
}

fn reason(result: Result<(), Failure>) -> Result<(), Reason> {
    result.map_err(|failure| match failure {
        Failure::Server(reason) => reason,
        Failure::Host(error) => panic!("the host's fault: {error}"),
    })
}

const TCP: &str = "protocol: tcp";
const HEAD: &str = "protocol: http";
const GET: &str = "protocol: http, method: GET";
const EXPECT_404: &str = "protocol: http, expected_codes: '404'";

#[tokio::test]
async fn each_misbehaviour_has_its_reason() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
    let rows = [
        (HEAD, Server::Says("HTTP/1.1 204 No Content\r\n\r\n"), Ok(())),
        (HEAD, Server::Says(ok), Ok(())),
        // The length announces a body that a response to HEAD does not have.
        (HEAD, Server::Hangs("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Ok(())),
        (HEAD, Server::Says("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n"), Ok(())),
        (HEAD, Server::Says("HTTP/1.1 503 Oops\r\n\r\n"), Err(Reason::CodeMismatch)),
        (EXPECT_404, Server::Says("HTTP/1.1 404 Gone\r\n\r\n"), Ok(())),
        (EXPECT_404, Server::Says("HTTP/1.1 200 OK\r\n\r\n"), Err(Reason::CodeMismatch)),
        (HEAD, Server::Says("SMTP ready\r\n\r\n"), Err(Reason::FormatError)),
        (HEAD, Server::Greets("SSH-2.0-OpenSSH_9.2\r\n"), Err(Reason::FormatError)),
        (HEAD, Server::Says("HTTP/1.1 20"), Err(Reason::ResponseFailed)),
        (HEAD, Server::Says(""), Err(Reason::ResponseFailed)),
        (HEAD, Server::Closes, Err(Reason::ResponseFailed)),
        (HEAD, Server::Resets("HTTP/1.1 200 OK\r\n"), Err(Reason::ResponseFailed)),
        (HEAD, Server::Hangs(""), Err(Reason::ResponseTimeout)),
        (HEAD, Server::Hangs("HTTP/1.1 200 OK\r\nX-Slow: "), Err(Reason::ResponseTimeout)),
        (GET, Server::Says(ok), Ok(())),
        (GET, Server::Says("HTTP/1.1 200 OK\r\n\r\nuntil the end"), Ok(())),
        (GET, Server::Says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nyes"), Err(Reason::ResponseFailed)),
        (GET, Server::Hangs("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nyes"), Err(Reason::ResponseTimeout)),
        (
            GET,
            Server::Says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
            Err(Reason::FormatError),
        ),
        (TCP, Server::Closes, Ok(())),
        (TCP, Server::Greets("hello\r\n"), Ok(())),
    ];
    for (fields, server, expected) in rows {
        let (address, task) = serve(server).await;
        assert_eq!(reason(probe(address, &check(fields)).await), expected, "{fields} {server:?}");
        task.abort();
    }
}

#[tokio::test]
async fn a_closed_port_is_connect_failed() {
    let (address, task) = serve(Server::Closes).await;
    task.abort();
    // When the task is gone, so is the listener.
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
    for fields in [TCP, HEAD] {
        assert_eq!(reason(probe(address, &check(fields)).await), Err(Reason::ConnectFailed), "{fields}");
    }
}

#[tokio::test]
async fn a_handshake_without_an_answer_is_connect_timeout() {
    // A full accept queue lets SYNs go unanswered.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    for fields in [TCP, HEAD] {
        assert_eq!(reason(probe(address, &check(fields)).await), Err(Reason::ConnectTimeout), "{fields}");
    }
}

/// An exchange over a pipe that holds `capacity` bytes; the server's end goes to `server`.
async fn over_pipe<F: Future<Output = ()>>(
    capacity: usize,
    server: impl FnOnce(DuplexStream) -> F,
) -> Result<(), Reason> {
    let (client, theirs) = duplex(capacity);
    let deadline = Instant::now() + Duration::from_secs(5);
    let (check, address) = (check(HEAD), (Ipv4Addr::LOCALHOST, 80).into());
    // The server goes first, so that what it does at once is done when the request leaves.
    tokio::join!(server(theirs), exchange(client, address, &check, deadline)).1
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_before_the_request_is_connect_interrupted() {
    let result = over_pipe(1024, |stream| async { drop(stream) }).await;
    assert_eq!(result, Err(Reason::ConnectInterrupted));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_within_the_request_is_request_failed() {
    let result = over_pipe(16, |mut stream| async move {
        stream.read_exact(&mut [0; 4]).await.unwrap();
    })
    .await;
    assert_eq!(result, Err(Reason::RequestFailed));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_reads_is_request_timeout() {
    let result = over_pipe(16, |stream| async move {
        tokio::time::sleep(Duration::from_secs(6)).await;
        drop(stream);
    })
    .await;
    assert_eq!(result, Err(Reason::RequestTimeout));
}

#[tokio::test]
async fn the_request_says_what_is_configured() {
    let rows = [
        ("protocol: http", "HEAD / HTTP/1.1", None),
        ("protocol: http, method: GET, path: '/healthz?full=1'", "GET /healthz?full=1 HTTP/1.1", None),
        ("protocol: http, host: shop.example", "HEAD / HTTP/1.1", Some("shop.example")),
    ];
    for (fields, first_line, host) in rows {
        let (address, server) = serve(Server::Says("HTTP/1.1 200 OK\r\n\r\n")).await;
        reason(probe(address, &check(fields)).await).expect("a healthy server");
        let request = server.await.unwrap().to_ascii_lowercase();
        let host = host.map_or_else(|| address.to_string(), str::to_owned);
        let mut lines = request.lines();
        assert_eq!(lines.next(), Some(first_line.to_ascii_lowercase().as_str()));
        let headers: Vec<_> = lines.collect();
        for header in [&*format!("host: {host}"), "user-agent: nlb-health-check", "connection: close"] {
            assert!(headers.contains(&header), "{header} in {headers:?}");
        }
    }
}

#[test]
fn the_default_host_is_the_address() {
    for (server, expected) in [
        ("10.1.0.11:80", "10.1.0.11"),
        ("10.1.0.11:8080", "10.1.0.11:8080"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("[2001:db8::1]:8080", "[2001:db8::1]:8080"),
    ] {
        assert_eq!(default_host(server.parse().unwrap()), expected);
    }
}

/// The server sees the end of the connection, not an error: the probe closes with a FIN.
#[tokio::test]
async fn a_tcp_probe_ends_in_order() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let check = check(TCP);
    let (result, accepted) = tokio::join!(probe(address, &check), listener.accept());
    reason(result).expect("a healthy server");
    let (mut stream, _) = accepted.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.expect("no reset"), 0);
}
