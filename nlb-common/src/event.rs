//! What happens beside a packet's verdict: every event has a number, a name and a counter.

/// Declares the events in the order of their numbers.
macro_rules! events {
    ($($variant:ident = $name:literal: $meaning:literal;)*) => {
        /// Something that is counted. The number is the index of its counter.
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
    PersistenceOverriddenGone = "PERSISTENCE_OVERRIDDEN_GONE": "a client's server is not configured any more: another one was picked";
    PersistenceOverriddenDraining = "PERSISTENCE_OVERRIDDEN_DRAINING": "a client's server drains: another one was picked";
    PersistenceOverriddenDisabled = "PERSISTENCE_OVERRIDDEN_DISABLED": "a client's server is disabled: another one was picked";
    PersistenceOverriddenUnhealthy = "PERSISTENCE_OVERRIDDEN_UNHEALTHY": "a client's server is unhealthy: another one was picked";
    PersistenceOverriddenWeight = "PERSISTENCE_OVERRIDDEN_WEIGHT": "a client's server has weight 0: another one was picked";
    PersistenceFull = "PERSISTENCE_FULL": "no room to remember a new client's server: it was balanced without an entry";
    FlowUnrecorded = "FLOW_UNRECORDED": "no room for a new flow: it was balanced by the consistent hash without an entry";
    HalfOpenEvicted = "HALF_OPEN_EVICTED": "a half-open flow made room for a newer one";
    FlowEvicted = "FLOW_EVICTED": "the entry of a flow that was closed or idle past its timeout was taken for a new one";
    ConnEvicted = "CONN_EVICTED": "the SNAT port of a half-open connection was taken for a newer one";
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
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (position, &event) in Event::ALL.iter().enumerate() {
            assert_eq!(event as usize, position);
            assert!(!event.meaning().is_empty() && !event.name().is_empty());
        }
    }
}
