//! What happened in a walk: all of it as one number, by which two walks are compared, and the last of it as lines.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Lines that a failure shows.
const LINES_MAX: usize = 80;

#[derive(Default)]
pub(crate) struct History {
    hasher: DefaultHasher,
    lines: VecDeque<String>,
    count: u64,
}

impl History {
    pub(crate) fn note(&mut self, line: impl Into<String>) {
        let line = line.into();
        line.hash(&mut self.hasher);
        self.count += 1;
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Something that would only fill the lines.
    pub(crate) fn hash_only(&mut self, line: &str) {
        line.hash(&mut self.hasher);
    }

    /// The same for two walks in which the same happened.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// How much happened.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> String {
        self.lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}
