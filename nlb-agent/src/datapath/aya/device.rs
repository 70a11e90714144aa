//! What the agent must know of a network device's driver.

use std::{io, os::fd::AsRawFd as _};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETHTOOL_GDRVINFO` of `linux/ethtool.h`: asks for [`DriverInfo`].
const GET_DRIVER_INFO: u32 = 3;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// Whether the device is a veth.
///
/// A veth hands what a program sends back with `XDP_TX` to its peer only when the peer has an XDP program, too;
/// otherwise the frame lies there until another one comes (`veth_xdp_flush` in drivers/net/veth.c). A redirect
/// to the same device does not have that flaw.
pub(super) fn is_veth(interface: &str) -> io::Result<bool> {
    let mut info = DriverInfo { cmd: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: integers and unions of integers only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: names are at most 15 bytes, and a longer one names no device.
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: SIOCETHTOOL reads and writes the request and the structure it points to, which is large enough for
    // this command.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } != 0 {
        let error = io::Error::last_os_error();
        // A device without driver information is no veth.
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(false) } else { Err(error) };
    }
    Ok(info.driver.starts_with(b"veth\0"))
}
