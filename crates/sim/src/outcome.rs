//! How walks end.

use crate::counts::{Counts, IN_ALL};
use std::fmt;

/// How a walk ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The same for two walks in which the same happened.
    pub history: u64,
    /// Lines of that history.
    pub events: u64,
    pub counts: Counts,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { history, events, counts } = self;
        let (calls, kills) = (counts.get(IN_ALL, "calls"), counts.get(IN_ALL, "kills"));
        write!(f, "{calls} calls, {kills} kills, {events} events, history {history:016x}")
    }
}

/// What was wrong, where, and what came before it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub step: u64,
    pub reason: String,
    /// The last of what happened, a line each.
    pub history: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, step, reason, history } = self;
        write!(f, "seed {seed}, step {step}: {reason}\nWhat came before:\n{history}")?;
        write!(f, "cargo run -p sim -- --seed {seed} repeats it")
    }
}
