//! What the compiler does not check: who may depend on whom, that generated files are fresh, that every
//! file says what it is for, stays short, and holds nothing unfinished.

mod edges;
mod text;

use crate::codegen;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Directories that hold nothing of the project's own.
const FOREIGN: &[&str] = &["target", ".git", ".apron", "node_modules", "__pycache__", ".venv"];

/// One thing that is not as it should be: where, and what would be right.
pub(crate) struct Problem {
    path: String,
    text: String,
}

impl Problem {
    fn new(path: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem { path: path.into(), text: text.into() }
    }
}

/// Prints every problem; fails if there is one.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = files(root)?;
    let mut problems = edges::check(root)?;
    problems.extend(text::check(root, &files)?);
    problems.extend(stale(root)?);
    for problem in &problems {
        println!("{}: {}", problem.path, problem.text);
    }
    match problems.len() {
        0 => {
            println!("{} files are tidy", files.len());
            Ok(())
        }
        1 => bail!("1 thing is not tidy"),
        n => bail!("{n} things are not tidy"),
    }
}

fn stale(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for file in codegen::generate(root)? {
        if std::fs::read_to_string(&file.path).ok().as_deref() != Some(&file.text) {
            let path = relative(root, &file.path);
            problems.push(Problem::new(path, "is not what specs/ says: run cargo xtask codegen"));
        }
    }
    Ok(problems)
}

/// Every file of the project, sorted.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut open = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            if kind.is_dir() && !FOREIGN.iter().any(|f| name == *f) {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A path below the root, with slashes, for messages.
fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
