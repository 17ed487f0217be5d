//! `cargo xtask bench`: measures, compares with a bar, and writes `docs/benchmarks.md`.
//!
//! A figure that counts is compared with something measured in the same run on the same machine, or is far from
//! noise. Each bench owns one section of the page; sections of benches that did not run stay as they are.
//! All but `proxy` need root: they run a real platform (`platform.rs`) or a real PostgreSQL.

mod against;
mod api;
mod asks;
mod build;
mod burst;
mod deploy;
mod idle;
mod instance;
mod instances;
mod interrupt;
mod lists;
mod load;
mod many;
mod ours;
mod platform;
mod process;
mod proxy;
mod report;
mod rollout;
mod scaling;
mod spread;
mod thousand;
mod verbs;

pub(crate) use report::write_proofs;

use crate::facts;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Benches by name, in the order of the page.
const NAMES: [&str; 13] = [
    "instance", "idle", "burst", "many", "thousand", "scaling", "deploy", "verbs", "rollout", "api", "lists",
    "build", "proxy",
];

/// How thoroughly to measure.
#[derive(Clone, Copy)]
struct Effort {
    /// Of what takes long: a load on each proxy, a build.
    rounds: usize,
    /// Of one load.
    seconds: u32,
    /// Starts of an instance, deployments of an image.
    starts: usize,
    /// Deployments in a row while requests come.
    rollouts: usize,
    /// Of a platform that is watched while nothing happens.
    minutes: u32,
    /// A trace of loads is so many times as soon over on a real platform.
    speed: u32,
}

const USUAL: Effort = Effort { rounds: 3, seconds: 6, starts: 20, rollouts: 100, minutes: 10, speed: 2 };
/// For a look in between; its figures are not written to the page.
const QUICK: Effort = Effort { rounds: 1, seconds: 2, starts: 3, rollouts: 5, minutes: 1, speed: 4 };

/// One figure that has a bar.
struct Verdict {
    what: String,
    figure: f64,
    /// The highest figure that passes.
    bar: f64,
}

impl Verdict {
    fn new(what: impl Into<String>, figure: f64, bar: f64) -> Verdict {
        Verdict { what: what.into(), figure, bar }
    }
}

/// What one bench gives: the text of its section and the figures to check.
struct Outcome {
    text: String,
    verdicts: Vec<Verdict>,
}

impl Outcome {
    /// One section of several parts.
    fn of(parts: Vec<Outcome>) -> Outcome {
        let texts: Vec<&str> = parts.iter().map(|part| part.text.trim_end()).collect();
        let text = texts.join("\n\n");
        Outcome { text, verdicts: parts.into_iter().flat_map(|part| part.verdicts).collect() }
    }
}

/// Runs the named benches, all without a name. False: `--check` or `--against` was given and a bar was missed.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool> {
    let (mut check, mut effort, mut names) = (false, USUAL, Vec::new());
    let mut script: Option<PathBuf> = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--check" => check = true,
            "--quick" => effort = QUICK,
            "--against" => {
                let path = arguments.next().context("--against needs the path of a script")?;
                script = Some(std::path::absolute(path)?);
            }
            name if NAMES.contains(&name) => names.push(name),
            other => bail!(
                "unknown bench or flag '{other}'; benches: {}; flags: --check --quick --against FILE.py",
                NAMES.join(", ")
            ),
        }
    }
    if names.is_empty() {
        names.extend(NAMES);
    }
    if script.is_some() && !names.contains(&"proxy") {
        bail!("--against goes with the bench proxy");
    }
    check |= script.is_some();
    interrupt::watch()?;
    // Once: what the first bench measured is of the same tree as what the last one did.
    let facts = facts::take(root)?;
    let mut met = true;
    for name in names {
        let load = report::load_average();
        let (mut outcomes, mut files) = (Vec::new(), Vec::new());
        match name {
            "instance" => outcomes.push((name, instance::run(root, effort)?)),
            "idle" => outcomes.push((name, idle::run(root, effort)?)),
            "burst" => outcomes.push((name, burst::run(root, effort)?)),
            "many" => outcomes.push((name, many::run(root, effort)?)),
            "thousand" => outcomes.push((name, thousand::run(root, effort)?)),
            "scaling" => {
                let (outcome, plots) = scaling::run(root, effort)?;
                outcomes.push((name, outcome));
                files = plots;
            }
            "deploy" => outcomes.push((name, deploy::run(root, effort)?)),
            "verbs" => outcomes.push((name, verbs::run(root, effort)?)),
            "rollout" => outcomes.push((name, rollout::run(root, effort)?)),
            "api" => outcomes.push((name, api::run(root, effort)?)),
            "lists" => outcomes.push((name, lists::run(root, effort)?)),
            "build" => outcomes.push((name, build::run(root, effort)?)),
            "proxy" => {
                proxy::find_programs()?;
                let program = platform::binary(root)?;
                let (outcome, compared) = proxy::run(root, &program, effort)?;
                outcomes.push((name, outcome));
                if let Some(script) = &script {
                    let outcome = against::run(root, &program, script, effort, &compared)?;
                    outcomes.push((against::SECTION, outcome));
                }
            }
            other => bail!("bench '{other}' has no code"),
        }
        let is_for_the_page = effort.rounds >= USUAL.rounds;
        for (section, outcome) in &outcomes {
            println!("{}", outcome.text);
            for verdict in &outcome.verdicts {
                let passed = verdict.figure <= verdict.bar;
                let word = if passed { "meets" } else { "MISSES" };
                println!("{}: {:.2} {word} the bar of {:.2}", verdict.what, verdict.figure, verdict.bar);
                met &= passed;
            }
            if is_for_the_page {
                report::write(root, section, outcome, &facts, &load)?;
            }
        }
        if is_for_the_page {
            report::write_files(root, &files)?;
        }
    }
    Ok(met || !check)
}
