//! Scalers beside each other: the same requests, the same application, the same instances, and another one who decides.
//!
//! `trace` says what comes, `world` what becomes of it. `knative` and `app_runner` are what others do, as far as that is
//! known; they and the traces stood here before anything was tuned against them.

pub mod app_runner;
pub mod knative;
pub mod ours;
pub mod trace;
pub mod world;

use app_runner::AppRunner;
use knative::Knative;
use ours::Ours;
use trace::{Arrival, TRACES, Trace};
use world::{Autoscaler, Run};

/// Of the requests of each trace.
pub const SEED: u64 = 1;

/// Who is compared.
pub const SCALERS: [&str; 3] = ["apron", "Knative", APP_RUNNER];
pub(crate) const APP_RUNNER: &str = "App Runner";

/// What they are compared by; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Errors,
    WaitMean,
    WaitP99,
    InstanceSeconds,
}

impl Figure {
    pub const ALL: [Figure; 4] = [Figure::Errors, Figure::WaitMean, Figure::WaitP99, Figure::InstanceSeconds];

    pub fn name(self) -> &'static str {
        match self {
            Figure::Errors => "refused requests",
            Figure::WaitMean => "mean wait, ms",
            Figure::WaitP99 => "p99 of the wait, ms",
            Figure::InstanceSeconds => "instance-seconds",
        }
    }

    pub fn of(self, run: &Run) -> f64 {
        match self {
            Figure::Errors => run.errors as f64,
            Figure::WaitMean => run.wait_mean_ms(),
            Figure::WaitP99 => f64::from(run.wait_p99_ms()),
            Figure::InstanceSeconds => run.instance_seconds,
        }
    }
}

/// One trace, lived through by each of `SCALERS`.
pub struct Compared {
    pub trace: Trace,
    /// Requests that came in each second.
    pub arrivals: Vec<u32>,
    pub runs: Vec<Run>,
}

/// A figure at which another scaler is better than ours.
pub struct Better<'a> {
    pub scaler: &'static str,
    pub figure: Figure,
    pub theirs: &'a Run,
    pub ours: &'a Run,
    /// None: nobody knows.
    pub why: Option<&'static str>,
}

impl Compared {
    /// Where others are better than ours.
    pub fn better(&self) -> Vec<Better<'_>> {
        let Some((ours, others)) = self.runs.split_first() else { return Vec::new() };
        let pairs = others.iter().zip(&SCALERS[1..]);
        let all = pairs.flat_map(|(theirs, scaler)| Figure::ALL.map(|figure| (*scaler, figure, theirs)));
        let better = all.filter(|(_, figure, theirs)| figure.of(theirs) < figure.of(ours));
        better
            .map(|(scaler, figure, theirs)| {
                let mut reasons = self.trace.reasons.iter();
                let reason = reasons.find(|one| one.scaler == scaler && one.figures.contains(&figure));
                Better { scaler, figure, theirs, ours, why: reason.map(|reason| reason.why) }
            })
            .collect()
    }
}

/// All traces.
pub fn compare() -> Vec<Compared> {
    let of = |trace: &Trace| {
        let arrivals = trace.arrivals(SEED);
        let scalers: [Box<dyn Autoscaler>; SCALERS.len()] = [
            Box::new(Ours::new(trace.policy)),
            Box::new(Knative::new(trace.policy)),
            Box::new(AppRunner::new(trace.policy)),
        ];
        let runs =
            scalers.into_iter().map(|mut scaler| world::run(trace, &arrivals, scaler.as_mut())).collect();
        Compared { trace: *trace, arrivals: per_second(trace, &arrivals), runs }
    };
    TRACES.iter().map(of).collect()
}

fn per_second(trace: &Trace, arrivals: &[Arrival]) -> Vec<u32> {
    let mut counts = vec![0; trace.seconds as usize];
    arrivals.iter().for_each(|one| counts[(one.at_ms / 1_000) as usize] += 1);
    counts
}

/// As a table in Markdown.
pub fn table(compared: &[Compared]) -> String {
    let mut text = String::from(
        "| trace | scaler | requests | refused | wait, mean ms | wait, p99 ms | instance-seconds | over those needed |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for Compared { trace, runs, .. } in compared {
        for (name, run) in SCALERS.iter().zip(runs) {
            text += &format!(
                "| {} | {name} | {} | {} | {:.1} | {} | {:.0} | {:.0} % |\n",
                trace.name,
                run.requests,
                run.errors,
                run.wait_mean_ms(),
                run.wait_p99_ms(),
                run.instance_seconds,
                100.0 * run.over_provisioned(),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody waits longer or is refused more often than with either of the others, and for that it takes less than
    /// Knative. App Runner takes less still: what it refuses needs no instance.
    #[test]
    fn ours_is_on_the_better_side() {
        let all = compare();
        for compared in &all {
            let Compared { trace, runs, .. } = compared;
            let [ours, knative, app_runner] = &runs[..] else { panic!("{} runs", runs.len()) };
            let figures = format!("{}\n{}", trace.name, table(&all));
            assert!(ours.errors <= knative.errors, "{figures}");
            assert!(ours.wait_mean_ms() <= knative.wait_mean_ms(), "{figures}");
            assert!(ours.wait_p99_ms() <= knative.wait_p99_ms(), "{figures}");
            assert!(ours.instance_seconds <= knative.instance_seconds, "{figures}");
            assert!(ours.errors <= app_runner.errors, "{figures}");
            for better in compared.better() {
                assert!(better.why.is_some(), "{}, {}: why?\n{figures}", better.scaler, better.figure.name());
            }
        }
    }
}
