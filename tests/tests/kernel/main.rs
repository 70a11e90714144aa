//! The kernel tier: the real program, on packets of our making, through `BPF_PROG_TEST_RUN`.
//!
//! A row is a packet in, and its action, its verdict's counter and the packet out. What comes out is read by
//! etherparse, a parser that shares no code with the program or with what builds the packets.
//!
//! One verdict cannot be had in a test run: `DROP_INTERNAL`, for which the kernel would have to refuse room in front
//! of a packet, or to shorten one. Nor can frames without a whole Ethernet header, which it does not take; damaged
//! ones there are enough. [`coverage`] has a packet for each of the other verdicts.
#![expect(clippy::unwrap_used, reason = "what helps a test fails as a test does")]

mod announce;
mod bench;
mod captures;
mod clear;
mod connection;
mod coverage;
mod crowd;
mod dnat;
mod draining;
mod echo;
mod expiry;
mod fib;
mod flows;
mod fragments;
mod guard;
mod history;
mod image;
mod life;
mod load;
mod loaded;
mod mtu;
mod parsed;
mod paths;
mod pcap;
mod pools;
mod ports;
mod recount;
mod refusals;
mod resets;
mod restart;
mod scene;
mod schedule;
mod time;
mod tunnel;
