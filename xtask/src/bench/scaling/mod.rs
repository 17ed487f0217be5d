//! Our scaler beside those of others, in a simulation, and the simulation beside a real platform.

mod beside;
mod clients;
mod plot;
mod watch;

use super::{Effort, Outcome};
use anyhow::Result;
use apron_scalers::{Compared, Figure, SCALERS, table};
use plot::Plot;
use std::fmt::Write as _;
use std::path::Path;

/// Each line of a plot is one of `SCALERS`.
const _: () = assert!(SCALERS.len() <= plot::LINES_MAX);

/// A file beside the page: its name below `docs/benchmarks`, and its text.
pub(super) struct File {
    pub(super) name: String,
    pub(super) text: String,
}

/// The section, and the plots that it shows.
pub(super) fn run(root: &Path, effort: Effort) -> Result<(Outcome, Vec<File>)> {
    let compared = apron_scalers::compare();
    let lived = beside::run(root, effort)?;
    let text = simulated(&compared)? + &beside::text(&lived, effort.speed)?;
    let plots = compared.iter().map(plot_of).collect();
    Ok((Outcome { text, verdicts: beside::verdicts(&lived) }, plots))
}

fn name(compared: &Compared) -> String {
    format!("scaling-{}.svg", compared.trace.name.replace(' ', "-").to_lowercase())
}

fn plot_of(compared: &Compared) -> File {
    let title = format!("{}: {}", compared.trace.name, compared.trace.what);
    let lines = SCALERS.iter().zip(&compared.runs);
    let instances = lines.map(|(name, run)| (*name, run.history.iter().map(|(_, count)| *count).collect()));
    let plot = Plot { title: &title, arrivals: compared.arrivals.clone(), instances: instances.collect() };
    File { name: name(compared), text: plot::svg(&plot) }
}

/// The part of the section that no machine has a share in.
fn simulated(compared: &[Compared]) -> Result<String> {
    let mut text = format!(
        "Seven traces, each lived through in a simulation (`crates/scalers`) by the code that scales services here, by \
         Knative's published arithmetic, and by App Runner as it was observed from outside: the same requests, application \
         and instances. Instance-seconds are from the wish for an instance to its end, App Runner's from when it serves: \
         the times that were observed hold its start, whatever the application. Those needed are the least that have \
         room for each request as it comes.\n\n\
         An instance of ours gets up to twice its target while others start, and then has down to half its speed for each \
         request. Waits do not show that; answers do, which are from a request's arrival to its end, of those that were \
         answered. Their mean is less than ours {}.\n\n{}\n\
         Where another one is better than ours, and why:\n\n",
        sooner(compared),
        table(compared)
    );
    for one in compared {
        lines_of_better(&mut text, one)?;
    }
    for one in compared {
        let (trace, file) = (one.trace, name(one));
        writeln!(text, "\n![{}: {}](benchmarks/{file})", trace.name, trace.what)?;
    }
    Ok(text)
}

/// With which scalers, and on which traces, answers come sooner than with ours.
fn sooner(compared: &[Compared]) -> String {
    let of = |scaler: &&str| {
        let is_sooner = |one: &&Compared| {
            let better = one.better();
            better.iter().any(|one| one.scaler == *scaler && one.figure == Figure::AnswerMean)
        };
        let traces: Vec<&str> = compared.iter().filter(is_sooner).map(|one| one.trace.name).collect();
        if traces.is_empty() {
            format!("nowhere with {scaler}")
        } else {
            format!("with {scaler} on {}", traces.join(", "))
        }
    };
    SCALERS[1..].iter().map(of).collect::<Vec<_>>().join("; ")
}

fn lines_of_better(text: &mut String, compared: &Compared) -> Result<()> {
    let all = compared.better();
    if all.is_empty() {
        writeln!(text, "- {}: nowhere.", compared.trace.name)?;
    }
    for better in all {
        let [theirs, ours] = [better.theirs, better.ours].map(|run| better.figure.of(run));
        let digits = usize::from(matches!(better.figure, Figure::WaitMean | Figure::AnswerMean));
        let refused = match (better.theirs.errors, better.ours.errors) {
            (errors, fewer) if errors > fewer => {
                let share = 100.0 * errors as f64 / better.theirs.requests as f64;
                format!("it refuses {share:.1} % of the requests; ")
            }
            _ => String::new(),
        };
        writeln!(
            text,
            "- {}, {}: {} {theirs:.digits$}, apron {ours:.digits$}. Why: {refused}{}.",
            compared.trace.name,
            better.figure.name(),
            better.scaler,
            better.why.unwrap_or("not known"),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_has_its_rows_its_lines_and_its_plot() {
        let compared = apron_scalers::compare();
        let text = simulated(&compared).unwrap();
        for one in &compared {
            let (trace, plot) = (one.trace.name, plot_of(one));
            assert!(
                SCALERS.iter().all(|scaler| text.contains(&format!("\n| {trace} | {scaler} |"))),
                "{trace}"
            );
            assert!(text.contains(&format!("\n- {trace}")), "{trace}");
            assert!(text.contains(&format!("](benchmarks/{})", plot.name)) && !plot.name.contains(' '));
            assert!(SCALERS.iter().all(|scaler| plot.text.contains(&format!(">{scaler}</text>"))));
        }
        let (above, below) = text.split_once("| wait, p99 ms | answer, mean ms |").unwrap();
        assert!(above.contains("less than ours nowhere with Knative; with App Runner on burst, cold JVM.\n"));
        assert!(below.contains("\n- burst, mean time until answered, ms: App Runner "));
        let refuses = "- step, instance-seconds: App Runner ";
        assert!(text.contains(refuses) && text.contains("Why: it refuses 1"), "{text}");
    }
}
