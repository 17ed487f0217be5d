//! What the compiler does not check: who may depend on whom and does, who may start programs, that generated files
//! are fresh, that every example is deployed by a test and every part of the long list is there, that every file says
//! what it is for, stays short, and holds nothing unfinished.

mod dependencies;
mod edges;
mod programs;
mod text;

use crate::{codegen, nightly};
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
    let members = members(root, &files);
    let mut problems = edges::check(root, &members)?;
    problems.extend(dependencies::check(root, &members, &files)?);
    problems.extend(programs::check(root, &files)?);
    problems.extend(examples(root)?);
    problems.extend(parts(&files)?);
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

/// The directories of the workspace's members, from the root.
fn members(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let manifests = files.iter().filter(|file| file.ends_with("Cargo.toml"));
    let members = manifests.filter_map(|file| Some(relative(root, file.parent()?)));
    // Those of tests are workspaces of their own.
    members.filter(|member| !member.is_empty() && !member.starts_with("tests/")).collect()
}

/// Every example stands in the table for people, and its name in the test that deploys all of them.
fn examples(root: &Path) -> Result<Vec<Problem>> {
    const TEST: &str = "crates/app/tests/e2e/e10_examples.rs";
    const TABLE: &str = "examples/README.md";
    let (test, table) =
        (std::fs::read_to_string(root.join(TEST))?, std::fs::read_to_string(root.join(TABLE))?);
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(root.join("examples"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() {
            continue;
        }
        if !table.contains(&format!("`{name}`")) {
            problems.push(Problem::new(TABLE, format!("does not name {name}")));
        }
        if !test.contains(&format!("\"{name}\"")) && !test.contains(&format!("examples/{name}/")) {
            problems.push(Problem::new(TEST, format!("does not deploy examples/{name}")));
        }
    }
    Ok(problems)
}

/// What the long list is to hold is there, so that a test that is renamed is missed before the next long list.
fn parts(files: &[PathBuf]) -> Result<Vec<Problem>> {
    let sources = files.iter().filter(|file| file.extension().is_some_and(|e| e == "rs"));
    let sources: Vec<String> = sources.map(std::fs::read_to_string).collect::<Result<_, _>>()?;
    let missing =
        nightly::functions().filter(|name| !sources.iter().any(|text| text.contains(&format!("fn {name}("))));
    Ok(missing.map(|name| Problem::new("xtask/src/nightly.rs", format!("there is no test {name}"))).collect())
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
