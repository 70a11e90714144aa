//! Classic pcap files, as far as the captures need them.

/// The Ethernet frames of a capture; none if it is of another link type or format.
pub(crate) fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    const ETHERNET: u32 = 1;
    let Some(magic) = file.first_chunk::<4>() else { return Vec::new() };
    let read: fn([u8; 4]) -> u32 = match u32::from_le_bytes(*magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => u32::from_le_bytes,
        0xd4c3_b2a1 | 0x4d3c_b2a1 => u32::from_be_bytes,
        _ => return Vec::new(),
    };
    let word = |at: usize| file.get(at..)?.first_chunk::<4>().map(|bytes| read(*bytes));
    if word(20) != Some(ETHERNET) {
        return Vec::new();
    }
    let mut frames = Vec::new();
    let mut at = 24;
    // A record: seconds, fraction, bytes captured, bytes on the wire; then the bytes.
    while let Some(captured) = word(at + 8) {
        let Some(frame) = file.get(at + 16..at + 16 + captured as usize) else { break };
        frames.push(frame.to_vec());
        at += 16 + captured as usize;
    }
    frames
}
