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
use trace::{TRACES, Trace};
use world::{Autoscaler, Run};

/// Of the requests of each trace.
const SEED: u64 = 1;

/// Who is compared.
pub const SCALERS: [&str; 3] = ["apron", "Knative", "App Runner"];

/// One trace, lived through by each of `SCALERS`.
pub struct Compared {
    pub trace: Trace,
    pub runs: Vec<Run>,
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
        Compared { trace: *trace, runs }
    };
    TRACES.iter().map(of).collect()
}

/// As a table in Markdown.
pub fn table(compared: &[Compared]) -> String {
    let mut text = String::from(
        "| trace | scaler | requests | refused | wait, mean ms | wait, p99 ms | instance-seconds | over those needed |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for Compared { trace, runs } in compared {
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
        for Compared { trace, runs } in compare() {
            let [ours, knative, app_runner] = &runs[..] else { panic!("{} runs", runs.len()) };
            let figures = format!("{}\n{}", trace.name, table(&compare()));
            assert!(ours.errors <= knative.errors, "{figures}");
            assert!(ours.wait_mean_ms() <= knative.wait_mean_ms(), "{figures}");
            assert!(ours.wait_p99_ms() <= knative.wait_p99_ms(), "{figures}");
            assert!(ours.instance_seconds <= knative.instance_seconds, "{figures}");
            assert!(ours.errors <= app_runner.errors, "{figures}");
        }
    }
}
