//! What a proxy adds to the latency of a handler that waits, at a rate that keeps nobody busy.

use super::super::process::{Directory, Process};
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict};
use super::certificate::Authority;
use super::origin::{self, HANDLER_TIME, Origin};
use super::steady::{self, Plan};
use super::subjects::{self, APRON, Front};
use super::{HOST, PROXY_CPU, Tools};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

const RATE: u32 = 1_000;
/// Milliseconds.
const ADDED_BAR: f64 = 1.0;

/// Milliseconds of one round.
#[derive(Clone, Copy)]
struct Run {
    median: f64,
    p99: f64,
    errors: u64,
}

pub(super) fn run(tools: &Tools, origin: &Origin, authority: &Authority, effort: Effort) -> Result<Outcome> {
    let directory = Directory::new("proxy")?;
    let files = authority.write(&directory, HOST)?;
    let subjects = subjects::all(&directory, tools, origin.address, Front::Http, &files)?;
    let mut direct = Vec::new();
    let mut through: Vec<(&str, Vec<Run>)> = subjects.iter().map(|s| (s.name, Vec::new())).collect();
    for round in 1..=effort.rounds {
        eprintln!("latency: round {round} of {}: direct", effort.rounds);
        direct.push(measure(origin.address, effort.seconds)?);
        for (subject, (name, runs)) in subjects.iter().zip(&mut through) {
            eprintln!("latency: round {round} of {}: {name}", effort.rounds);
            let arguments: Vec<&str> = subject.arguments.iter().map(String::as_str).collect();
            let _process = Process::start(PROXY_CPU, &subject.program, &arguments, subject.address)?;
            runs.push(measure(subject.address, effort.seconds)?);
        }
    }
    outcome(&direct, &through)
}

fn measure(address: SocketAddr, seconds: u32) -> Result<Run> {
    let plan = Plan {
        address,
        path: origin::SLOW,
        body_bytes: origin::body_bytes(origin::SLOW)?,
        every: Duration::from_secs(1) / RATE,
        warm_up: RATE as usize,
        requests: (RATE * seconds) as usize,
    };
    let mut report = steady::run(plan)?;
    let (median, p99) = (report.percentile_ms(50)?, report.percentile_ms(99)?);
    Ok(Run { median, p99, errors: report.errors })
}

fn outcome(direct: &[Run], through: &[(&str, Vec<Run>)]) -> Result<Outcome> {
    let median =
        |runs: &[Run], figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure)).map(|s| s.median);
    let mut text = format!(
        "**{RATE} requests per second, each at its time, over a handler of {} ms.** Latency in ms since a request \
         was due; medians of the rounds. Added is each round's p99 over that of the same round without a proxy.\n\n\
         | through | median | p99 | added, lowest | median | highest | errors |\n|---|---|---|---|---|---|---|\n",
        HANDLER_TIME.as_millis()
    );
    let (half, p99) = (median(direct, |run| run.median)?, median(direct, |run| run.p99)?);
    let errors = |runs: &[Run]| runs.iter().map(|run| run.errors).sum::<u64>();
    writeln!(text, "| no proxy | {half:.2} | {p99:.2} | - | - | - | {} |", errors(direct))?;
    let mut ours = None;
    for (name, runs) in through {
        let added = Spread::of(runs.iter().zip(direct).map(|(run, direct)| run.p99 - direct.p99))?;
        let (half, p99) = (median(runs, |run| run.median)?, median(runs, |run| run.p99)?);
        writeln!(text, "| {name} | {half:.2} | {p99:.2} | {} | {} |", added.cells(2), errors(runs))?;
        if *name == APRON {
            ours = Some((added.median, errors(runs)));
        }
    }
    let (added, failed) = ours.context("apron was not measured")?;
    let verdicts = vec![
        Verdict::new("latency added at 1,000 requests/s, p99 ms", added, ADDED_BAR),
        Verdict::new("requests at their time that failed", failed as f64, 0.0),
    ];
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_compared_with_its_own() {
        let run = |p99| Run { median: 100.0, p99, errors: 1 };
        let direct = [run(101.0), run(105.0), run(101.0)];
        let through = [("nginx", vec![run(200.0); 3]), (APRON, vec![run(101.5), run(106.0), run(111.0)])];
        let outcome = outcome(&direct, &through).unwrap();
        assert!(
            outcome.text.contains("| apron | 100.00 | 106.00 | 0.50 | 1.00 | 10.00 | 3 |"),
            "{}",
            outcome.text
        );
        let figures: Vec<f64> = outcome.verdicts.iter().map(|verdict| verdict.figure).collect();
        assert_eq!(figures, [1.0, 3.0]);
    }
}
