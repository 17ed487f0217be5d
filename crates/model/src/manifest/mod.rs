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
        Err(problem) => (None, vec![mistake(text, problem.at).unwrap_or(problem)]),
    };
    problems.sort_by_key(|p| (p.at, p.severity));
    let refused = problems.iter().any(|p| p.severity == Severity::Error);
    (manifest.filter(|_| !refused), problems)
}

/// What a person did when the parser `stopped`: it says so in its own words and often of another place.
fn mistake(text: &str, stopped: Position) -> Option<Problem> {
    let (at, message) =
        tab(text).or_else(|| stray_word(text, stopped)).or_else(|| unclosed(text, stopped))?;
    Some(Problem { severity: Severity::Error, at, message: format!("not valid YAML: {message}") })
}

/// Tabs look like indentation and are none.
fn tab(text: &str) -> Option<(Position, String)> {
    let (line, column) = text.lines().enumerate().find_map(|(number, line)| {
        let indentation = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        Some((number as u32 + 1, indentation.find('\t')? as u32 + 1))
    })?;
    Some((Position { line, column }, "a tab in the indentation; expected spaces".to_owned()))
}

/// The end mark of a here-document that went into the file with its text.
fn stray_word(text: &str, stopped: Position) -> Option<(Position, String)> {
    let (number, last) = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).last()?;
    let line = number as u32 + 1;
    let word = last.trim_end();
    let is_word = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let message = format!("{word:?} stands alone; expected `key: value` or the end of the file");
    (is_word && stopped.line >= line).then_some((Position { line, column: 1 }, message))
}

/// A quote that begins where the parser stopped, or the last bracket that is open there.
fn unclosed(text: &str, stopped: Position) -> Option<(Position, String)> {
    let lines = || text.lines().zip(1u32..);
    let there = lines().find(|(_, line)| *line == stopped.line).unwrap_or_default().0;
    if let Some(mark @ ('"' | '\'')) = there.chars().nth(stopped.column as usize - 1) {
        return Some((stopped, format!("this quote is not closed; expected another `{mark}`")));
    }
    let mut open = Vec::new();
    for (text, line) in lines().take_while(|(_, line)| *line < stopped.line) {
        let (mut quote, mut before) = (None, '-');
        for (c, column) in text.chars().zip(1u32..) {
            // Within plain words a bracket or a quote is a character like any other.
            let begins = !open.is_empty() || matches!(before, ':' | '-');
            match (quote, c) {
                (Some(mark), _) if mark == c => quote = None,
                (Some(_), _) => {}
                (None, '#') => break,
                (None, '"' | '\'') if begins => quote = Some(c),
                (None, '[') if begins => open.push((Position { line, column }, c, ']')),
                (None, '{') if begins => open.push((Position { line, column }, c, '}')),
                (None, ']' | '}') => drop(open.pop()),
                (None, _) => {}
            }
            before = if c == ' ' { before } else { c };
        }
    }
    let (at, bracket, expected) = open.pop()?;
    Some((at, format!("this `{bracket}` is not closed; expected `{expected}`")))
}

/// The problem with a runtime's name when it is not among `known`: the list, and the near miss if there is one.
pub fn unknown_runtime(name: &str, known: &[&str]) -> String {
    // `node` and `python` are what people call the language.
    let begun = || known.iter().copied().find(|known| !name.is_empty() && known.starts_with(name));
    let near = read::nearest(name, known).or_else(begun);
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("runtime {name:?} is not known here; known runtimes: {}{near}", known.join(", "))
}

#[cfg(test)]
mod tests;
