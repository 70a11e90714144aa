//! The manifests of the shop that tests and demo balance.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use crate::{
    servers::{self, PORT},
    world::{VIP, server_address},
};

/// The port of the VIPs, unless packets go through a tunnel: then it is the servers'.
pub const VIP_PORT: u16 = 80;

/// How packets reach the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// With other addresses and ports.
    Nat,
    /// In packets to the server: the world must return directly, and have tunnel ends.
    Ipip,
    /// As with `ipip`, with a UDP header in between.
    Gue,
    /// As they are: the world must return directly.
    Dsr,
    /// From the client, to another address and port: the balancer is the servers' router, as it is in a new world.
    Dnat,
}

/// A load balancer for both VIPs with one HTTP listener, and a backend service with a server group for each address
/// family; health checks take at most two seconds to notice anything.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The weight of each server of the world; `None`: not a member.
    pub weights: Vec<Option<u32>>,
    /// Seconds that removed and drained servers keep their connections.
    pub draining: u32,
    /// How packets reach the servers.
    pub forwarding: Forwarding,
    /// The port of the servers; they are probed at [`PORT`].
    pub port: u16,
    /// Seconds that clients come back to their server, if they do.
    pub persistence: Option<u32>,
    /// Whether the balancer says on its links that it has the VIPs.
    pub announce: bool,
}

impl Shop {
    /// The shop with the first servers of a world, with these weights.
    pub fn new(weights: &[u32]) -> Self {
        Self {
            weights: weights.iter().copied().map(Some).collect(),
            draining: 300,
            forwarding: Forwarding::Nat,
            port: PORT,
            persistence: None,
            announce: false,
        }
    }

    /// The port of the VIPs: a tunnel leaves ports as they are.
    pub fn vip_port(&self) -> u16 {
        match self.forwarding {
            Forwarding::Nat | Forwarding::Dnat => VIP_PORT,
            Forwarding::Ipip | Forwarding::Gue | Forwarding::Dsr => self.port,
        }
    }

    /// Where clients connect to: IPv4, IPv6.
    pub fn targets(&self) -> [SocketAddr; 2] {
        VIP.sockets(self.vip_port())
    }

    /// The manifests.
    pub fn yaml(&self) -> String {
        let Self { draining, port, announce, .. } = self;
        let forwarding = match self.forwarding {
            Forwarding::Nat => "nat",
            Forwarding::Ipip => "ipip",
            Forwarding::Gue => "gue",
            Forwarding::Dsr => "dsr",
            Forwarding::Dnat => "dnat",
        };
        let persistence = self.persistence.map_or_else(String::new, |seconds| {
            format!("session_persistence: {{enabled: true, timeout: {seconds}s}}\n")
        });
        let group4 = self.members(|index| server_address(index).v4.into());
        let group6 = self.members(|index| server_address(index).v6.into());
        format!(
            "\
kind: LoadBalancer
name: shop
type: nlb
addresses: ['{vip4}', '{vip6}']
announce: {announce}
---
kind: ServerGroup
name: shop-v4
servers:
{group4}---
kind: ServerGroup
name: shop-v6
servers:
{group6}---
kind: BackendService
name: shop-web
protocol: tcp
port: {port}
scheduler: weighted_round_robin
forwarding: {forwarding}
{persistence}connection_draining: {draining}s
health_check:
  protocol: http
  port: {PORT}
  path: /healthz
  interval: 1s
  timeout: 500ms
  healthy_threshold: 2
  unhealthy_threshold: 2
server_groups: [shop-v4, shop-v6]
---
kind: Listener
name: shop-http
load_balancer: shop
protocol: tcp
port: {vip_port}
backend_service: shop-web
",
            vip_port = self.vip_port(),
            vip4 = VIP.v4,
            vip6 = VIP.v6,
        )
    }

    fn members(&self, address: fn(usize) -> IpAddr) -> String {
        let mut members = String::new();
        for (index, weight) in self.weights.iter().enumerate() {
            let Some(weight) = weight else { continue };
            let (name, address, port) = (servers::name(index), address(index), self.port);
            let _ = writeln!(
                members,
                "  - {{name: {name}, address: '{address}', port: {port}, weight: {weight}}}"
            );
        }
        members
    }
}
