//! The Internet checksum as RFC 1071, section 4.1, states it.

/// Of some bytes, the pseudo header included.
pub(super) fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let bytes: Vec<u8> = parts.into_iter().flatten().copied().collect();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
