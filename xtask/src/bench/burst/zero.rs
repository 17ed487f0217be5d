//! Python from zero: a request that finds no process, beside the same program started alone.

use super::super::asks::ms;
use super::super::instances::{self, Rung};
use super::super::platform::Platform;
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict, interrupt};
use super::{PYTHON, SOON, own_start};
use anyhow::Result;
use std::time::Instant;

/// Milliseconds of the 95th of a hundred requests, and of the platform's part of them.
const TOTAL_BAR_MS: f64 = 400.0;
const SHARE_BAR_MS: f64 = 60.0;

pub(super) fn run(platform: &Platform, effort: Effort) -> Result<Outcome> {
    let instance = instances::only(platform, PYTHON)?;
    platform.run(&["tag", PYTHON, Rung::Zero.tag(), SOON])?;
    let one = |number: usize| {
        interrupt::check()?;
        instance.sleeps(Rung::Zero)?;
        // Which of the two comes first has no say.
        let own_first = number.is_multiple_of(2);
        let before = if own_first { Some(own_start::ms_of(platform, 1)?) } else { None };
        let began = Instant::now();
        platform.request(PYTHON)?;
        let total = ms(began.elapsed());
        let own = match before {
            Some(own) => own,
            None => {
                instance.sleeps(Rung::Zero)?;
                own_start::ms_of(platform, 1)?
            }
        };
        Ok((total, own))
    };
    // The first one is not like the others: what it needs is in no cache.
    one(0)?;
    // 50 in a whole run.
    let starts = (1..=effort.starts * 5 / 2).map(one).collect::<Result<Vec<(f64, f64)>>>()?;
    outcome(&starts)
}

fn outcome(starts: &[(f64, f64)]) -> Result<Outcome> {
    let row = |what: &str, times: &[f64]| {
        let p95 = Spread::percentile(times.iter().copied(), 95)?;
        let spread = Spread::of(times.iter().copied())?;
        Ok::<_, anyhow::Error>((format!("| {what} | {} | {p95:.1} |\n", spread.cells(1)), spread.median, p95))
    };
    let (totals, owns): (Vec<f64>, Vec<f64>) = starts.iter().copied().unzip();
    let shares: Vec<f64> = starts.iter().map(|(total, own)| total - own).collect();
    let (total_row, _, p95) = row("the request as a whole", &totals)?;
    let (own_row, ..) = row("the program alone, until it listens", &owns)?;
    let (share_row, share, _) = row("the difference of each two", &shares)?;
    let text = format!(
        "The same server without a process: {} requests on connections of their own, each beside a start of the program \
         alone from the same files. Milliseconds.\n\n\
         | what | lowest | median | longest | 95th of a hundred |\n|---|---|---|---|---|\n{total_row}{own_row}{share_row}",
        starts.len(),
    );
    let verdicts = vec![
        Verdict::new("request to a service at zero, Python, p95 ms", p95, TOTAL_BAR_MS),
        Verdict::new("the platform's share of that, median ms", share, SHARE_BAR_MS),
    ];
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_what_the_program_does_not_take() {
        let outcome = outcome(&[(150.0, 100.0), (180.0, 120.0), (400.0, 330.0)]).unwrap();
        let figures: Vec<f64> = outcome.verdicts.iter().map(|verdict| verdict.figure).collect();
        assert_eq!(figures, [400.0, 60.0]);
    }
}
