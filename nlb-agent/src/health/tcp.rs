use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::Reason;

/// Ends a TCP probe: the handshake was all it wanted.
///
/// The connection is closed in order, with a FIN, and `SO_LINGER` is left alone. A probe that ends with a RST
/// (linger 0) saves this host a TIME_WAIT, but costs the server more: `accept` fails or the first read does,
/// logs fill with "connection reset by peer", and MySQL counts it as an error of this host. A greeting that
/// has come by now is read, because closing with unread data sends a RST as well (RFC 2525, section 2.17).
pub(super) async fn close(mut connection: TcpStream) -> Result<(), Reason> {
    // Both may fail without the server being at fault: it may have closed first.
    let _ = connection.try_read(&mut [0; 1024]);
    let _ = connection.shutdown().await;
    Ok(())
}
