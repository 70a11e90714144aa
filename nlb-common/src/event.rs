//! What the datapath does that is no packet's verdict but that somebody wants to know of: every event has a number, a
//! name and a counter.

/// Declares the events in the order of their numbers.
macro_rules! events {
    ($($variant:ident = $name:literal: $meaning:literal;)*) => {
        /// Something that happened beside a packet's verdict. The number is the index of its counter.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $(#[doc = $meaning] $variant,)*
        }

        impl Event {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in counters and docs.
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

events! {
    PersistenceOverriddenGone = "PERSISTENCE_OVERRIDDEN_GONE": "a client got another server than its persistence entry said: that one was removed";
    PersistenceOverriddenDraining = "PERSISTENCE_OVERRIDDEN_DRAINING": "a client got another server than its persistence entry said: that one is draining";
    PersistenceOverriddenDisabled = "PERSISTENCE_OVERRIDDEN_DISABLED": "a client got another server than its persistence entry said: that one is disabled";
    PersistenceOverriddenUnhealthy = "PERSISTENCE_OVERRIDDEN_UNHEALTHY": "a client got another server than its persistence entry said: that one is unhealthy";
    PersistenceOverriddenWeight = "PERSISTENCE_OVERRIDDEN_WEIGHT": "a client got another server than its persistence entry said: that one has weight 0";
    PersistenceFull = "PERSISTENCE_FULL": "no room in the persistence table: a new client was balanced without an entry";
    FlowUnrecorded = "FLOW_UNRECORDED": "no room in the flow table's set: a flow was balanced by the consistent hash without an entry";
    HalfOpenEvicted = "HALF_OPEN_EVICTED": "a half-open flow's entry was given to a newer one";
    SynUnrecorded = "SYN_UNRECORDED": "no room for half-open flows, as in a SYN flood: a SYN was balanced by the consistent hash without an entry";
    FlowEvicted = "FLOW_EVICTED": "the entry of a closed or idle flow was reused";
    ConnEvicted = "CONN_EVICTED": "a half-open connection's SNAT port was given to a newer one";
    SnatExhausted = "SNAT_EXHAUSTED": "a SNAT address had no free port for a new connection: another address was tried, if there is one";
}

/// The number of events.
pub const COUNT: u32 = Event::ALL.len() as u32;

impl Event {
    /// The event that goes with why a persistence entry's backend gets no new connections; one of
    /// [`crate::abi::backend::eligibility`].
    #[inline(always)]
    pub const fn overridden(eligibility: u32) -> Self {
        use crate::abi::backend::eligibility::{DISABLED, DRAINING, UNHEALTHY, WEIGHT};
        match eligibility {
            DRAINING => Self::PersistenceOverriddenDraining,
            DISABLED => Self::PersistenceOverriddenDisabled,
            UNHEALTHY => Self::PersistenceOverriddenUnhealthy,
            WEIGHT => Self::PersistenceOverriddenWeight,
            _ => Self::PersistenceOverriddenGone,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn numbers_are_positions_and_names_spell_the_variants() {
        for (position, &event) in Event::ALL.iter().enumerate() {
            assert_eq!(event as usize, position);
            let spelled: String = event.name().split('_').map(capitalised).collect();
            assert_eq!(spelled, std::format!("{event:?}"));
            assert!(!event.meaning().is_empty());
        }
    }

    fn capitalised(word: &str) -> String {
        let (first, rest) = word.split_at(1);
        first.chars().chain(rest.to_lowercase().chars()).collect()
    }
}
