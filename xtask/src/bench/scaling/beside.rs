//! Traces on a real platform, and the simulation of the same requests beside it, with the start time that its instances
//! had in that run.

use super::clients::{self, Asked, Target};
use super::watch::{self, Seen};
use crate::bench::platform::{self, Platform, STATIC_IMAGE};
use crate::bench::{Effort, Verdict};
use crate::program;
use anyhow::{Context, Result, bail};
use apron_scalers::trace::{Arrival, Policy, TRACES, Trace};
use apron_scalers::world;
use apron_scalers::{SEED, ours::Ours};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Those of `TRACES` that the platform lives through: many changes, and both ways.
const LIVED: [&str; 2] = ["step", "burst"];
const DEPLOY_TIME_MAX: Duration = Duration::from_secs(60);
/// Small ones, of which MaxSize fit in the memory of a small machine.
const SIZE: [&str; 4] = ["--cpu", "0.25", "--memory", "0.5"];
/// Until the clients are there.
const HEAD_START: Duration = Duration::from_millis(500);
/// The uptime is told in hundredths of a second.
const UPTIME_STEP_MAX: Duration = Duration::from_secs(1);
/// Prints the id of each instance and when control wished it.
const WISHES: &str = "import sqlite3, sys
rows = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True)
for row in rows.execute('SELECT id, created_at FROM slot'):
    print(*row)";
/// Rows of one decision are written at once.
const AT_ONCE_MS: f64 = 2.0;
/// How much control's clock may be behind the proxy's: nobody knows it of a platform, where it changes slowly, and waits
/// differ with it by a fifth.
const TOLD_LATE_MS: [u64; 5] = [10, 30, 50, 70, 90];
/// As a share of the platform's figure.
const DISTANCE_BAR: f64 = 0.15;
/// What is shorter than this on the platform is nothing that a share of could be compared.
const WAIT_MIN_MS: f64 = 10.0;

/// One trace, as it was and as it should have been.
pub(super) struct Lived {
    pub(super) trace: Trace,
    pub(super) asked: Asked,
    pub(super) seen: Seen,
    /// Mean of all requests, by the proxy's account.
    pub(super) wait_ms: f64,
    simulated: Simulated,
}

/// Means of the runs with each of `TOLD_LATE_MS`.
#[derive(Default)]
struct Simulated {
    refused: f64,
    wait_ms: f64,
    answer_ms: f64,
    instance_seconds: f64,
    /// Of the most instances of each run.
    most: f64,
}

pub(super) fn run(root: &Path, effort: Effort) -> Result<Vec<Lived>> {
    let platform = Platform::start(&platform::binary(root)?, "scaling")?;
    platform.import_static_image(root)?;
    let traces = TRACES.iter().filter(|trace| LIVED.contains(&trace.name));
    traces.map(|trace| live(&platform, root, trace.faster(effort.speed))).collect()
}

/// One service for each trace: none finds what another one has left.
fn live(platform: &Platform, root: &Path, trace: Trace) -> Result<Lived> {
    eprintln!("{} on the platform, {} s", trace.name, trace.seconds);
    let service = trace.name;
    be_default(platform, root, service, trace.policy)?;
    platform.deploy(service, 1, &[&[STATIC_IMAGE], &SIZE[..]].concat(), DEPLOY_TIME_MAX)?;
    let arrivals = trace.arrivals(SEED);
    let target = Target {
        address: platform.apps(),
        host: format!("{service}.apron.localhost"),
        together: trace.policy.target,
    };
    let data = PathBuf::from(platform.path("data")?);
    let time = Duration::from_secs(u64::from(trace.seconds));
    let began = Instant::now() + HEAD_START;
    let (asked, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            std::thread::sleep(HEAD_START);
            watch::watch(&data, began, time)
        });
        let asked = clients::ask(&target, &arrivals, began);
        (asked, watching.join())
    });
    let asked = asked?;
    let seen = seen.map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    for failure in &asked.failures {
        eprintln!("failed: {failure}");
    }
    let waited_s = metric(&platform.metrics()?, "apron_proxy_queue_seconds_sum", service);
    let began_ms = up_ms()? - 1e3 * began.elapsed().as_secs_f64();
    let starts = starts(&seen, &wishes(&data, root)?, began_ms);
    platform.run(&["rm", service])?;
    let (alone_ms, start_each_ms) =
        fit(&starts).context("no instance was started: the load never came to need one")?;
    let trace = Trace { start_ms: alone_ms.round() as u64, start_each_ms, ..trace };
    let simulated = simulated(&trace, &arrivals);
    let wait_ms = 1e3 * waited_s / asked.requests() as f64;
    Ok(Lived { trace, asked, seen, wait_ms, simulated })
}

fn simulated(trace: &Trace, arrivals: &[Arrival]) -> Simulated {
    let mut mean = Simulated::default();
    for late_ms in TOLD_LATE_MS {
        let run = world::run(trace, arrivals, &mut Ours::told_late(trace.policy, late_ms));
        let most = run.history.iter().map(|(_, instances)| *instances).max().unwrap_or(0);
        for (sum, figure) in [
            (&mut mean.refused, run.errors as f64),
            (&mut mean.wait_ms, run.wait_mean_ms()),
            (&mut mean.answer_ms, run.answer_mean_ms()),
            (&mut mean.instance_seconds, run.instance_seconds),
            (&mut mean.most, f64::from(most)),
        ] {
            *sum += figure / TOLD_LATE_MS.len() as f64;
        }
    }
    mean
}

/// Has the next service made with this policy: what the command line has no option for.
fn be_default(platform: &Platform, root: &Path, name: &str, policy: Policy) -> Result<()> {
    let Policy { target, min, max } = policy;
    let [target, min, max] = [target, min, max].map(|number| number.to_string());
    let arn = platform.aws(
        root,
        &[
            "create-auto-scaling-configuration",
            "--auto-scaling-configuration-name",
            name,
            "--max-concurrency",
            &target,
            "--min-size",
            &min,
            "--max-size",
            &max,
            "--query",
            "AutoScalingConfiguration.AutoScalingConfigurationArn",
            "--output",
            "text",
        ],
    )?;
    let arn = ["--auto-scaling-configuration-arn", &arn];
    platform.aws(root, &[&["update-default-auto-scaling-configuration"], &arn[..]].concat()).map(drop)
}

/// When each instance was wished, in ms of the machine's uptime: control's engine time, which in a new data directory is
/// that and one more.
fn wishes(data: &Path, root: &Path) -> Result<BTreeMap<String, f64>> {
    let mut python = Command::new(root.join("target/awscli/bin/python3"));
    python.args(["-c", WISHES]).arg(data.join("control/apron.db"));
    let said = program::output(&mut python).context("the rows of instances")?;
    let rows = said.lines().filter_map(|line| line.split_once(' '));
    rows.map(|(id, at)| Ok((id.to_owned(), at.parse::<f64>()? - 1.0))).collect()
}

/// The machine's uptime in ms, as exact as it is told: in the moment in which it changes.
fn up_ms() -> Result<f64> {
    let read = || -> Result<f64> {
        let text = std::fs::read_to_string("/proc/uptime")?;
        Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? * 1e3)
    };
    let (first, began) = (read()?, Instant::now());
    while began.elapsed() < UPTIME_STEP_MAX {
        let now = read()?;
        if now > first {
            return Ok(now);
        }
    }
    bail!("the machine's uptime stands still")
}

/// Wish and place in the table of each instance that came, in ms of uptime. `began_ms` is the beginning.
fn starts(seen: &Seen, wishes: &BTreeMap<String, f64>, began_ms: f64) -> Vec<(f64, f64)> {
    let start = |(id, routed_ms): (&String, &f64)| Some((*wishes.get(id)?, began_ms + routed_ms));
    seen.routed_ms.iter().filter_map(start).collect()
}

/// What a start takes alone, and how much longer with each other one that was there before it: the line through the starts
/// that has the least squares. None: there is no start.
fn fit(starts: &[(f64, f64)]) -> Option<(f64, f64)> {
    // Of those that came in one table each was before half of the others.
    let others = |wish_ms: f64, routed_ms: f64| {
        let at_the_time =
            starts.iter().filter(|(other, routed)| *other <= wish_ms + AT_ONCE_MS && *routed > wish_ms);
        let before: f64 = at_the_time
            .map(|(_, routed)| match routed.total_cmp(&routed_ms) {
                Ordering::Less => 1.0,
                Ordering::Equal => 0.5,
                Ordering::Greater => 0.0,
            })
            .sum();
        before - 0.5
    };
    let points: Vec<(f64, f64)> =
        starts.iter().map(|(wish, routed)| (others(*wish, *routed), routed - wish)).collect();
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (others, took) = (mean(&|point| point.0), mean(&|point| point.1));
    let spread = mean(&|point| (point.0 - others).powi(2));
    let both = mean(&|point| (point.0 - others) * (point.1 - took));
    let each = if spread > 0.0 { (both / spread).max(0.0) } else { 0.0 };
    (!points.is_empty()).then_some(((took - each * others).max(0.0), each))
}

/// The figure of a service among metrics; what nobody did is not there.
fn metric(metrics: &str, name: &str, service: &str) -> f64 {
    let start = format!("{name}{{service=\"{service}\",");
    let line = metrics.lines().find(|line| line.starts_with(&start));
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0)
}

/// How far off a simulated figure is, as a share of the real one.
fn distance(simulated: f64, real: f64) -> f64 {
    if simulated == real { 0.0 } else { (simulated - real).abs() / real }
}

/// Figures of one trace that have a bar: by name, simulated and real. Of others that could have one, why they have none.
struct Bars {
    with: Vec<(&'static str, f64, f64)>,
    without: Vec<String>,
}

fn bars(lived: &Lived) -> Bars {
    let Lived { asked, seen, wait_ms, simulated, .. } = lived;
    let (time, instead) = if *wait_ms >= WAIT_MIN_MS {
        (("mean wait", simulated.wait_ms, *wait_ms), "mean answer time (the wait is part of it)".to_owned())
    } else {
        let below = format!("mean wait ({wait_ms:.2} ms on the platform, below {WAIT_MIN_MS:.0} ms)");
        (("mean answer time", simulated.answer_ms, asked.answer_mean_ms()), below)
    };
    let all = [
        time,
        ("refused requests", simulated.refused, asked.failed as f64),
        ("instance-seconds", simulated.instance_seconds, seen.instance_seconds),
    ];
    let (zeros, with): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, simulated, real)| *simulated == 0.0 && *real == 0.0);
    let zeros = zeros.into_iter().map(|(what, ..)| format!("{what} (0 on both sides)"));
    Bars { with, without: [instead].into_iter().chain(zeros).collect() }
}

pub(super) fn text(all: &[Lived], speed: u32) -> Result<String> {
    let mut text = format!(
        "\nTwo of the traces on a real platform, {speed} times as fast, every request at its time: `examples/static-binary` \
         with `/work`, which takes as long as the trace says and is slower in proportion beyond the target. The simulation \
         gets the same requests, and the start time that instances had in that run, from the wish in control's row to the \
         proxy's table, alone and for each other one that was on its way before it; its figures are means of {} runs, in which control hears of the load more or less late. Waits are the proxy's own count; \
         answers are timed by the clients, from when a request was due. A request is late when no client was free or awake \
         within 10 ms. Instance-seconds are those of instances that the node has and was not told to end, looked at \
         every 20 ms.\n\n\
         | trace | | requests | refused | late | wait, mean ms | answer, mean ms | instance-seconds | most instances | start, ms |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        TOLD_LATE_MS.len(),
    );
    for lived in all {
        let Lived { trace, asked, seen, wait_ms, simulated } = lived;
        let start = format!("{} + {:.0} each", trace.start_ms, trace.start_each_ms);
        writeln!(
            text,
            "| {} | platform | {} | {} | {} | {wait_ms:.2} | {:.1} | {:.0} | {} | {} |",
            trace.name,
            asked.requests(),
            asked.failed,
            asked.late,
            asked.answer_mean_ms(),
            seen.instance_seconds,
            seen.most,
            start,
        )?;
        writeln!(
            text,
            "| {} | simulation | {} | {:.0} | - | {:.2} | {:.1} | {:.0} | {:.0} | {} |",
            trace.name,
            asked.requests(),
            simulated.refused,
            simulated.wait_ms,
            simulated.answer_ms,
            simulated.instance_seconds,
            simulated.most,
            start,
        )?;
    }
    writeln!(
        text,
        "\nBars hold how far a figure of the simulation is off the platform's, as a share of that, for three figures of \
         this table: a time, the refused requests, and the instance-seconds. The simulation is given the requests and the \
         starts; late requests are the clients' own, and the most instances are only shown. The time is the mean wait \
         where that is at least {WAIT_MIN_MS:.0} ms on the platform, because of next to nothing a share says nothing. Else it is \
         the mean answer time, which is for the most part the work that the trace asks for: such a bar says little of \
         waits. What is 0 on both sides has no bar, because there is nothing to compare.\n"
    )?;
    for lived in all {
        let Bars { with, without } = bars(lived);
        let with: Vec<&str> = with.iter().map(|(what, ..)| *what).collect();
        let (trace, with, without) = (lived.trace.name, with.join(", "), without.join(", "));
        writeln!(text, "- {trace}: bars for {with}; none for {without}.")?;
    }
    Ok(text)
}

pub(super) fn verdicts(all: &[Lived]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for lived in all {
        for (what, simulated, real) in bars(lived).with {
            let what = format!("{}, {what}: the simulation off the platform, as a share", lived.trace.name);
            verdicts.push(Verdict::new(what, distance(simulated, real), DISTANCE_BAR));
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lived(wait_ms: f64, instance_seconds: f64) -> Lived {
        let trace = TRACES[0].faster(16);
        let simulated = simulated(&trace, &trace.arrivals(SEED));
        let asked = Asked { answered: 100, answers_s: 10.0, ..Asked::default() };
        let seen = Seen { instance_seconds, most: 2, ..Seen::default() };
        Lived { trace, asked, seen, wait_ms, simulated }
    }

    #[test]
    fn waits_are_compared_where_there_are_any_and_else_answers() {
        let figures = |wait_ms| {
            let (what, _, real) = bars(&lived(wait_ms, 300.0)).with[0];
            (what, real)
        };
        assert_eq!(figures(1.0), ("mean answer time", 100.0));
        assert_eq!(figures(20.0), ("mean wait", 20.0));
    }

    #[test]
    fn zero_beside_zero_has_no_bar_and_the_page_says_what_has_none() {
        let bars_of = |one: &[Lived]| {
            let all = verdicts(one).into_iter().map(|verdict| (verdict.what, verdict.figure));
            all.filter(|(what, _)| what.contains("refused")).map(|(_, share)| share).collect::<Vec<_>>()
        };
        let mut all = [lived(0.23, 300.0)];
        assert_eq!((bars_of(&all), verdicts(&all).len()), (vec![], 2));
        let said = text(&all, 16).unwrap();
        let line = "- step: bars for mean answer time, instance-seconds; none for mean wait (0.23 ms on the platform, \
                    below 10 ms), refused requests (0 on both sides).\n";
        assert!(said.contains(line) && said.contains("| step | simulation | 100 | 0 | - |"), "{said}");
        all[0].asked.failed = 1;
        assert_eq!((bars_of(&all), verdicts(&all).len()), (vec![1.0], 3));
        all[0].wait_ms = 20.0;
        let said = text(&all, 16).unwrap();
        let line =
            "- step: bars for mean wait, refused requests, instance-seconds; none for mean answer time (";
        assert!(said.contains(line), "{said}");
    }

    #[test]
    fn a_figure_that_is_far_off_misses() {
        let mut one = lived(0.0, 1.0);
        one.seen.instance_seconds = one.simulated.instance_seconds * 1.25;
        let all = [one];
        let seconds =
            verdicts(&all).into_iter().find(|verdict| verdict.what.contains("instance-seconds")).unwrap();
        assert!((seconds.figure - 0.2).abs() < 1e-9 && seconds.figure > seconds.bar);
        assert_eq!([distance(0.0, 0.0), distance(1.0, 0.0)], [0.0, f64::INFINITY]);
        assert!(text(&all, 16).unwrap().contains("| step | platform | 100 | 0 | 0 | 0.00 | 100.0 |"));
    }

    #[test]
    fn a_start_is_from_the_wish_to_the_table() {
        let map = |pairs: &[(&str, f64)]| pairs.iter().map(|(id, ms)| ((*id).to_owned(), *ms)).collect();
        let seen = Seen { routed_ms: map(&[("a", 1_000.0), ("c", 3_000.0)]), ..Seen::default() };
        let starts = starts(&seen, &map(&[("a", 10_940.0), ("z", 0.0)]), 10_000.0);
        assert_eq!(starts, [(10_940.0, 11_000.0)]);
        assert_eq!((fit(&starts), fit(&[])), (Some((60.0, 0.0)), None));
    }

    #[test]
    fn those_that_start_at_once_come_one_behind_the_other() {
        let one = (0.0, 50.0);
        // The last two in one table.
        let three = [(1_000.0, 1_050.0), (1_000.0, 1_065.0), (1_000.0, 1_065.0)];
        let (alone, each) = fit(&[&[one], &three[..]].concat()).unwrap();
        assert!((alone - 50.0).abs() < 1e-6 && (each - 10.0).abs() < 1e-6, "{alone} {each}");
    }

    #[test]
    fn a_metric_is_that_of_its_service() {
        let metrics = "# HELP a_sum b\na_sum{service=\"x\",service_id=\"1\"} 2\na_sum{service=\"y\",service_id=\"2\"} 0.25\n";
        assert_eq!([metric(metrics, "a_sum", "y"), metric(metrics, "a_sum", "z")], [0.25, 0.0]);
    }

    #[test]
    fn what_is_lived_through_is_there() {
        assert!(LIVED.iter().all(|name| TRACES.iter().any(|trace| trace.name == *name)));
    }
}
