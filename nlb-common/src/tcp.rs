//! TCP as a balancer sees it: flags, and the state of a flow from the segments of both directions.

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;

/// Length of a header, from the byte that has it in its upper half.
#[inline(always)]
pub const fn header_len(offset: u8) -> usize {
    (offset >> 4) as usize * 4
}

/// The flags of a TCP header (RFC 9293, section 3.1).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Acknowledgement field is significant.
    pub const ACK: Self = Self(0x10);

    /// Both sets of flags.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the segment is the sender's last: FIN or RST.
    #[inline(always)]
    pub const fn ends(self) -> bool {
        self.0 & (Self::FIN.0 | Self::RST.0) != 0
    }

    /// Whether the segment asks for a new connection: SYN without ACK, RST or FIN.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0 | Self::FIN.0) == Self::SYN.0
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Forward,
    /// From the server to the client.
    Reply,
}

/// Where a flow stands.
///
/// ```text
///            client's SYN            server's SYN+ACK, then client's ACK
///  (no flow) ───────────▶ HALF_OPEN ─────────────────────────────▶ ESTABLISHED
///                            │  │                                   │ FIN of one side
///                            │  └── FIN ──────────────┐             ▼
///                        RST │                        └──▶ CLIENT_FIN / SERVER_FIN
///                            ▼         RST of either side, FIN of the other side │
///                          CLOSED ◀──────────────────────────────────────────────┘
/// ```
/// A client's RST before the server has answered does not close: it is how a client clears away what a server still
/// remembers of an earlier connection from the same port (RFC 9293, section 3.10.7.3), and its SYN comes again.
///
/// A UDP flow is `ESTABLISHED` from its first packet to its end. A closed flow still passes its last packets
/// until it is swept. Numbers are part of the map layout.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(pub u8);

impl State {
    /// The client has sent a SYN; the handshake is not complete.
    pub const HALF_OPEN: Self = Self(2);
    /// The server has answered the SYN; the client's ACK is outstanding.
    pub const ANSWERED: Self = Self(3);
    /// Data flows.
    pub const ESTABLISHED: Self = Self(4);
    /// The client has sent its FIN.
    pub const CLIENT_FIN: Self = Self(5);
    /// The server has sent its FIN.
    pub const SERVER_FIN: Self = Self(6);
    /// Both have sent their FIN, or one has sent a RST.
    pub const CLOSED: Self = Self(7);

    /// The state after a segment.
    #[inline(always)]
    pub const fn after(self, direction: Direction, flags: Flags) -> Self {
        let unanswered = self.0 == Self::HALF_OPEN.0 && matches!(direction, Direction::Forward);
        if flags.has(Flags::RST) {
            return if unanswered { self } else { Self::CLOSED };
        }
        let forward = matches!(direction, Direction::Forward);
        if flags.has(Flags::FIN) {
            return match (self, forward) {
                (Self::CLOSED, _) | (Self::SERVER_FIN, true) | (Self::CLIENT_FIN, false) => Self::CLOSED,
                (_, true) => Self::CLIENT_FIN,
                (_, false) => Self::SERVER_FIN,
            };
        }
        match (self, forward) {
            (Self::HALF_OPEN, false) if flags.has(Flags::SYN.with(Flags::ACK)) => Self::ANSWERED,
            (Self::ANSWERED, true) if flags.has(Flags::ACK) && !flags.has(Flags::SYN) => Self::ESTABLISHED,
            _ => self,
        }
    }

    /// Whether the flow counts as an active connection: half-open or established, not closed.
    #[inline(always)]
    pub const fn is_active(self) -> bool {
        self.0 >= Self::HALF_OPEN.0 && self.0 < Self::CLOSED.0
    }

    /// Whether the handshake is still incomplete.
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::HALF_OPEN | Self::ANSWERED)
    }
}

#[cfg(test)]
mod tests {
    use super::{Direction::*, *};

    const SYN: Flags = Flags::SYN;
    const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);
    const ACK: Flags = Flags::ACK;
    const FIN: Flags = Flags::FIN.with(Flags::ACK);
    const RST: Flags = Flags::RST;

    /// Every state, direction and segment: a row that is not named here keeps its state.
    #[test]
    fn state_table() {
        use State as S;
        let moves = [
            (S::HALF_OPEN, Reply, SYN_ACK, S::ANSWERED),
            (S::ANSWERED, Forward, ACK, S::ESTABLISHED),
            (S::HALF_OPEN, Forward, FIN, S::CLIENT_FIN),
            (S::HALF_OPEN, Reply, FIN, S::SERVER_FIN),
            (S::ANSWERED, Forward, FIN, S::CLIENT_FIN),
            (S::ANSWERED, Reply, FIN, S::SERVER_FIN),
            (S::ESTABLISHED, Forward, FIN, S::CLIENT_FIN),
            (S::ESTABLISHED, Reply, FIN, S::SERVER_FIN),
            (S::CLIENT_FIN, Reply, FIN, S::CLOSED),
            (S::SERVER_FIN, Forward, FIN, S::CLOSED),
            (S::HALF_OPEN, Forward, RST, S::HALF_OPEN),
        ];
        for state in [S::HALF_OPEN, S::ANSWERED, S::ESTABLISHED, S::CLIENT_FIN, S::SERVER_FIN, S::CLOSED] {
            for direction in [Forward, Reply] {
                for flags in [SYN, SYN_ACK, ACK, FIN, RST] {
                    let expected = moves
                        .iter()
                        .find(|(from, way, segment, _)| (*from, *way, *segment) == (state, direction, flags))
                        .map_or(if flags == RST { S::CLOSED } else { state }, |row| row.3);
                    assert_eq!(state.after(direction, flags), expected, "{state:?} {direction:?} {flags:?}");
                }
            }
        }
    }

    #[test]
    fn only_a_plain_syn_opens() {
        assert!(SYN.opens());
        assert!(SYN.with(Flags(0xc0)).opens(), "ECN-setup SYN (RFC 3168, section 6.1.1)");
        for flags in [SYN_ACK, ACK, FIN, RST, SYN.with(RST), SYN.with(Flags::FIN), Flags(0)] {
            assert!(!flags.opens(), "{flags:?}");
        }
    }
}
