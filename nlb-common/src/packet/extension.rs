//! IPv6 extension headers (RFC 8200, section 4): what stands between the fixed header and the transport header.

use super::{Fragment, Network};
use crate::{addr::V6, be::Be16, bytes::Bytes};

/// Hop-by-hop options: the first header, if it is there.
const HOP_BY_HOP: u8 = 0;
/// Routing (RFC 8200, section 4.4).
const ROUTING: u8 = 43;
/// Fragment (RFC 8200, section 4.5).
const FRAGMENT: u8 = 44;
/// Authentication (RFC 4302).
const AUTHENTICATION: u8 = 51;
/// Destination options.
const DESTINATION: u8 = 60;

/// How many headers are followed: each of those above once, destination options twice (RFC 8200, section 4.1), and one more.
const MOST: usize = 6;

/// Where the headers of a packet end that could be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Length of all headers, the fixed one included.
    pub len: u8,
    /// What comes next: that of an extension header if it could not be followed.
    pub protocol: u8,
    /// What the last fragment header said, if this is part of a fragmented packet.
    pub fragment: Option<Fragment>,
}

impl Chain {
    /// As one number: for a function that the verifier looks at by itself.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let fragment = match self.fragment {
            None => 0,
            Some(Fragment { id, is_first }) => (id as u64) << 32 | (is_first as u64) << 17 | 1 << 16,
        };
        fragment | (self.protocol as u64) << 8 | self.len as u64
    }

    /// From its number.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        let fragment = if word & 1 << 16 != 0 {
            Some(Fragment { id: (word >> 32) as u32, is_first: word & 1 << 17 != 0 })
        } else {
            None
        };
        Self { len: word as u8, protocol: (word >> 8) as u8, fragment }
    }
}

impl Network<V6> {
    /// The same, with the headers that follow the fixed one.
    #[inline(always)]
    #[must_use]
    pub fn with(self, chain: Chain) -> Self {
        Self { header_len: chain.len, protocol: chain.protocol, fragment: chain.fragment.is_some(), ..self }
    }
}

/// Whether `protocol` is an extension header that a transport header may follow. ESP's contents nobody can read, and mobility,
/// HIP and shim6 (RFC 7045, section 1.2) end a packet.
#[inline(always)]
pub const fn is_there(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

/// Follows the headers behind a fixed one. It ends in front of one that is cut short, does not stand where it may, is too
/// far behind, or is a routing header with another destination in it; and behind the fragment header of any but a first
/// fragment.
#[inline(always)]
pub fn follow(packet: Bytes, network: &Network<V6>) -> Chain {
    let mut chain = Chain { len: network.header_len, protocol: network.protocol, fragment: None };
    for position in 0..MOST {
        if !is_there(chain.protocol) || (chain.protocol == HOP_BY_HOP && position > 0) {
            break;
        }
        let header = packet.after(chain.len.into());
        // Of each: what is next, and its length; of a routing header: its kind, and the segments left.
        let Some([next, units, _, left]) = header.read::<[u8; 4]>(0) else {
            break;
        };
        let len = match chain.protocol {
            FRAGMENT => 8,
            // RFC 4302, section 2.2.
            AUTHENTICATION if units == 0 => break,
            AUTHENTICATION => (u32::from(units) + 2) * 4,
            _ => (u32::from(units) + 1) * 8,
        };
        let end = u32::from(chain.len) + len;
        if end > network.len || end > u32::from(u8::MAX) || (chain.protocol == ROUTING && left != 0) {
            break;
        }
        if chain.protocol == FRAGMENT {
            let Some((offset, id)) = header.read::<Be16>(2).zip(header.read::<u32>(4)) else {
                break;
            };
            let (offset, more) = (offset.get() & !7, offset.get() & 1 != 0);
            // All in one (RFC 6946): no fragment.
            if offset != 0 || more {
                chain.fragment = Some(Fragment { id, is_first: offset == 0 });
            }
            if offset != 0 {
                break;
            }
        }
        chain.protocol = next;
        chain.len = end as u8;
    }
    chain
}
