//! Generic UDP Encapsulation (draft-ietf-intarea-gue-09): a UDP header, and one of four bytes that says what is inside.

use super::UDP_LEN;
use crate::{be::Be16, bytes::Bytes};

/// The port of GUE (IANA).
pub const PORT: Be16 = Be16::new(6080);
/// Length of both headers.
pub const HEADER_LEN: usize = UDP_LEN + 4;

/// Writes both headers to the start of `header`; `None` if that is too short. `inside` is the IP protocol number of
/// the packet that follows, `len` the length of all three. The checksum is none, as tunnels may (RFC 6935, section 5).
#[inline(always)]
pub fn write(header: Bytes, source: Be16, inside: u8, len: u16) -> Option<()> {
    let header = header.proven(HEADER_LEN)?;
    header.write(0, source)?;
    header.write(2, PORT)?;
    header.write(4, Be16::new(len))?;
    header.write(6, 0u16)?;
    // Version 0, no optional fields, no flags.
    header.write(8, [0, inside, 0, 0])
}

/// What is inside: an IP protocol number; `None`: it is not for GUE of version 0 without optional fields.
#[inline(always)]
pub fn read(segment: Bytes) -> Option<u8> {
    let segment = segment.proven(HEADER_LEN)?;
    let [version, inside] = segment.read::<[u8; 2]>(8)?;
    (segment.read::<Be16>(2)? == PORT && version == 0).then_some(inside)
}
