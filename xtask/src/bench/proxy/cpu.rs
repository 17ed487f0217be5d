//! CPU time per request, or per new connection, as fast as the load can ask.
//!
//! What counts is the proxy's own user and system time divided by the requests it carried, which holds on a noisy
//! machine; requests per second and latency are for orientation. Rounds go around all proxies, and the median of
//! each is compared with nginx's median of the same run.

use super::super::process::{Directory, Process};
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict};
use super::certificate::Authority;
use super::closed::{self, Plan, Report, Speech};
use super::origin::{self, Origin};
use super::subjects::{self, APRON, Front, NGINX, Subject};
use super::{HOST, PROXY_CPU, Ratios, Tools, counters};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::time::Duration;

/// Connections of HTTP/1, and what `proxy_cpu.py` has of HTTP/2.
pub(in crate::bench) const CONNECTIONS: usize = 64;
const CONNECTIONS_OF_HTTP2: usize = 16;
const STREAMS: usize = 8;
/// New connections at a time: enough to keep the proxy busy.
const CONNECTIONS_NEW: usize = 16;
/// Before each measurement, so that connections to the origin are open and code is warm.
const WARM_UP: Duration = Duration::from_secs(2);

pub(super) struct Case {
    title: &'static str,
    front: Front,
    speech: Speech,
    path: &'static str,
    connections: usize,
    what: &'static str,
    /// Times nginx's CPU.
    bar: f64,
}

pub(super) const HTTP1: Case = Case {
    title: "HTTP/1.1, 64 kept connections, an answer of 64 bytes",
    front: Front::Http,
    speech: Speech::Kept,
    path: origin::SMALL,
    connections: CONNECTIONS,
    what: "HTTP/1.1: CPU per request, times nginx",
    bar: 0.95,
};

pub(super) const HTTP2: Case = Case {
    title: "HTTP/2 over TLS 1.3, 16 connections of 8 streams, an answer of 64 bytes",
    front: Front::Http2,
    speech: Speech::Streams(STREAMS),
    connections: CONNECTIONS_OF_HTTP2,
    what: "HTTP/2 over TLS: CPU per request, times nginx",
    bar: 0.95,
    ..HTTP1
};

pub(super) const OTHERS: [Case; 4] = [
    Case {
        title: "HTTP/1.1 over TLS 1.3, 64 kept connections, an answer of 64 bytes",
        front: Front::Https,
        what: "HTTP/1.1 over TLS: CPU per request, times nginx",
        bar: 0.92,
        ..HTTP1
    },
    Case {
        title: "HTTP/1.1, 64 kept connections, an answer of 16 KiB",
        path: origin::MEDIUM,
        what: "HTTP/1.1, 16 KiB: CPU per request, times nginx",
        bar: 0.90,
        ..HTTP1
    },
    Case {
        title: "HTTP/1.1, 64 kept connections, an answer of 1 MiB",
        path: origin::LARGE,
        what: "HTTP/1.1, 1 MiB: CPU per request, times nginx",
        bar: 1.00,
        ..HTTP1
    },
    Case {
        title: "A full TLS 1.3 handshake, ECDSA P-256, and one HTTP/1.1 request for each connection",
        front: Front::Https,
        speech: Speech::New,
        connections: CONNECTIONS_NEW,
        what: "new TLS connection: CPU, times nginx",
        // At least 0.9 times as many handshakes per core.
        bar: 1.0 / 0.9,
        ..HTTP1
    },
];

/// One measurement of one proxy.
struct Run {
    cpu_us: f64,
    per_second: f64,
    p99_ms: f64,
    pss_kib: u64,
    /// Requests that failed, by the load or by the origin.
    errors: u64,
    error: Option<String>,
    /// Requests that the origin saw beyond those that were answered.
    repeated: u64,
    /// Headers that the origin missed, and which.
    missed: u64,
    missed_names: Vec<&'static str>,
    /// By how much the proxy's own count differs.
    uncounted: Option<u64>,
}

struct Measured {
    subject: Subject,
    runs: Vec<Run>,
}

/// Median times of each proxy in those of nginx, beside the outcome.
pub(super) fn run(
    case: &Case,
    tools: &Tools,
    origin: &Origin,
    authority: &Authority,
    effort: Effort,
) -> Result<(Outcome, Ratios)> {
    let directory = Directory::new("proxy")?;
    let files = authority.write(&directory, HOST)?;
    let subjects = subjects::all(&directory, tools, origin.address, case.front, &files)?;
    let mut all: Vec<_> =
        subjects.into_iter().map(|subject| Measured { subject, runs: Vec::new() }).collect();
    for round in 1..=effort.rounds {
        for Measured { subject, runs } in &mut all {
            eprintln!("{}: round {round} of {}: {}", case.title, effort.rounds, subject.name);
            runs.push(measure(case, subject, origin, authority, effort.seconds)?);
        }
    }
    outcome(case, &all, effort)
}

/// What the load asks of a proxy in this case.
fn plan(case: &Case, subject: &Subject, authority: &Authority) -> Result<Plan> {
    let secure = match case.front {
        Front::Http => None,
        Front::Https => Some(authority.client(b"http/1.1")?),
        Front::Http2 => Some(authority.client(b"h2")?),
    };
    Ok(Plan {
        address: subject.address,
        secure,
        speech: case.speech,
        path: case.path,
        body_bytes: origin::body_bytes(case.path)?,
        connections: case.connections,
    })
}

fn measure(
    case: &Case,
    subject: &Subject,
    origin: &Origin,
    authority: &Authority,
    seconds: u32,
) -> Result<Run> {
    let plan = plan(case, subject, authority)?;
    let arguments: Vec<&str> = subject.arguments.iter().map(String::as_str).collect();
    let process = Process::start(PROXY_CPU, &subject.program, &arguments, subject.address)?;
    origin.take(case.front.secure())?;
    let (warm, mut load, cpu_seconds) = loaded(&plan, &process, seconds)?;
    let answers = warm.answers + load.answers;
    let uncounted = match &subject.admin {
        Some(socket) => Some(counters::difference(socket, answers)?),
        None => None,
    };
    let seen = origin.take(case.front.secure())?;
    Ok(Run {
        cpu_us: cpu_seconds * 1e6 / load.answers.max(1) as f64,
        per_second: load.per_second(),
        p99_ms: load.percentile_ms(99)?,
        pss_kib: process.pss_kib(),
        errors: warm.errors + load.errors + seen.refused,
        error: warm.error.or(load.error),
        repeated: seen.requests.saturating_sub(answers),
        missed: seen.missed,
        missed_names: seen.missed_names,
        uncounted,
    })
}

/// Warms up and measures: what came of both, and the CPU seconds of the second.
pub(super) fn loaded(plan: &Plan, process: &Process, seconds: u32) -> Result<(Report, Report, f64)> {
    let warm = closed::run(plan, WARM_UP)?;
    let before = process.cpu_seconds()?;
    let load = closed::run(plan, Duration::from_secs(seconds.into()))?;
    Ok((warm, load, process.cpu_seconds()? - before))
}

fn outcome(case: &Case, all: &[Measured], effort: Effort) -> Result<(Outcome, Ratios)> {
    let cpu = |measured: &Measured| Spread::of(measured.runs.iter().map(|run| run.cpu_us));
    let nginx = all.iter().find(|one| one.subject.name == NGINX).context("nginx was not measured")?;
    let base = cpu(nginx)?.median;
    ensure!(base > 0.0, "nginx used no measurable time; measure longer");
    let mut text = format!(
        "**{}.** Median of {} interleaved rounds of {} s.\n\n\
         | proxy | µs of CPU per request | lowest | highest | times nginx | requests/s | p99 ms | PSS KiB | errors |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        case.title, effort.rounds, effort.seconds
    );
    let mut ratios = Ratios::new();
    for measured in all {
        let Measured { subject, runs } = measured;
        let Spread { lowest, median, highest } = cpu(measured)?;
        let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure)).map(|spread| spread.median);
        ratios.insert(subject.name.to_owned(), median / base);
        writeln!(
            text,
            "| {} | {median:.2} | {lowest:.2} | {highest:.2} | {:.2} | {:.0} | {:.2} | {:.0} | {} |",
            subject.name,
            median / base,
            of(|run| run.per_second)?,
            of(|run| run.p99_ms)?,
            of(|run| run.pss_kib as f64)?,
            runs.iter().map(|run| run.errors).sum::<u64>(),
        )?;
    }
    let mut verdicts = Vec::new();
    let ours = all.iter().find(|one| one.subject.name == APRON);
    // What was not measured meets no bar.
    let figure = ratios.get(APRON).copied().unwrap_or(f64::INFINITY);
    verdicts.push(Verdict { what: case.what, figure, bar: case.bar });
    match ours {
        None => text += "\nThis `apron proxy` has no `--https`.\n",
        Some(Measured { runs, .. }) => {
            verdicts.extend(soundness(runs));
            if let Some(error) = runs.iter().find_map(|run| run.error.as_ref()) {
                writeln!(text, "\napron failed with: {error}")?;
            }
            if let Some(run) = runs.iter().find(|run| run.missed > 0) {
                writeln!(text, "\nThe origin missed of apron: {}.", run.missed_names.join(", "))?;
            }
            if runs.iter().all(|run| run.uncounted.is_none()) {
                text += "\nThis `apron proxy` has no `--admin`: its own count was not compared.\n";
            }
        }
    }
    Ok((Outcome { text, verdicts }, ratios))
}

/// That our own proxy did the whole of its work.
fn soundness(runs: &[Run]) -> Vec<Verdict> {
    let none = |what, figure: u64| Verdict { what, figure: figure as f64, bar: 0.0 };
    let mut verdicts = vec![
        none("requests that failed", runs.iter().map(|run| run.errors).sum()),
        none("requests that reached the origin twice", runs.iter().map(|run| run.repeated).sum()),
        none("headers that the origin missed", runs.iter().map(|run| run.missed).sum()),
    ];
    let uncounted: Vec<u64> = runs.iter().filter_map(|run| run.uncounted).collect();
    if !uncounted.is_empty() {
        verdicts
            .push(none("requests that the proxy counted otherwise than the load", uncounted.iter().sum()));
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &'static str, times: &[f64], change: fn(&mut Run)) -> Measured {
        let address = "127.0.0.1:1".parse().unwrap();
        let (program, arguments) = (name.to_owned(), Vec::new());
        let run = |cpu_us: &f64| {
            let mut run = Run {
                cpu_us: *cpu_us,
                per_second: 1.0,
                p99_ms: 1.0,
                pss_kib: 1,
                errors: 0,
                error: None,
                repeated: 0,
                missed: 0,
                missed_names: Vec::new(),
                uncounted: None,
            };
            change(&mut run);
            run
        };
        let subject = Subject { name, program, arguments, address, admin: None };
        Measured { subject, runs: times.iter().map(run).collect() }
    }

    fn figures(all: &[Measured]) -> Vec<f64> {
        let effort = Effort { rounds: 3, seconds: 6, starts: 0, rollouts: 0 };
        outcome(&HTTP1, all, effort).unwrap().0.verdicts.iter().map(|verdict| verdict.figure).collect()
    }

    #[test]
    fn medians_are_compared_and_faults_of_ours_count() {
        let nginx = || measured(NGINX, &[10.0, 30.0, 11.0], |_| ());
        let ours = measured(APRON, &[22.0, 5.0, 1.0], |_| ());
        assert_eq!(figures(&[ours, nginx()])[1..], [0.0, 0.0, 0.0]);
        let ours = measured(APRON, &[22.0, 11.0, 1.0], |run| {
            (run.errors, run.missed, run.repeated, run.uncounted) = (1, 2, 4, Some(3));
        });
        let others = measured(subjects::HAPROXY, &[1.0], |run| (run.errors, run.missed) = (7, 7));
        assert_eq!(figures(&[ours, nginx(), others]), [1.0, 3.0, 12.0, 6.0, 9.0]);
        // Not measured is not met.
        assert_eq!(figures(&[nginx()]), [f64::INFINITY]);
    }
}
