//! The addresses of a world; the same in every world.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dual {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

/// The client's.
pub const CLIENT: Dual = front(2, 0x2);
/// The balancer's, on the client's side.
pub const BALANCER_FRONT: Dual = front(1, 0x1);
/// The balancer's, on the servers' side.
pub const BALANCER_BACK: Dual = back(1, 0x1);
/// The client's, on the servers' side, in a world with direct return.
pub const CLIENT_BACK: Dual = back(2, 0x2);
/// A second balancer's, on the client's side, in a world with a shared link.
pub const STANDBY_FRONT: Dual = front(3, 0x3);
/// A second balancer's, on the servers' side, in a world with a shared link.
pub const STANDBY_BACK: Dual = back(3, 0x3);
/// The VIPs.
pub const VIP: Dual = front(10, 0x10);

impl Dual {
    /// Both.
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Both, with `port`.
    pub fn sockets(self, port: u16) -> [SocketAddr; 2] {
        self.both().map(|address| SocketAddr::new(address, port))
    }
}

/// The address of a world's server; `index` starts at 0 and ends below 89, so that the last digits of both families
/// look alike.
pub fn server_address(index: usize) -> Dual {
    let last =
        u8::try_from(index + 11).ok().filter(|last| *last < 100).expect("a world has fewer than 89 servers");
    back(last, u16::from(last / 10 * 16 + last % 10))
}

const fn front(last4: u8, last6: u16) -> Dual {
    Dual { v4: Ipv4Addr::new(10, 0, 0, last4), v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last6) }
}

const fn back(last4: u8, last6: u16) -> Dual {
    Dual { v4: Ipv4Addr::new(10, 1, 0, last4), v6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last6) }
}

#[cfg(test)]
mod tests {
    use super::server_address;

    #[test]
    fn the_last_digits_of_both_families_look_alike() {
        for (index, v4, v6) in [(0, "10.1.0.11", "fd00:1::11"), (9, "10.1.0.20", "fd00:1::20")] {
            let address = server_address(index);
            assert_eq!((address.v4.to_string().as_str(), address.v6.to_string().as_str()), (v4, v6));
        }
    }
}
