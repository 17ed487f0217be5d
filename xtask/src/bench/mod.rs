//! `cargo xtask bench`: measures, compares with a bar, and writes `docs/benchmarks.md`.
//!
//! A figure that counts is a ratio to something measured in the same run on the same machine. Each bench owns one
//! section of the page; sections of benches that did not run stay as they are.

mod process;
mod proxy;
mod report;

use anyhow::{Result, bail};
use std::path::Path;

/// Benches by name, in the order of the page.
const NAMES: [&str; 1] = ["proxy"];

/// How thoroughly to measure.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    seconds: u32,
}

const USUAL: Effort = Effort { rounds: 3, seconds: 6 };
/// For a look in between; its figures are not written to the page.
const QUICK: Effort = Effort { rounds: 1, seconds: 2 };

/// One figure that has a bar.
struct Verdict {
    what: &'static str,
    figure: f64,
    /// The highest figure that passes.
    bar: f64,
}

/// What one bench gives: the text of its section and the figures to check.
struct Outcome {
    text: String,
    verdicts: Vec<Verdict>,
}

/// Runs the named benches, all without a name. False: `--check` was given and a bar was missed.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool> {
    let (mut check, mut effort, mut names) = (false, USUAL, Vec::new());
    for argument in arguments {
        match *argument {
            "--check" => check = true,
            "--quick" => effort = QUICK,
            name if NAMES.contains(&name) => names.push(name),
            other => bail!(
                "unknown bench or flag '{other}'; benches: {}; flags: --check --quick",
                NAMES.join(", ")
            ),
        }
    }
    if names.is_empty() {
        names.extend(NAMES);
    }
    let mut met = true;
    for name in names {
        let outcome = match name {
            "proxy" => proxy::run(root, effort)?,
            other => bail!("bench '{other}' has no code"),
        };
        println!("{}", outcome.text);
        for verdict in &outcome.verdicts {
            let passed = verdict.figure <= verdict.bar;
            let word = if passed { "meets" } else { "MISSES" };
            println!("{}: {:.2} {word} the bar of {:.2}", verdict.what, verdict.figure, verdict.bar);
            met &= passed;
        }
        if effort.rounds >= USUAL.rounds {
            report::write(root, name, &outcome)?;
        }
    }
    Ok(met || !check)
}
