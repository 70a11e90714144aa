//! What can become of a packet: every verdict has a number, a name and a counter.

/// Declares the verdicts in the order of their numbers.
macro_rules! verdicts {
    ($($variant:ident = $name:literal: $meaning:literal;)*) => {
        /// What became of a packet. The number is the index of its counter.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verdict {
            $(#[doc = $meaning] $variant,)*
        }

        impl Verdict {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in counters, logs and docs; the first word is the action.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)*
                }
            }
        }
    };
}

verdicts! {
    PassNotIp = "PASS_NOT_IP": "neither IPv4 nor IPv6 (ARP, LLDP, ...): given to the kernel";
    PassMalformed = "PASS_MALFORMED": "too damaged to tell where it goes: given to the kernel, which drops it";
    PassNotOurs = "PASS_NOT_OURS": "to no VIP and no SNAT address: given to the kernel";
    PassNoFlow = "PASS_NO_FLOW": "to a SNAT address, but no reply of a balanced flow (probes, SSH, ...): given to the kernel";
    PassProtocol = "PASS_PROTOCOL": "to a VIP or SNAT address, but neither TCP nor UDP (ICMP, OSPF, ...): given to the kernel";
    PassHost = "PASS_HOST": "to a port without listener of a VIP that is the host's own address: given to the kernel";
    Forward = "FORWARD": "from a client, sent to its server";
    Reply = "REPLY": "from a server, sent to its client";
    ResetUnknownFlow = "RESET_UNKNOWN_FLOW": "TCP segment of no known flow that opens none: answered with RST";
    ResetExpired = "RESET_EXPIRED": "of a flow whose server's draining time is over: answered with RST";
    DropMalformed = "DROP_MALFORMED": "to a VIP, with a length or header that cannot be right";
    DropFragment = "DROP_FRAGMENT": "an IP fragment to a VIP, of a packet whose first fragment has not come, or lacks the ports";
    DropExtensionHeader = "DROP_EXTENSION_HEADER": "to a VIP, with IPv6 extension headers that cannot be followed: damaged, out of order, too many, or with segments left";
    DropNoListener = "DROP_NO_LISTENER": "to a port of a VIP where nothing listens";
    DropListenerDisabled = "DROP_LISTENER_DISABLED": "would open a connection, but the listener takes no new ones";
    DropNoBackend = "DROP_NO_BACKEND": "would open a connection, but no server of the packet's address family may get one";
    DropUnknownFlow = "DROP_UNKNOWN_FLOW": "RST of no known flow: there is nothing to answer";
    DropExpired = "DROP_EXPIRED": "of a flow whose server's draining time is over, and the service says silent";
    DropPortsExhausted = "DROP_PORTS_EXHAUSTED": "would open a connection, but no SNAT port is free";
    DropFlowTableFull = "DROP_FLOW_TABLE_FULL": "would open a connection, but its set of the flow table holds live flows only";
    DropTtlExpired = "DROP_TTL_EXPIRED": "the TTL or hop limit does not allow another hop";
    DropNoNextHop = "DROP_NO_NEXT_HOP": "the next hop's MAC address is not known yet";
    DropTooBig = "DROP_TOO_BIG": "does not fit the way to its server, and its sender must not be told (IPv4 without \"don't fragment\")";
    AnswerTooBig = "ANSWER_TOO_BIG": "does not fit the way to its server: its sender is told how long packets may be";
    DropInternal = "DROP_INTERNAL": "the kernel refused to resize the packet";
    AnswerArp = "ANSWER_ARP": "ARP request for a VIP that is announced: answered";
    AnswerNeighbour = "ANSWER_NEIGHBOUR": "neighbour solicitation for a VIP that is announced: answered";
    AnswerEcho = "ANSWER_ECHO": "ICMP echo request to a VIP: answered";
    DropClash = "DROP_CLASH": "would open a connection, but the client's address and port have another one to the same server (dnat)";
    DropSecurityGroup = "DROP_SECURITY_GROUP": "from a client that the security groups of the load balancer do not allow";
}

/// The number of verdicts.
pub const COUNT: u32 = Verdict::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions_and_names_start_with_the_action() {
        for (position, &verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(verdict as usize, position);
            let action = verdict.name().split('_').next();
            assert!(
                matches!(action, Some("PASS" | "FORWARD" | "REPLY" | "RESET" | "ANSWER" | "DROP")),
                "{}",
                verdict.name()
            );
            assert!(!verdict.meaning().is_empty());
        }
    }
}
