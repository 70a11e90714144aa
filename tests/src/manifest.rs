//! The manifests of the shop that tests and demo balance.

use std::{fmt::Write as _, net::IpAddr};

use crate::{
    servers::{self, PORT},
    world::{VIP, server_address},
};

/// The port of the VIPs.
pub const VIP_PORT: u16 = 80;

/// A load balancer for both VIPs with one HTTP listener, and a backend service with a server group for each address
/// family; health checks take at most two seconds to notice anything.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The weight of each server of the world; `None`: not a member.
    pub weights: Vec<Option<u32>>,
    /// Seconds that removed and drained servers keep their connections.
    pub draining: u32,
}

impl Shop {
    /// The shop with the first servers of a world, with these weights.
    pub fn new(weights: &[u32]) -> Self {
        Self { weights: weights.iter().copied().map(Some).collect(), draining: 300 }
    }

    /// The manifests.
    pub fn yaml(&self) -> String {
        let draining = self.draining;
        let group4 = self.members(|index| server_address(index).v4.into());
        let group6 = self.members(|index| server_address(index).v6.into());
        format!(
            "\
kind: LoadBalancer
name: shop
type: nlb
addresses: ['{vip4}', '{vip6}']
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
port: {PORT}
scheduler: weighted_round_robin
forwarding: nat
connection_draining: {draining}s
health_check:
  protocol: http
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
port: {VIP_PORT}
backend_service: shop-web
",
            vip4 = VIP.v4,
            vip6 = VIP.v6,
        )
    }

    fn members(&self, address: fn(usize) -> IpAddr) -> String {
        let mut members = String::new();
        for (index, weight) in self.weights.iter().enumerate() {
            let Some(weight) = weight else { continue };
            let (name, address) = (servers::name(index), address(index));
            let _ = writeln!(
                members,
                "  - {{name: {name}, address: '{address}', port: {PORT}, weight: {weight}}}"
            );
        }
        members
    }
}
