use crate::model::OnDrainExpiry;

/// What the datapath does with a backend. Two questions tell the phases apart:
///
/// | phase    | new connections?           | established ones?      |
/// |----------|----------------------------|------------------------|
/// | Active   | if healthy (or failing open) | go on                |
/// | Draining | no                         | go on                  |
/// | Expired  | no                         | end, as the mode says  |
/// | Gone     | no                         | there are none         |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It stays. Whether it gets new connections now is for its health to say: that decision spans the whole
    /// service, which may fail open.
    Active,
    /// It is leaving.
    Draining {
        /// When it expires: milliseconds since the Unix epoch.
        deadline_ms: u64,
        /// How established connections end then.
        expiry: OnDrainExpiry,
    },
    /// Its time is over.
    Expired(OnDrainExpiry),
    /// Nothing needs it any more: the datapath may forget it.
    Gone,
}

impl Phase {
    /// Whether it may get new connections, as far as draining goes.
    pub fn takes_new(self) -> bool {
        match self {
            Self::Active => true,
            Self::Draining { .. } | Self::Expired(_) | Self::Gone => false,
        }
    }

    /// Whether established connections go on.
    pub fn keeps_established(self) -> bool {
        match self {
            Self::Active | Self::Draining { .. } => true,
            Self::Expired(_) | Self::Gone => false,
        }
    }
}
