use std::{error::Error, io, net::SocketAddr, pin::pin};

use ::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use super::{Reason, sent::Sent};
use crate::model::{HealthCheck, HttpMethod};

/// How much of a body is read. A page longer than this is as healthy as a short one.
const MAX_BODY: usize = 64 * 1024;

/// Sends one HTTP/1.1 request (RFC 9112) over `stream` and judges the response, until `deadline`.
pub(super) async fn exchange<S>(
    stream: S,
    server: SocketAddr,
    check: &HealthCheck,
    deadline: Instant,
) -> Result<(), Reason>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, progress) = Sent::new(stream);
    let judge =
        |error: hyper::Error| if is_malformed(&error) { Reason::FormatError } else { progress.broken() };

    let request = request(server, check)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(judge)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(judge)?;
        if !check.expected_codes.contains(response.status().as_u16()) {
            return Err(Reason::CodeMismatch);
        }
        read(response.into_body()).await.map_err(judge)
    };
    // The connection makes the exchange advance; when it ends, the exchange has its answer or its error.
    let both = async {
        let (mut exchange, connection) = (pin!(exchange), pin!(connection));
        tokio::select! {
            biased;
            result = &mut exchange => result,
            _ended = connection => exchange.await,
        }
    };
    timeout_at(deadline, both).await.unwrap_or_else(|_elapsed| Err(progress.late()))
}

/// The request; its parts were checked when the health check was configured.
fn request(server: SocketAddr, check: &HealthCheck) -> Result<Request<Empty<Bytes>>, Reason> {
    let method = match check.method {
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Get => Method::GET,
    };
    let host = check.host.as_ref().map_or_else(|| default_host(server), |host| host.as_str().to_owned());
    Request::builder()
        .method(method)
        .uri(check.path.as_str())
        .header(header::HOST, host)
        .header(header::USER_AGENT, "nlb-health-check")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_invalid| Reason::RequestFailed)
}

/// RFC 9110, section 7.2: the default port may be left out; an IPv6 address stands in brackets.
fn default_host(server: SocketAddr) -> String {
    match server {
        SocketAddr::V4(v4) if v4.port() == 80 => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.port() == 80 => format!("[{}]", v6.ip()),
        other => other.to_string(),
    }
}

/// Reads the body to its end or up to [`MAX_BODY`]. The body of a response to HEAD is empty for hyper.
async fn read(mut body: Incoming) -> Result<(), hyper::Error> {
    let mut length = 0;
    while length < MAX_BODY
        && let Some(frame) = body.frame().await
    {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(())
}

/// Whether the peer speaks something other than HTTP: in the head, or in the framing of the body.
fn is_malformed(error: &hyper::Error) -> bool {
    error.is_parse()
        || error.source().and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(|source| {
            matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        })
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
