//! What files say: their opening, their length, and words that mean something is unfinished.

use super::{Problem, relative};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Past this a file holds a second noun.
const LINES_MAX: usize = 600;
/// Longer files, each with the most lines it may have. The list only shrinks.
const LONG: &[(&str, usize)] = &[];
/// What the generator writes may be long.
const GENERATED: &str = "crates/wire/src/generated/";

/// Whole words that mark something unfinished or forgotten. Put together here, so that this file is not found.
const BANNED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!"),
];

/// Files that are written by people and are text. Names without a dot are scripts.
const WRITTEN: &[&str] = &["rs", "py", "sh", "js", "md", "toml", "yaml", "yml", "html", "sql"];

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for file in files {
        let path = relative(root, file);
        let extension = file.extension().map(|e| e.to_string_lossy().into_owned());
        let is_script = extension.is_none() && (path.starts_with("scripts/") || path.starts_with(".ci/"));
        if !is_script && !extension.as_deref().is_some_and(|e| WRITTEN.contains(&e)) {
            continue;
        }
        let text = std::fs::read_to_string(file)?;
        problems.extend(check_file(&path, &text).into_iter().map(|p| Problem::new(&path, p)));
    }
    for (path, _) in LONG {
        if !files.iter().any(|file| relative(root, file) == *path) {
            problems.push(Problem::new(*path, "is gone: take it from the list in xtask/src/tidy/text.rs"));
        }
    }
    Ok(problems)
}

fn check_file(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in BANNED.iter().filter(|word| has_word(line, word)) {
            problems.push(format!("line {}: {word} is not for the repository", number + 1));
        }
    }
    if !path.ends_with(".rs") {
        return problems;
    }
    // The name of a module of unit tests says what it is for.
    if !opens_with_doc(text) && !path.ends_with("/tests.rs") {
        problems.push("does not open with a //! comment that says what it is for".to_owned());
    }
    let lines = text.lines().count();
    match LONG.iter().find(|(long, _)| *long == path) {
        Some((_, most)) if lines > *most => problems.push(format!("has grown to {lines} lines, past {most}")),
        Some(_) if lines <= LINES_MAX => {
            problems.push("is short now: take it from the list in xtask/src/tidy/text.rs".to_owned());
        }
        None if lines > LINES_MAX && !path.starts_with(GENERATED) => {
            problems.push(format!("has {lines} lines, past {LINES_MAX}: look for the second noun"));
        }
        _ => {}
    }
    problems
}

/// Whether the first line that is neither empty nor an attribute is a module comment.
fn opens_with_doc(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    first.is_some_and(|line| line.starts_with("//!"))
}

/// Whether `word` stands in the line and is not part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let ends_open = word.ends_with('!') || !part_of_word(line[at + word.len()..].chars().next());
        ends_open && !part_of_word(line[..at].chars().next_back())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_words_are_found() {
        for word in BANNED {
            assert_eq!(check_file("a.md", &format!("one\n// {word}(x): y")).len(), 1, "{word}");
            assert_eq!(check_file("a.md", &format!("my{word}")).len(), 0, "{word}");
        }
    }

    #[test]
    fn openings_and_lengths_are_checked() {
        assert_eq!(check_file("a.rs", "//! Says why.\n").len(), 0);
        assert_eq!(check_file("a.rs", "\n#![no_main]\n//! Says why.\n").len(), 0);
        assert_eq!(check_file("a.rs", "fn f() {}\n//! Too late.\n").len(), 1);
        assert_eq!(check_file("a.rs", "").len(), 1);
        assert_eq!(check_file("src/manifest/tests.rs", "use super::*;").len(), 0);
        let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(check_file("a.rs", &long).len(), 1);
        assert_eq!(check_file(&format!("{GENERATED}a.rs"), &long).len(), 0);
        assert_eq!(check_file("a.md", &long).len(), 0);
    }
}
