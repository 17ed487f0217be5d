//! CPU time per request, or per new connection, as fast as the load can ask.
//!
//! What counts is the proxy's own user and system time divided by the requests it carried, which holds on a noisy
//! machine; requests per second and latency are for orientation. Rounds go around all proxies, and the median of
//! each is compared with nginx's median of the same run.

use super::super::process::{Directory, Process};
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict};
use super::certificate::Authority;
use super::load::{Asker, Target};
use super::origin::{self, Origin};
use super::subjects::{self, APRON, Front, NGINX, Subject};
use super::{HOST, PROXY_CPU, Ratios, Tools, counters};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::path::Path;

/// Connections of HTTP/1, and what `proxy_cpu.py` has of HTTP/2.
const CONNECTIONS: usize = 64;
const CONNECTIONS_OF_HTTP2: usize = 16;
const STREAMS: usize = 8;
/// New connections at a time: enough to keep the proxy busy.
const CONNECTIONS_NEW: usize = 16;
/// Before each measurement, so that connections to the origin are open and code is warm.
const WARM_UP_SECONDS: u32 = 2;

pub(in crate::bench) struct Case {
    title: &'static str,
    /// What it is called beside others.
    pub(in crate::bench) name: &'static str,
    pub(in crate::bench) front: Front,
    pub(super) asker: Asker,
    pub(super) path: &'static str,
    pub(in crate::bench) connections: usize,
    /// Times nginx's CPU.
    pub(in crate::bench) bar: f64,
}

pub(super) const HTTP1: Case = Case {
    title: "HTTP/1.1, 64 kept connections, an answer of 64 bytes",
    name: "HTTP/1.1",
    front: Front::Http,
    asker: Asker::Wrk,
    path: origin::SMALL,
    connections: CONNECTIONS,
    bar: 0.95,
};

/// What other programs measure too.
pub(in crate::bench) static COMPARABLE: [Case; 5] = [
    HTTP1,
    Case {
        title: "HTTP/1.1 over TLS 1.3, 64 kept connections, an answer of 64 bytes",
        name: "HTTP/1.1 over TLS",
        front: Front::Https,
        bar: 0.92,
        ..HTTP1
    },
    Case {
        title: "HTTP/1.1, 64 kept connections, an answer of 16 KiB",
        name: "HTTP/1.1, 16 KiB",
        path: origin::MEDIUM,
        bar: 0.90,
        ..HTTP1
    },
    Case {
        title: "HTTP/1.1, 64 kept connections, an answer of 1 MiB",
        name: "HTTP/1.1, 1 MiB",
        path: origin::LARGE,
        bar: 1.00,
        ..HTTP1
    },
    Case {
        title: "HTTP/2 over TLS 1.3, 16 connections of 8 streams, an answer of 64 bytes",
        name: "HTTP/2 over TLS",
        front: Front::Http2,
        asker: Asker::H2load { streams: STREAMS },
        connections: CONNECTIONS_OF_HTTP2,
        ..HTTP1
    },
];

pub(super) const HANDSHAKES: Case = Case {
    title: "A full TLS 1.3 handshake, ECDSA P-256, and one HTTP/1.1 request for each connection",
    name: "new TLS connection",
    front: Front::Https,
    asker: Asker::Closed,
    connections: CONNECTIONS_NEW,
    // At least 0.9 times as many handshakes per core.
    bar: 1.0 / 0.9,
    ..HTTP1
};

impl Case {
    pub(in crate::bench) fn body_bytes(&self) -> Result<u64> {
        origin::body_bytes(self.path)
    }
}

/// One measurement of one proxy.
#[derive(Default)]
pub(super) struct Run {
    pub(super) cpu_us: f64,
    pub(super) per_second: f64,
    /// Where the load tells.
    pub(super) p99_ms: Option<f64>,
    pub(super) pss_kib: u64,
    /// Requests that failed, by the load or by the origin.
    pub(super) errors: u64,
    pub(super) error: Option<String>,
    /// Requests that the origin saw beyond those that were asked.
    pub(super) repeated: u64,
    /// Headers that the origin missed, and which.
    pub(super) missed: u64,
    pub(super) missed_names: Vec<&'static str>,
    /// By how much the proxy's own count lies outside of what was asked.
    pub(super) uncounted: Option<u64>,
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

/// Starts a proxy alone on its core, and measures it.
pub(super) fn measure(
    case: &Case,
    subject: &Subject,
    origin: &Origin,
    authority: &Authority,
    seconds: u32,
) -> Result<Run> {
    let arguments: Vec<&str> = subject.arguments.iter().map(String::as_str).collect();
    let process = Process::start(PROXY_CPU, &subject.program, &arguments, subject.address)?;
    let target = Target { case, address: subject.address, authority };
    measure_started(&target, &process, subject.admin.as_deref(), origin, seconds)
}

/// The same of one that was just started. `admin` is where it tells what it counted.
pub(super) fn measure_started(
    target: &Target,
    process: &Process,
    admin: Option<&Path>,
    origin: &Origin,
    seconds: u32,
) -> Result<Run> {
    let secure = target.case.front.secure();
    origin.take(secure)?;
    let warm = target.ask(WARM_UP_SECONDS)?;
    let before = process.cpu_seconds()?;
    let load = target.ask(seconds)?;
    let cpu_seconds = process.cpu_seconds()? - before;
    let answers = warm.answers + load.answers;
    let asked = answers..=answers + warm.left_max + load.left_max;
    let uncounted = admin.map(|socket| counters::difference(socket, &asked)).transpose()?;
    let seen = origin.take(secure)?;
    Ok(Run {
        cpu_us: cpu_seconds * 1e6 / load.answers as f64,
        per_second: load.per_second,
        p99_ms: load.p99_ms,
        pss_kib: process.pss_kib(),
        // An answer that the origin did not give is none, whatever its status.
        errors: (warm.errors + load.errors).max(answers.saturating_sub(seen.requests)) + seen.refused,
        error: warm.error.or(load.error),
        repeated: seen.requests.saturating_sub(*asked.end()),
        missed: seen.missed,
        missed_names: seen.missed_names,
        uncounted,
    })
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
        let p99_ms = match Spread::of(runs.iter().filter_map(|run| run.p99_ms)) {
            Ok(spread) => format!("{:.2}", spread.median),
            Err(_) => "-".to_owned(),
        };
        ratios.insert(subject.name.to_owned(), median / base);
        writeln!(
            text,
            "| {} | {median:.2} | {lowest:.2} | {highest:.2} | {:.2} | {:.0} | {p99_ms} | {:.0} | {} |",
            subject.name,
            median / base,
            of(|run| run.per_second)?,
            of(|run| run.pss_kib as f64)?,
            runs.iter().map(|run| run.errors).sum::<u64>(),
        )?;
    }
    let mut verdicts = Vec::new();
    let ours = all.iter().find(|one| one.subject.name == APRON);
    // What was not measured meets no bar.
    let figure = ratios.get(APRON).copied().unwrap_or(f64::INFINITY);
    verdicts.push(Verdict::new(format!("{}: CPU per request, times nginx", case.name), figure, case.bar));
    match ours {
        None => text += "\nThis `apron proxy` has no `--https`.\n",
        Some(Measured { runs, .. }) => {
            text += &faults(runs);
            verdicts.extend(soundness(runs));
        }
    }
    Ok((Outcome { text, verdicts }, ratios))
}

/// What our own proxy did not do as it should, for people.
pub(super) fn faults(runs: &[Run]) -> String {
    let mut text = String::new();
    if let Some(error) = runs.iter().find_map(|run| run.error.as_ref()) {
        text += &format!("\napron failed with: {error}\n");
    }
    if let Some(run) = runs.iter().find(|run| run.missed > 0) {
        text += &format!("\nThe origin missed of apron: {}.\n", run.missed_names.join(", "));
    }
    if runs.iter().all(|run| run.uncounted.is_none()) {
        text += "\nThis `apron proxy` has no `--admin`: its own count was not compared.\n";
    }
    text
}

/// That our own proxy did the whole of its work.
pub(super) fn soundness(runs: &[Run]) -> Vec<Verdict> {
    let none = |what: &str, figure: u64| Verdict::new(what, figure as f64, 0.0);
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
            let mut run = Run { cpu_us: *cpu_us, ..Run::default() };
            change(&mut run);
            run
        };
        let subject = Subject { name, program, arguments, address, admin: None };
        Measured { subject, runs: times.iter().map(run).collect() }
    }

    fn figures(all: &[Measured]) -> Vec<f64> {
        let effort = Effort { rounds: 3, seconds: 6, starts: 0, rollouts: 0, minutes: 0, speed: 1 };
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
