//! One thing the machine must have, and the line that tells about it.

use std::fmt;

/// One thing the machine must have.
pub(super) struct Item {
    /// Its name, at most [`NAME_WIDTH`] characters.
    pub(super) name: &'static str,
    pub(super) state: State,
}

/// What became of it.
pub(super) enum State {
    /// It was there.
    Found(String),
    /// It was not there; now it is.
    Did(String),
    /// It is not there and cannot be had without the user.
    Missing {
        /// Why not.
        why: String,
        /// What the user has to do: a command line to type, if there is one.
        remedy: String,
    },
}

const NAME_WIDTH: usize = 18;

impl Item {
    pub(super) fn found(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, state: State::Found(what.into()) }
    }

    pub(super) fn did(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, state: State::Did(what.into()) }
    }

    pub(super) fn missing(name: &'static str, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Missing { why: why.into(), remedy: remedy.into() } }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, state } = self;
        match state {
            State::Found(what) => write!(f, "found    {name:NAME_WIDTH$}  {what}"),
            State::Did(what) => write!(f, "did      {name:NAME_WIDTH$}  {what}"),
            State::Missing { why, remedy } => write!(f, "missing  {name:NAME_WIDTH$}  {why}; type: {remedy}"),
        }
    }
}
