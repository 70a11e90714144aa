use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{Name, Port};

/// What makes two backends the same one: a server as a backend service sees it.
///
/// A server whose address or port is edited is another backend: the old one drains as if it were removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BackendKey {
    /// The backend service.
    pub service: Name,
    /// The server group the server stands in.
    pub group: Name,
    /// The server's name within its group.
    pub server: Name,
    /// The server's address.
    pub address: IpAddr,
    /// The port traffic goes to: the server's own, or the backend service's where the server has none.
    pub port: Port,
}

impl BackendKey {
    /// Address and port traffic goes to.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.get())
    }
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, group, server, address: _, port: _ } = self;
        write!(f, "{service}:{group}/{server}@{}", self.socket_addr())
    }
}
