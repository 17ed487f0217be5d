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
    /// Of those that were answered, from the arrival to the end.
    AnswerMean,
    InstanceSeconds,
}

impl Figure {
    pub const ALL: [Figure; 5] =
        [Figure::Errors, Figure::WaitMean, Figure::WaitP99, Figure::AnswerMean, Figure::InstanceSeconds];

    pub fn name(self) -> &'static str {
        match self {
            Figure::Errors => "refused requests",
            Figure::WaitMean => "mean wait, ms",
            Figure::WaitP99 => "p99 of the wait, ms",
            Figure::AnswerMean => "mean time until answered, ms",
            Figure::InstanceSeconds => "instance-seconds",
        }
    }

    pub fn of(self, run: &Run) -> f64 {
        match self {
            Figure::Errors => run.errors as f64,
            Figure::WaitMean => run.wait_mean_ms(),
            Figure::WaitP99 => f64::from(run.wait_p99_ms()),
            Figure::AnswerMean => run.answer_mean_ms(),
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
    compare_with(SEED)
}

fn compare_with(seed: u64) -> Vec<Compared> {
    let of = |trace: &Trace| {
        let arrivals = trace.arrivals(seed);
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
        "| trace | scaler | requests | refused | wait, mean ms | wait, p99 ms | answer, mean ms | instance-seconds | over those needed |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for Compared { trace, runs, .. } in compared {
        for (name, run) in SCALERS.iter().zip(runs) {
            text += &format!(
                "| {} | {name} | {} | {} | {:.1} | {} | {:.1} | {:.0} | {:.0} % |\n",
                trace.name,
                run.requests,
                run.errors,
                run.wait_mean_ms(),
                run.wait_p99_ms(),
                run.answer_mean_ms(),
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

    /// By trace and seed: a scaler's figure at which chance has it the other way round than the trace's reasons do. Empty for
    /// the seed of the page.
    const EXCEPTIONS: [(&str, u64, &str, Figure); 4] = [
        // Ours wait for 54 ms, its for 78, and answers come after 169 and 186. With the other seeds ours wait for 103 and more.
        ("cold JVM", 2, APP_RUNNER, Figure::WaitMean),
        ("cold JVM", 2, APP_RUNNER, Figure::AnswerMean),
        // Ours takes 2624, it 2776. With the other seeds it takes less by 1, 20 and 36.
        ("sawtooth", 3, APP_RUNNER, Figure::InstanceSeconds),
        // Ours takes 6256, it 6243: where load changes slowly both keep about as much room. With the other seeds ours takes less
        // by 10 to 25.
        ("diurnal", 4, "Knative", Figure::InstanceSeconds),
    ];

    /// Ours refuses nobody, and Knative is better at nothing. App Runner answers sooner where it refuses who would wait, and
    /// takes fewer instance-seconds everywhere.
    #[test]
    fn ours_is_on_the_better_side_but_where_there_is_a_reason() {
        let theirs = |figure: Figure| {
            let has = |trace: &&Trace| trace.reasons.iter().any(|one| one.figures.contains(&figure));
            TRACES.iter().filter(has).map(|trace| trace.name).collect::<Vec<_>>()
        };
        assert!(theirs(Figure::Errors).is_empty());
        assert_eq!(theirs(Figure::AnswerMean), ["burst", "cold JVM"]);
        assert_eq!(theirs(Figure::InstanceSeconds), TRACES.map(|trace| trace.name));
        assert!(TRACES.iter().all(|trace| trace.reasons.iter().all(|one| one.scaler == APP_RUNNER)));
        let (mut found, mut figures) = (Vec::new(), String::new());
        for seed in 1..=4 {
            let all = compare_with(seed);
            figures += &format!("seed {seed}\n{}", table(&all));
            for compared in &all {
                let (trace, better) = (compared.trace, compared.better());
                assert_eq!(compared.runs[0].errors, 0, "{}\n{figures}", trace.name);
                for (scaler, figure) in
                    SCALERS[1..].iter().flat_map(|one| Figure::ALL.map(|figure| (*one, figure)))
                {
                    let is_better = better.iter().any(|one| one.scaler == scaler && one.figure == figure);
                    let has_reason =
                        trace.reasons.iter().any(|one| one.scaler == scaler && one.figures.contains(&figure));
                    if is_better != has_reason {
                        found.push((trace.name, seed, scaler, figure));
                    }
                }
            }
        }
        assert_eq!(found, EXCEPTIONS, "{figures}");
    }
}
