//! Which ports of a SNAT address flows may use, so that they meet no socket of the host.

use std::{collections::BTreeSet, fs, io, net::IpAddr};

/// A range of ports, its ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Ports {
    /// All but the well-known ones.
    const UNPRIVILEGED: Self = Self { first: 1024, last: u16::MAX };

    /// How many there are.
    pub(super) fn count(self) -> u16 {
        (self.last - self.first).saturating_add(1)
    }
}

/// What of the host's own port use the balancer must respect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPorts {
    /// The ports that the kernel gives to sockets that do not ask for one.
    ephemeral: Ports,
    /// The ports that sockets are bound to.
    pub(super) bound: BTreeSet<u16>,
}

impl HostPorts {
    /// Reads `/proc` of this network namespace.
    pub(super) fn read() -> io::Result<Self> {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
        let invalid = || io::Error::other(format!("ip_local_port_range is {range:?}"));
        let mut numbers = range.split_whitespace().map(str::parse);
        let (Some(Ok(first)), Some(Ok(last))) = (numbers.next(), numbers.next()) else {
            return Err(invalid());
        };
        let mut bound = BTreeSet::new();
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            // A kernel without IPv6 has no table for it.
            if let Ok(text) = fs::read_to_string(format!("/proc/self/net/{table}")) {
                bound.extend(text.lines().filter_map(local_port));
            }
        }
        Ok(Self { ephemeral: Ports { first, last }, bound })
    }

    /// The ports of a SNAT address: the largest range outside the ephemeral ports, if it is the host's own.
    pub(super) fn usable(&self, address: IpAddr, host_addresses: &BTreeSet<IpAddr>) -> Ports {
        let all = Ports::UNPRIVILEGED;
        if !host_addresses.contains(&address) {
            return all;
        }
        let Ports { first, last } = self.ephemeral;
        let below = (first > all.first).then(|| Ports { first: all.first, last: first - 1 });
        let above = (last < all.last).then(|| Ports { first: last + 1, last: all.last });
        // A host that keeps no port for anybody else shares: sockets in use are still excluded one by one.
        [below, above].into_iter().flatten().max_by_key(|ports| ports.count()).unwrap_or(all)
    }
}

/// The local port of a line of `/proc/net/tcp` and its like: `sl local_address rem_address ...`, in hexadecimal.
fn local_port(line: &str) -> Option<u16> {
    let local = line.split_whitespace().nth(1)?;
    let (_, port) = local.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok().filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(ephemeral: (u16, u16), own: bool) -> (u16, u16) {
        let ephemeral = Ports { first: ephemeral.0, last: ephemeral.1 };
        let address: IpAddr = "10.1.0.1".parse().unwrap();
        let host_addresses = own.then_some(address).into_iter().collect();
        let Ports { first, last } =
            HostPorts { ephemeral, bound: BTreeSet::new() }.usable(address, &host_addresses);
        (first, last)
    }

    #[test]
    fn flows_keep_out_of_the_hosts_ephemeral_ports() {
        assert_eq!(usable((32768, 60999), true), (1024, 32767), "Linux's default");
        assert_eq!(usable((1024, 9999), true), (10000, 65535));
        assert_eq!(usable((10000, 65535), true), (1024, 9999));
        assert_eq!(usable((1024, 65535), true), (1024, 65535), "nothing is left");
        assert_eq!(usable((32768, 60999), false), (1024, 65535), "an address of its own");
    }

    #[test]
    fn lines_of_proc_are_understood() {
        let line =
            "   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1";
        assert_eq!(local_port(line), Some(3306));
        assert_eq!(local_port("  sl  local_address rem_address   st"), None);
        let v6 = "   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1";
        assert_eq!(local_port(v6), Some(8080));
    }

    #[test]
    fn the_hosts_own_ports_can_be_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(HostPorts::read().unwrap().bound.contains(&listener.local_addr().unwrap().port()));
    }
}
