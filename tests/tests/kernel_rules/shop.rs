//! Manifests: a load balancer, one service over TCP and one over UDP, and their servers.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use nlb_agent::datapath::Family;

/// The listeners' ports and the servers': tunnels leave them as they are.
pub(crate) const TCP_PORT: u16 = 80;
/// As above.
pub(crate) const UDP_PORT: u16 = 53;
/// Servers are numbered below this.
pub(crate) const MAX_SERVERS: usize = 1100;

fn nth(first: &str, n: usize) -> IpAddr {
    match first.parse::<IpAddr>().unwrap() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + n as u32).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + n as u128).into()),
    }
}

fn of(family: Family, v4: &str, v6: &str, n: usize) -> IpAddr {
    nth(if family == Family::V4 { v4 } else { v6 }, n)
}

/// The address of a server.
pub(crate) fn address(family: Family, server: usize) -> IpAddr {
    of(family, "10.1.0.0", "fd00:1::", server)
}

/// The number of the server with an address.
pub(crate) fn server_at(address: IpAddr) -> Option<usize> {
    let (base, at) = match address {
        IpAddr::V4(address) => (0x0a01_0000, u128::from(u32::from(address))),
        IpAddr::V6(address) => (0xfd00_0001_u128 << 96, u128::from(address)),
    };
    at.checked_sub(base).and_then(|index| usize::try_from(index).ok()).filter(|&index| index < MAX_SERVERS)
}

/// The balancer's own address on the way to the servers.
pub(crate) fn source(family: Family) -> IpAddr {
    of(family, "10.2.0.1", "fd00:2::1", 0)
}

/// The VIP.
pub(crate) fn vip(family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(of(family, "10.0.0.10", "fd00::10", 0), port)
}

/// The `n`-th client's address.
pub(crate) fn client(family: Family, n: usize) -> IpAddr {
    of(family, "11.0.0.0", "fd00:9::", n)
}

/// A server's name; names are in the order of the numbers.
pub(crate) fn name(server: usize) -> String {
    format!("s{server:04}")
}

/// A server as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its number.
    pub(crate) index: usize,
    /// Its weight.
    pub(crate) weight: u8,
    /// `enabled`, `draining` or `disabled`.
    pub(crate) admin_state: &'static str,
}

/// All manifests.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    /// Of the addresses.
    pub(crate) family: Family,
    /// `nlb` or `dnlb`.
    pub(crate) product: &'static str,
    /// Fields of both services, beginning with a comma.
    pub(crate) service: String,
    /// Fields of both listeners, beginning with a comma.
    pub(crate) listener: String,
    /// The servers.
    pub(crate) servers: Vec<Server>,
}

impl Shop {
    /// Of servers 0, 1, ... with these weights, reached through tunnels.
    pub(crate) fn new(family: Family, weights: &[u8], service: &str) -> Self {
        let servers = weights
            .iter()
            .enumerate()
            .map(|(index, &weight)| Server { index, weight, admin_state: "enabled" })
            .collect();
        Self {
            family,
            product: "nlb",
            service: format!(", forwarding: ipip, {service}"),
            listener: String::new(),
            servers,
        }
    }

    /// The same, with addresses translated.
    pub(crate) fn by_nat(self) -> Self {
        Self { service: self.service.replace("forwarding: ipip", "forwarding: nat"), ..self }
    }

    /// As YAML.
    pub(crate) fn yaml(&self) -> String {
        let Self { family, product, service, listener, servers } = self;
        let vip = vip(*family, 0).ip();
        let mut yaml = format!(
            "{{kind: LoadBalancer, name: shop, type: {product}, addresses: ['{vip}']}}\n---\n\
             {{kind: BackendService, name: web, protocol: tcp, port: {TCP_PORT}, server_groups: [all]{service}}}\n---\n\
             {{kind: BackendService, name: dns, protocol: udp, port: {UDP_PORT}, server_groups: [all]{service}}}\n---\n\
             {{kind: Listener, name: web, load_balancer: shop, protocol: tcp, port: {TCP_PORT}, backend_service: web{listener}}}\n---\n\
             {{kind: Listener, name: dns, load_balancer: shop, protocol: udp, port: {UDP_PORT}, backend_service: dns{listener}}}\n---\n\
             {{kind: ServerGroup, name: all, servers: ["
        );
        for Server { index, weight, admin_state } in servers {
            let (name, address) = (name(*index), address(*family, *index));
            write!(
                yaml,
                "{{name: {name}, address: '{address}', weight: {weight}, admin_state: {admin_state}}}, "
            )
            .unwrap();
        }
        yaml + "]}\n"
    }
}
