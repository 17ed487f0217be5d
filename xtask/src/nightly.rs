//! The long list: what CI is too short for. It writes `docs/nightly.md` itself, with commit and date, so that
//! the page says what was run and nothing else.

use crate::ci::{self, Count, Stage};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Adds the long list to the stages that have run, and writes the page.
pub(crate) fn run(root: &Path, stages: &mut Vec<Stage>, short: Count) -> Result<()> {
    let mut long = Count::default();
    ci::stage(stages, "long tests", || ci::tests(root, &["--ignored"], &mut long));
    ci::stage(stages, "demo", || ci::command(root, "scripts/demo", &["--check"]));
    ci::stage(stages, "vm", || crate::vm::run(root));
    ci::stage(stages, "bench", || ci::command(root, &crate::cargo(), &["xtask", "bench", "--check"]));
    let page = page(&facts(root)?, stages, short, long)?;
    std::fs::write(root.join("docs/nightly.md"), page).context("cannot write docs/nightly.md")
}

/// Where and when the list was run.
struct Facts {
    commit: String,
    date: String,
    machine: String,
}

fn facts(root: &Path) -> Result<Facts> {
    let commit = output(root, "git", &["rev-parse", "HEAD"])?;
    let changed = !output(root, "git", &["status", "--porcelain"])?.is_empty();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(Facts {
        commit: if changed { format!("{commit}, with changes") } else { commit },
        date: output(root, "date", &["--utc", "+%Y-%m-%d %H:%M UTC"])?,
        machine: format!("{cores} cores, {}", output(root, "uname", &["-srm"])?),
    })
}

fn output(root: &Path, program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    anyhow::ensure!(output.status.success(), "{program} {} failed", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn page(facts: &Facts, stages: &[Stage], short: Count, long: Count) -> Result<String> {
    let mut page = String::from("# The long list\n\nWritten by `cargo xtask ci --all`.\n\n");
    writeln!(page, "- Commit: {}\n- Date: {}\n- Machine: {}\n", facts.commit, facts.date, facts.machine)?;
    writeln!(page, "| stage | result | time |\n|---|---|---|")?;
    for s in stages {
        let result = if s.passed { "passed" } else { "**failed**" };
        writeln!(page, "| {} | {result} | {} |", s.name, ci::human(s.seconds))?;
    }
    writeln!(page, "\nTests: {} passed, {} failed.", short.passed, short.failed)?;
    writeln!(page, "Long tests: {} passed, {} failed.", long.passed, long.failed)?;
    writeln!(page, "The figures of the benchmark are in [benchmarks.md](benchmarks.md).")?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_ran() {
        let facts =
            Facts { commit: "abc".into(), date: "2026-01-31 10:00 UTC".into(), machine: "2 cores".into() };
        let stages = [
            Stage { name: "demo".into(), seconds: 61.2, passed: true },
            Stage { name: "bench".into(), seconds: 2.0, passed: false },
        ];
        let count = |passed, failed| Count { passed, failed, ignored: 0 };
        let page = page(&facts, &stages, count(300, 1), count(4, 0)).unwrap();
        for line in [
            "- Commit: abc\n",
            "| demo | passed | 1 min 1 s |",
            "| bench | **failed** | 2.0 s |",
            "Tests: 300 passed, 1 failed.",
            "Long tests: 4 passed, 0 failed.",
        ] {
            assert!(page.contains(line), "{line}");
        }
    }
}
