//! `apprunner.yaml`: text in, a value and every problem out.
//!
//! The file is written by hand and half of its users need several tries, so a problem says where it is, what
//! was found and what would be right; the known mistakes have messages of their own. Numbers keep their
//! source text: `3.10` is a version, not 3.1. Nothing is read from disk here and nothing fails half way.

mod read;
mod tree;

use crate::limits::MANIFEST_BYTES_MAX;
use std::collections::BTreeMap;
use std::fmt;

/// The name that is read; other names are not.
pub const FILE_NAME: &str = "apprunner.yaml";

/// What the file says, with nothing filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub runtime: Spanned,
    pub build: Build,
    pub run: Run,
}

/// A text and where it stands, for problems that only a later step can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned {
    pub text: String,
    pub at: Position,
}

/// Counted from 1; a column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    pub pre_build: Vec<String>,
    pub build: Vec<String>,
    pub post_build: Vec<String>,
    /// Seen by every build phase and by `pre-run`, never by the running application.
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Source text, e.g. `3.10`.
    pub runtime_version: Option<Spanned>,
    /// Where `pre-run` stands, and its commands.
    pub pre_run: Option<(Position, Vec<String>)>,
    pub command: String,
    pub port: Option<u16>,
    /// `network.env`: a further variable that carries the port.
    pub port_env: Option<String>,
    pub env: BTreeMap<String, String>,
}

/// One thing that is wrong or doubtful in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub at: Position,
    /// What was found, what was expected, what would be right.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    Warning,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Reads the file. The value is there exactly when no problem is an error; problems come in file order.
pub fn parse(text: &str) -> (Option<Manifest>, Vec<Problem>) {
    let start = Position { line: 1, column: 1 };
    if text.len() > MANIFEST_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {MANIFEST_BYTES_MAX} are read", text.len());
        return (None, vec![Problem { severity: Severity::Error, at: start, message }]);
    }
    // An editor's byte order mark is not content.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (manifest, mut problems) = match tree::load(text) {
        Ok(node) => read::manifest(&node),
        Err(problem) => (None, vec![tab_problem(text).unwrap_or(problem)]),
    };
    problems.sort_by_key(|p| (p.at, p.severity));
    let refused = problems.iter().any(|p| p.severity == Severity::Error);
    (manifest.filter(|_| !refused), problems)
}

/// Tabs look like indentation and are none; the parser's own message points elsewhere.
fn tab_problem(text: &str) -> Option<Problem> {
    let (line, column) = text.lines().enumerate().find_map(|(number, line)| {
        let indentation = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        Some((number as u32 + 1, indentation.find('\t')? as u32 + 1))
    })?;
    let message = "not valid YAML: a tab in the indentation; expected spaces".to_owned();
    Some(Problem { severity: Severity::Error, at: Position { line, column }, message })
}

/// The problem with a runtime's name when it is not among `known`: the list, and the near miss if there is one.
pub fn unknown_runtime(name: &str, known: &[&str]) -> String {
    let near = read::nearest(name, known).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
    format!("runtime {name:?} is not known here; known runtimes: {}{near}", known.join(", "))
}

#[cfg(test)]
mod tests;
