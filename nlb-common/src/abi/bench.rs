//! What crosses the maps of the benchmark (`cargo xtask bench`). They are never pinned, so
//! [`LAYOUT_VERSION`](super::LAYOUT_VERSION) does not cover them.

pub mod reference;
pub mod traffic;

/// Names of programs and maps, as in the object file.
pub mod name {
    /// The program in front of the measured one.
    pub const WRAPPER: &str = "wrapper";
    /// Drops at once: what the wrapper and the kernel's loop cost by themselves.
    pub const EMPTY: &str = "empty";
    /// Parses, swaps the MAC addresses and sends: what no balancer can be faster than.
    pub const PARSE_TX: &str = "parse_tx";
    /// A balancer of the best known kind of design, for comparison.
    pub const REFERENCE: &str = "reference";

    /// Array of one [`Plan`](super::traffic::Plan).
    pub const PLAN: &str = "PLAN";
    /// Array of one [`State`](super::traffic::State).
    pub const STATE: &str = "STATE";
    /// Program array; slot 0 is the measured program.
    pub const PROGRAMS: &str = "PROGRAMS";

    /// [`ListenerKey`](super::reference::ListenerKey) to 1.
    pub const LISTENERS_V4: &str = "LISTENERS_V4";
    /// [`ListenerKey`](super::reference::ListenerKey) to 1.
    pub const LISTENERS_V6: &str = "LISTENERS_V6";
    /// [`FlowKey`](super::reference::FlowKey) to [`Flow`](super::reference::Flow), LRU.
    pub const FLOWS_V4: &str = "FLOWS_V4";
    /// [`FlowKey`](super::reference::FlowKey) to [`Flow`](super::reference::Flow), LRU.
    pub const FLOWS_V6: &str = "FLOWS_V6";
    /// Array of backend numbers.
    pub const RING: &str = "RING";
    /// Array of [`OuterV4`](super::reference::OuterV4).
    pub const BACKENDS_V4: &str = "BACKENDS_V4";
    /// Array of [`OuterV6`](super::reference::OuterV6).
    pub const BACKENDS_V6: &str = "BACKENDS_V6";
    /// Per-CPU array of `u64`, one for each [`verdict`](super::reference::verdict).
    pub const VERDICTS: &str = "VERDICTS";
}
