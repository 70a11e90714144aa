//! Packets cut into fragments (RFC 791, section 3.2; RFC 8200, section 4.5), and put together again.

use super::checksum::checksum;

/// Length of an Ethernet header.
const LINK: usize = 14;
/// The protocol number of IPv6's fragment header.
const FRAGMENT: u8 = 44;

/// An untagged frame of an IP packet without options, cut behind so many bytes of what follows the IP header.
///
/// # Panics
/// A cut is no multiple of 8, or not within the packet.
pub fn cut(frame: &[u8], id: u32, cuts: &[usize]) -> Vec<Vec<u8>> {
    let header = header_len(frame);
    let (head, payload) = frame.split_at(LINK + header);
    let mut ends = cuts.to_vec();
    ends.push(payload.len());
    let mut start = 0;
    let mut fragments = Vec::new();
    for end in ends {
        assert!(start % 8 == 0 && start < end, "a fragment begins at a multiple of 8");
        let more = end < payload.len();
        let offset = u16::try_from(start).expect("a packet is short");
        let mut fragment = head.to_vec();
        if header == 20 {
            fragment[LINK + 4..LINK + 6].copy_from_slice(&(id as u16).to_be_bytes());
            let word = (offset / 8) | if more { 0x2000 } else { 0 };
            fragment[LINK + 6..LINK + 8].copy_from_slice(&word.to_be_bytes());
        } else {
            let word = offset | u16::from(more);
            let next = std::mem::replace(&mut fragment[LINK + 6], FRAGMENT);
            fragment.extend([next, 0]);
            fragment.extend(word.to_be_bytes());
            fragment.extend(id.to_be_bytes());
        }
        fragment.extend(&payload[start..end]);
        set_len(&mut fragment);
        fragments.push(fragment);
        start = end;
    }
    fragments
}

/// The packet whose fragments these are, in whatever order.
///
/// # Panics
/// They are of different packets, or one is missing.
pub fn join(fragments: &[Vec<u8>]) -> Vec<u8> {
    let header = header_len(&fragments[0]);
    let mut parts: Vec<_> = fragments.iter().map(|fragment| part(fragment)).collect();
    parts.sort_by_key(|part| part.0);
    let mut whole: Vec<u8> = Vec::new();
    for (position, &(offset, more, payload)) in parts.iter().enumerate() {
        assert_eq!(offset, whole.len(), "a fragment is missing");
        assert_eq!(more, position + 1 < parts.len(), "only the last one is the last one");
        whole.extend(payload);
    }
    let mut frame = fragments[0][..LINK + header].to_vec();
    for fragment in fragments {
        let differs = |range: std::ops::Range<usize>| fragment[range.clone()] != frame[range];
        // Addresses: the last 8 or 32 bytes of the header; and the link layer.
        assert!(
            !differs(0..LINK) && !differs(LINK + header - if header == 20 { 8 } else { 32 }..LINK + header)
        );
    }
    if header == 20 {
        frame[LINK + 6..LINK + 8].copy_from_slice(&[0x40, 0]);
    } else {
        frame[LINK + 6] = fragments[0][LINK + header];
    }
    frame.extend(whole);
    set_len(&mut frame);
    frame
}

fn header_len(frame: &[u8]) -> usize {
    if frame[LINK] >> 4 == 4 { 20 } else { 40 }
}

/// Offset, whether more follows, and the bytes.
fn part(fragment: &[u8]) -> (usize, bool, &[u8]) {
    let word = |at: usize| u16::from_be_bytes([fragment[at], fragment[at + 1]]);
    if header_len(fragment) == 20 {
        let sum = checksum([&fragment[LINK..LINK + 20]]);
        assert_eq!(sum, 0, "the header's checksum");
        let bits = word(LINK + 6);
        return (usize::from(bits & 0x1fff) * 8, bits & 0x2000 != 0, &fragment[LINK + 20..]);
    }
    assert_eq!(fragment[LINK + 6], FRAGMENT);
    let bits = word(LINK + 42);
    (usize::from(bits & !7), bits & 1 != 0, &fragment[LINK + 48..])
}

fn set_len(frame: &mut [u8]) {
    let header = header_len(frame);
    let total = frame.len() - LINK;
    let (at, len) = if header == 20 { (LINK + 2, total) } else { (LINK + 4, total - 40) };
    frame[at..at + 2].copy_from_slice(&u16::try_from(len).expect("a packet is short").to_be_bytes());
    if header == 20 {
        frame[LINK + 10..LINK + 12].fill(0);
        let sum = checksum([&frame[LINK..LINK + 20]]);
        frame[LINK + 10..LINK + 12].copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Frame;

    #[test]
    fn what_is_cut_is_put_together_again() {
        for (from, to) in [("10.9.0.5:4242", "10.0.0.10:53"), ("[fd00:9::5]:4242", "[fd00::10]:53")] {
            let frame = Frame::udp(from.parse().unwrap(), to.parse().unwrap()).payload(&[7; 100]).build();
            let mut pieces = cut(&frame, 9, &[24, 64]);
            assert_eq!(pieces.len(), 3);
            pieces.reverse();
            let mut whole = join(&pieces);
            // The identification is the fragments' own.
            if from.starts_with('1') {
                assert_eq!(whole[LINK + 4..LINK + 6], [0, 9]);
                whole[LINK + 4..LINK + 6].copy_from_slice(&frame[LINK + 4..LINK + 6]);
                set_len(&mut whole);
            }
            assert_eq!(whole, frame);
        }
    }
}
