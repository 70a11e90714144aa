//! Killing the agent in a test: in front of any write to a map.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

/// What unwinds out of a killed agent.
struct Killed;

thread_local! {
    /// How many more writes this thread's agent lives for.
    static WRITES_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// In front of a write.
pub(super) fn point() {
    WRITES_LEFT.with(|left| match left.get() {
        Some(0) => resume_unwind(Box::new(Killed)),
        Some(writes) => left.set(Some(writes - 1)),
        None => {}
    });
}

/// Runs an agent that is killed in front of its write number `writes`; `false`: it had fewer to make.
pub(in crate::datapath::aya) fn before_write(writes: u32, agent: impl FnOnce()) -> bool {
    WRITES_LEFT.set(Some(writes));
    let ended = catch_unwind(AssertUnwindSafe(agent));
    WRITES_LEFT.set(None);
    match ended {
        Ok(()) => false,
        Err(panic) if panic.is::<Killed>() => true,
        Err(panic) => resume_unwind(panic),
    }
}
