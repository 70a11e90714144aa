//! What happens to a backend that leaves: pure, with the time as an argument.
//!
//! [`Drains`] decides the [`Phase`] of every backend; a [`Drain`] is what it has to remember across a
//! restart.

mod drains;
mod phase;

use serde::{Deserialize, Serialize};

pub use self::{
    drains::{Changes, Drains},
    phase::Phase,
};
use crate::{
    health::Health,
    model::{AdminState, DrainTime, OnDrainExpiry, OnUnhealthy},
};

/// A configured backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What the operator says about the server.
    pub admin_state: AdminState,
    /// The health in force: a service that fails open takes all its servers for usable.
    pub health: Health,
    /// How long its established connections go on when it leaves.
    pub drain_time: DrainTime,
    /// How they end then.
    pub on_drain_expiry: OnDrainExpiry,
    /// What becomes of them when it turns unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// Whether a listener refers to its service; without one it leaves as if it were removed.
    pub listened: bool,
}

/// A backend that the datapath holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownBackend {
    /// Half-open and established connections.
    pub active_connections: u64,
}

/// A backend that is leaving; kept in the store, so that a restart does not lengthen the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When it began: milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// How long established connections go on, if the cause lets them.
    pub drain_time: DrainTime,
    /// How they end.
    pub expiry: OnDrainExpiry,
    /// Why the backend leaves.
    pub cause: Cause,
}

/// Why a backend leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It is not configured any more, or no listener leads to it.
    Removed,
    /// The operator drains it.
    Draining,
    /// The operator disabled it: established connections end at once.
    Disabled,
    /// It is unhealthy, and its service resets connections then: they end at once.
    Unhealthy,
}

impl Cause {
    /// Whether established connections go on for the draining time.
    fn is_gradual(self) -> bool {
        match self {
            Self::Removed | Self::Draining => true,
            Self::Disabled | Self::Unhealthy => false,
        }
    }
}

impl Drain {
    /// When established connections end: milliseconds since the Unix epoch.
    pub fn deadline_ms(&self) -> u64 {
        let Self { started_ms, drain_time, expiry: _, cause } = *self;
        if cause.is_gradual() {
            started_ms.saturating_add(millis(drain_time.as_duration()))
        } else {
            started_ms
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
