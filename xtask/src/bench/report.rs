//! The page `docs/benchmarks.md`: one section per bench, replaced as a whole when the bench has run.

use super::scaling::File;
use super::{NAMES, Outcome, against};
use crate::facts::Facts;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;

const OPENING: &str = "# Benchmarks\n\nWritten by `cargo xtask bench`, the section `proofs` by `cargo xtask ci --all`; each of \
                       these says when, where and of which commit it is. The section `steps`, where there is one, is \
                       written by hand. Figures are compared within one run only.\n";

/// Each step of optimisation and its effect, by hand: nothing here writes it, and no bench takes it away.
const STEPS: &str = "steps";

/// What the proofs drew and how much they did: the long list's section among those of the benches.
const PROOFS: &str = "proofs";

/// Replaces the section of the proofs.
pub(crate) fn write_proofs(root: &Path, facts: &Facts, lines: &str) -> Result<()> {
    let Facts { commit, date, machine } = facts;
    let text = format!("`cargo xtask ci --all` · {date} · commit {commit} · {machine}\n\n{lines}");
    replace(root, PROOFS, &text)
}

/// Replaces the section of this name. `load` is the machine's load average when its bench began.
pub(super) fn write(root: &Path, name: &str, outcome: &Outcome, facts: &Facts, load: &str) -> Result<()> {
    replace(root, name, &section(name, outcome, facts, load)?)
}

/// Replaces files that a section shows.
pub(super) fn write_files(root: &Path, files: &[File]) -> Result<()> {
    let directory = root.join("docs/benchmarks");
    for file in files {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(&file.name), &file.text)
            .with_context(|| format!("cannot write docs/benchmarks/{}", file.name))?;
    }
    Ok(())
}

fn replace(root: &Path, name: &str, section: &str) -> Result<()> {
    let path = root.join("docs/benchmarks.md");
    let old = match std::fs::read_to_string(&path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("cannot read docs/benchmarks.md"),
    };
    std::fs::write(&path, page(&old, name, section)).context("cannot write docs/benchmarks.md")
}

fn section(name: &str, outcome: &Outcome, facts: &Facts, load: &str) -> Result<String> {
    let Facts { commit, date, machine } = facts;
    let mut text = format!(
        "`cargo xtask bench {name}` · {date} · commit {commit} · {machine}, load average {load} before, {} after\n\n\
         {}\n",
        load_average(),
        outcome.text.trim_end(),
    );
    for verdict in &outcome.verdicts {
        let word = if verdict.figure <= verdict.bar { "met" } else { "**missed**" };
        write!(text, "\nBar: {} ≤ {:.2}: {:.2}, {word}.\n", verdict.what, verdict.bar, verdict.figure)?;
    }
    Ok(text)
}

/// Runnable tasks in the last minute, as the kernel says it: figures of a busy machine are of little use.
pub(super) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().filter(|word| !word.is_empty()).unwrap_or("unknown").to_owned()
}

/// The old page with this section in its place. Sections are found by their headings, so nothing else of the old
/// page survives.
fn page(old: &str, name: &str, section: &str) -> String {
    let mut page = OPENING.to_owned();
    for known in NAMES.into_iter().chain([against::SECTION, STEPS, PROOFS]) {
        let text = if known == name { Some(section) } else { find(old, known) };
        if let Some(text) = text {
            page += &format!("\n## {known}\n\n{}\n", text.trim());
        }
    }
    page
}

fn find<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n## {name}\n"))?;
    Some(rest.split_once("\n## ").map_or(rest, |(section, _)| section))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_as_a_whole() {
        let first = page("", "proxy", "one\n");
        assert!(first.starts_with(OPENING) && first.ends_with("\n## proxy\n\none\n"));
        assert_eq!(find(&first, "proxy").map(str::trim), Some("one"));
        let second = page(&first, "proxy", "two");
        assert!(second.contains("two") && !second.contains("one\n"));
        let third = page(&second, PROOFS, "- SEED: 7\n");
        assert!(third.contains("\n## proxy\n\ntwo\n") && third.ends_with("\n## proofs\n\n- SEED: 7\n"));
        let steps = "Each by `perf`.\n\n### a step\n\n| before | after |\n|---|---|\n| 2 | 1 |";
        let by_hand = third.replace("\n## proofs\n", &format!("\n## {STEPS}\n\n{steps}\n\n## proofs\n"));
        let fourth = page(&page(&by_hand, against::SECTION, "three"), "proxy", "four");
        let behind =
            format!("## {}\n\nthree\n\n## steps\n\n{steps}\n\n## proofs\n\n- SEED: 7\n", against::SECTION);
        assert_eq!(fourth, format!("{OPENING}\n## proxy\n\nfour\n\n{behind}"));
        assert_eq!(find("\n## proxy\n\na\n\n## next\n\nb\n", "proxy").map(str::trim), Some("a"));
    }
}
