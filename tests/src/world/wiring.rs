//! How the namespaces of a world are connected.

use std::{fmt::Write as _, process::Command};

use anyhow::Result;

use super::{
    address::{BALANCER_BACK, BALANCER_FRONT, CLIENT, Dual, VIP, server_address},
    namespace::Namespace,
};

/// The balancer's interface on the client's side.
pub const FRONT: &str = "front";
/// The balancer's interface on the servers' side.
pub const BACK: &str = "back";

/// Kernel parameters of every namespace. They hold for the interfaces that are made afterwards.
pub(super) const EVERYWHERE: &[(&str, &str)] = &[
    // Addresses are usable at once: they are unique by construction.
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    // The kernel must not judge by its own routes what the balancer sends for the VIP.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];

/// Those of the balancer, which is a router as well.
pub(super) const BALANCER: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

pub(super) fn connect(
    client: &Namespace,
    balancer: &Namespace,
    switch: &Namespace,
    servers: &[Namespace],
) -> Result<()> {
    for namespace in servers.iter().chain([client, balancer, switch]) {
        set_all(namespace, EVERYWHERE)?;
    }
    set_all(balancer, BALANCER)?;

    switch.configure("link add bridge type bridge\nlink set bridge up")?;
    cable(balancer, FRONT, client, "eth0")?;
    cable(balancer, BACK, switch, "uplink")?;
    plug(switch, "uplink")?;
    for (index, server) in servers.iter().enumerate() {
        let port = format!("port{}", index + 1);
        cable(switch, &port, server, "eth0")?;
        plug(switch, &port)?;
    }

    balancer.configure(&(up(FRONT, BALANCER_FRONT) + &up(BACK, BALANCER_BACK)))?;
    let mut script = up("eth0", CLIENT);
    let Dual { v4, v6 } = BALANCER_FRONT;
    // The VIPs are neighbours by their numbers, but nobody answers for them: they need routes of their own.
    let _ = writeln!(script, "route add {} via {v4}\nroute add default via {v4}", VIP.v4);
    let _ = writeln!(script, "route add {} via {v6}\nroute add default via {v6}", VIP.v6);
    client.configure(&script)?;
    for (index, server) in servers.iter().enumerate() {
        let Dual { v4, v6 } = BALANCER_BACK;
        let routes = format!("route add default via {v4}\nroute add default via {v6}\n");
        server.configure(&(up("eth0", server_address(index)) + &routes))?;
    }
    Ok(())
}

pub(super) fn set_all(namespace: &Namespace, parameters: &[(&str, &str)]) -> Result<()> {
    parameters.iter().try_for_each(|(parameter, value)| namespace.set(parameter, value))
}

/// The commands that give `interface` its addresses and set it up.
pub(super) fn up(interface: &str, Dual { v4, v6 }: Dual) -> String {
    format!(
        "address add {v4}/24 dev {interface}\naddress add {v6}/64 dev {interface} nodad\nlink set {interface} up\n"
    )
}

/// Attaches a port of the switch to its bridge.
pub(super) fn plug(switch: &Namespace, port: &str) -> Result<()> {
    switch.configure(&format!("link set {port} master bridge\nlink set {port} up"))
}

/// Connects two namespaces by a pair of veth devices.
///
/// A veth leaves checksums to the device; packets that an XDP program rewrote would die at the receiver, so
/// sending computes them. GRO makes a veth take packets from its peer's `XDP_TX` and redirects.
pub(super) fn cable(near: &Namespace, near_end: &str, far: &Namespace, far_end: &str) -> Result<()> {
    let far_name = far.name();
    near.configure(&format!("link add {near_end} type veth peer name {far_end} netns {far_name}"))?;
    for (namespace, end) in [(near, near_end), (far, far_end)] {
        namespace.output(Command::new("ethtool").args(["-K", end, "tx", "off", "gro", "on"]))?;
    }
    Ok(())
}
