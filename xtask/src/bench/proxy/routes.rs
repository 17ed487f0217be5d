//! Ten thousand routes from control, each with a certificate of its own: what they cost in memory and per request, and
//! how soon a change of them is seen.

use super::super::process::{Directory, Process};
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict, interrupt};
use super::certificate::Authority;
use super::child::Child;
use super::closed::{Plan, Speech};
use super::origin::{self, Origin};
use super::subjects::{self, Front};
use super::{HOST, LOAD_CPU, PROXY_CPU, Tools, ask, control, cpu, machine};
use anyhow::{Context, Result, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUTES: usize = 10_000;
/// As the platform runs it on the smallest machine: one loop per core, on all of them.
const LOOPS: usize = 2;
const CPUS: &str = "0,1";
/// Changes of the table that are watched.
const CHANGES: usize = 20;
/// Connections by which a change is watched. The kernel spreads them over the loops, so that none is left out but by a
/// chance of one in thousands.
const WATCHERS: usize = 16;
/// Between two looks: short beside what is measured, and little work.
const LOOK_PAUSE: Duration = Duration::from_micros(500);
const VISIBLE_TIME_MAX: Duration = Duration::from_secs(10);
/// Looks for a signal between so many steps of a long loop.
const CHECK_EVERY: usize = 500;

const PSS_BAR_MIB: f64 = 200.0;
const VISIBLE_BAR_MS: f64 = 10.0;
/// The price of a request does not depend on the number of routes; rounds of the same differ by half of this.
const RATIO_BAR: f64 = 1.10;

pub(super) fn run(tools: &Tools, origin: &Origin, authority: &Authority, effort: Effort) -> Result<Outcome> {
    let certificates = match tools.has("--https") {
        true => Some(certificates(authority)?),
        false => None,
    };
    let mut services: Vec<String> =
        (0..ROUTES).map(|number| control::service(number, &host(number), origin.address)).collect();

    eprintln!("{ROUTES} routes: memory");
    let mut child = Child::start(&tools.apron, CPUS, LOOPS, certificates.as_ref().map(|d| d.0.as_path()))?;
    publish(&mut child, &services)?;
    let mib = |child: &Child| child.process.pss_kib() as f64 / 1024.0;
    let with_routes = mib(&child);
    if let Some(https) = child.https {
        let client = authority.client(b"http/1.1")?;
        for number in 0..ROUTES {
            if number.is_multiple_of(CHECK_EVERY) {
                interrupt::check()?;
            }
            visit(https, &host(number), &client)?;
        }
    }
    let with_all = mib(&child);

    let mut visible = Vec::new();
    for number in ROUTES..ROUTES + CHANGES {
        eprintln!("{ROUTES} routes: change {} of {CHANGES}", number - ROUTES + 1);
        let service = control::service(number, &host(number), origin.address);
        visible.push(change(&mut child, &service, &host(number))?);
        services.push(service);
    }
    drop(child);

    let (mut one, mut many) = (Vec::new(), Vec::new());
    services.push(control::service(ROUTES + CHANGES, HOST, origin.address));
    for round in 1..=effort.rounds {
        eprintln!("{ROUTES} routes: CPU, round {round} of {}", effort.rounds);
        one.push(cpu_of_one(tools, origin, authority, effort.seconds)?);
        many.push(cpu_of_many(tools, &services, effort.seconds)?);
    }
    outcome(with_routes, certificates.is_some().then_some(with_all), &visible, &one, &many)
}

/// The host of the route of this number.
fn host(number: usize) -> String {
    format!("route-{number}.{HOST}")
}

/// A pair of files for each route.
fn certificates(authority: &Authority) -> Result<Directory> {
    eprintln!("{ROUTES} routes: certificates");
    let directory = Directory::new("proxy-certificates")?;
    for number in 0..ROUTES {
        if number.is_multiple_of(CHECK_EVERY) {
            interrupt::check()?;
        }
        let pair = authority.sign(&host(number))?;
        directory.write(&format!("{number}.pem"), &pair.certificate)?;
        directory.write(&format!("{number}.key"), &pair.key)?;
    }
    Ok(directory)
}

/// Gives the proxy a table and waits until it serves by it.
fn publish(child: &mut Child, services: &[String]) -> Result<()> {
    let table = child.control.table(services);
    child.control.send(&table)?;
    child.control.wait_serving()
}

/// One request over TLS, with the host's own certificate: so that it is in use.
fn visit(address: SocketAddr, host: &str, client: &Arc<ClientConfig>) -> Result<()> {
    let name = ServerName::try_from(host.to_owned())?;
    let connection = ClientConnection::new(client.clone(), name)?;
    let mut stream = StreamOwned::new(connection, ask::connect(address)?);
    let status = ask::ask(&mut stream, host, origin::SMALL).with_context(|| format!("https://{host}"))?;
    ensure!(status == 200, "https://{host} was answered {status}");
    Ok(())
}

/// Milliseconds from the first byte about a new service until its host is served on every connection.
fn change(child: &mut Child, service: &str, host: &str) -> Result<f64> {
    let watchers = (0..WATCHERS).map(|_| ask::connect(child.http)).collect::<Result<Vec<_>>>()?;
    let message = child.control.change(service);
    let watched = host.to_owned();
    let (ready, watching) = std::sync::mpsc::channel();
    let watch = machine::spawn("watch", LOAD_CPU, move || {
        let blind = look(watchers, &watched)?;
        ensure!(blind.len() == WATCHERS, "{watched} is served before it is routed");
        // Who waits for it has ended only if this thread will not be joined.
        let _ = ready.send(());
        until_visible(blind, &watched)
    })?;
    if watching.recv().is_err() {
        // The thread's own error says more.
        machine::join(watch)?;
        anyhow::bail!("nobody watches {host}");
    }
    let began = Instant::now();
    child.control.send(&message)?;
    let seen = machine::join(watch)?;
    child.control.wait_serving()?;
    Ok(seen.duration_since(began).as_secs_f64() * 1e3)
}

fn until_visible(mut blind: Vec<TcpStream>, host: &str) -> Result<Instant> {
    let end = Instant::now() + VISIBLE_TIME_MAX;
    loop {
        blind = look(blind, host)?;
        let now = Instant::now();
        if blind.is_empty() {
            return Ok(now);
        }
        ensure!(now < end, "{host} is not served on {} connections", blind.len());
        std::thread::sleep(LOOK_PAUSE);
    }
}

/// Those connections on which the host is not served.
fn look(connections: Vec<TcpStream>, host: &str) -> Result<Vec<TcpStream>> {
    let mut blind = Vec::with_capacity(connections.len());
    for mut stream in connections {
        if ask::ask(&mut stream, host, origin::SMALL)? != 200 {
            blind.push(stream);
        }
    }
    Ok(blind)
}

/// Microseconds per request, with the one route of the command line.
fn cpu_of_one(tools: &Tools, origin: &Origin, authority: &Authority, seconds: u32) -> Result<f64> {
    let directory = Directory::new("proxy")?;
    let files = authority.write(&directory, HOST)?;
    let subject = subjects::apron(&directory, tools, origin.address, Front::Http, &files)?;
    let subject = subject.context("apron speaks HTTP")?;
    let arguments: Vec<&str> = subject.arguments.iter().map(String::as_str).collect();
    let process = Process::start(PROXY_CPU, &subject.program, &arguments, subject.address)?;
    cpu_us(&process, subject.address, seconds)
}

/// The same, with one of many routes from control.
fn cpu_of_many(tools: &Tools, services: &[String], seconds: u32) -> Result<f64> {
    let mut child = Child::start(&tools.apron, &PROXY_CPU.to_string(), 1, None)?;
    publish(&mut child, services)?;
    cpu_us(&child.process, child.http, seconds)
}

fn cpu_us(process: &Process, address: SocketAddr, seconds: u32) -> Result<f64> {
    let path = origin::SMALL;
    let body_bytes = origin::body_bytes(path)?;
    let plan =
        Plan { address, secure: None, speech: Speech::Kept, path, body_bytes, connections: cpu::CONNECTIONS };
    let (warm, load, cpu_seconds) = cpu::loaded(&plan, process, seconds)?;
    let failed = warm.error.or(load.error);
    ensure!(failed.is_none(), "a request failed: {failed:?}");
    Ok(cpu_seconds * 1e6 / load.answers.max(1) as f64)
}

/// `with_all` is none where the proxy takes no certificates.
fn outcome(
    with_routes: f64,
    with_all: Option<f64>,
    visible: &[f64],
    one: &[f64],
    many: &[f64],
) -> Result<Outcome> {
    let (one, many) = (Spread::of(one.iter().copied())?, Spread::of(many.iter().copied())?);
    let (spread, p95) =
        (Spread::of(visible.iter().copied())?, Spread::percentile(visible.iter().copied(), 95)?);
    let certificates = match with_all {
        Some(mib) => format!("{mib:.1} once each of their certificates was used by a client"),
        None => "certificates were not measured, since this `apron proxy` has no `--https`".to_owned(),
    };
    let text = format!(
        "**{ROUTES} routes from control, each with a certificate and a key of its own.** {LOOPS} loops on the cores of \
         the load. PSS {with_routes:.1} MiB with the routes and the certificates at rest, {certificates}. A change is \
         one host more, from the first byte that control says of it until {WATCHERS} connections have all been answered \
         by the new host's application; {CHANGES} changes. CPU time is of one loop alone on its core, without TLS.\n\n\
         | | lowest | median | highest |\n|---|---|---|---|\n\
         | a change until it is visible, ms | {} |\n| µs of CPU per request, one static route | {} |\n\
         | µs of CPU per request, {ROUTES} routes | {} |\n",
        spread.cells(2),
        one.cells(2),
        many.cells(2),
    );
    let verdict = |what, figure, bar| Verdict { what, figure, bar };
    let verdicts = vec![
        // What was not measured meets no bar.
        verdict(
            "10,000 routes and certificates, PSS MiB",
            with_all.unwrap_or(f64::INFINITY).max(with_routes),
            PSS_BAR_MIB,
        ),
        verdict("a route change visible, p95 ms", p95, VISIBLE_BAR_MS),
        verdict("CPU per request with 10,000 routes, times with one", many.median / one.median, RATIO_BAR),
    ];
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_bars() {
        let changes: Vec<f64> = (1..=20).map(f64::from).collect();
        let figures = |with_all| -> Vec<f64> {
            let outcome = outcome(50.0, with_all, &changes, &[10.0, 30.0, 20.0], &[21.0]).unwrap();
            outcome.verdicts.iter().map(|verdict| verdict.figure).collect()
        };
        assert_eq!(figures(Some(120.0)), [120.0, 19.0, 1.05]);
        assert_eq!(figures(None)[0], f64::INFINITY);
    }
}
