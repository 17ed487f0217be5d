//! Ten thousand routes from control, each with a certificate of its own: what they cost in memory and per request, and
//! how soon a change of them is seen.

use super::super::process::Directory;
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict, interrupt};
use super::certificate::Authority;
use super::child::Child;
use super::cpu::{self, HTTP1, Run};
use super::load::Target;
use super::origin::{self, Origin};
use super::subjects::{self, Front};
use super::{HOST, LOAD_CPU, PROXY_CPU, Tools, ask, control, machine};
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

/// What was measured of requests over one route.
#[derive(Default)]
struct Requests {
    /// With the one route of the command line.
    one: Vec<Run>,
    /// With one of many routes from control.
    many: Vec<Run>,
    nginx: Vec<Run>,
}

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
        let client = authority.client()?;
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

    services.push(control::service(ROUTES + CHANGES, HOST, origin.address));
    let requests = requests(tools, &services, origin, authority, effort)?;
    outcome(with_routes, certificates.is_some().then_some(with_all), &visible, &requests)
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

/// Those connections on which the host is not served. All are asked before any is heard: one after the other, a look
/// would take as long as what it looks for.
fn look(mut connections: Vec<TcpStream>, host: &str) -> Result<Vec<TcpStream>> {
    for stream in &mut connections {
        ask::send(stream, host, origin::SMALL)?;
    }
    let mut blind = Vec::with_capacity(connections.len());
    for mut stream in connections {
        if ask::answer(&mut stream)? != 200 {
            blind.push(stream);
        }
    }
    Ok(blind)
}

/// Requests of the plain case, in rounds that go around all three.
fn requests(
    tools: &Tools,
    services: &[String],
    origin: &Origin,
    authority: &Authority,
    effort: Effort,
) -> Result<Requests> {
    let directory = Directory::new("proxy")?;
    let files = authority.write(&directory, HOST)?;
    let apron = subjects::apron(&directory, tools, origin.address, Front::Http, &files)?;
    let apron = apron.context("apron speaks HTTP")?;
    let nginx = subjects::nginx(&directory, origin.address, Front::Http, &files)?;
    let alone = |subject| cpu::measure(&HTTP1, subject, origin, authority, effort.seconds);
    let mut requests = Requests::default();
    for round in 1..=effort.rounds {
        eprintln!("{ROUTES} routes: CPU, round {round} of {}", effort.rounds);
        requests.one.push(alone(&apron)?);
        let mut child = Child::start(&tools.apron, &PROXY_CPU.to_string(), 1, None)?;
        publish(&mut child, services)?;
        let target = Target { case: &HTTP1, address: child.http, authority };
        let many = cpu::measure_started(&target, &child.process, Some(&child.admin), origin, effort.seconds)?;
        requests.many.push(many);
        drop(child);
        requests.nginx.push(alone(&nginx)?);
    }
    Ok(requests)
}

/// `with_all` is none where the proxy takes no certificates.
fn outcome(with_routes: f64, with_all: Option<f64>, visible: &[f64], requests: &Requests) -> Result<Outcome> {
    let cpu_us = |runs: &[Run]| Spread::of(runs.iter().map(|run| run.cpu_us));
    let (one, many, nginx) = (cpu_us(&requests.one)?, cpu_us(&requests.many)?, cpu_us(&requests.nginx)?);
    let (spread, p95) =
        (Spread::of(visible.iter().copied())?, Spread::percentile(visible.iter().copied(), 95)?);
    let certificates = match with_all {
        Some(mib) => format!("{mib:.1} once each of their certificates was used by a client"),
        None => "certificates were not measured, since this `apron proxy` has no `--https`".to_owned(),
    };
    let mut text = format!(
        "**{ROUTES} routes from control, each with a certificate and a key of its own.** {LOOPS} loops on the cores of \
         the load. PSS {with_routes:.1} MiB with the routes and the certificates at rest, {certificates}. A change is \
         one host more, from the first byte that control says of it until {WATCHERS} connections have all been answered \
         by the new host's application; {CHANGES} changes. CPU time is of one loop alone on its core, without TLS.\n\n\
         | | lowest | median | highest |\n|---|---|---|---|\n\
         | a change until it is visible, ms | {} |\n| µs of CPU per request, one static route | {} |\n\
         | µs of CPU per request, {ROUTES} routes | {} |\n| µs of CPU per request, nginx | {} |\n",
        spread.cells(2),
        one.cells(2),
        many.cells(2),
        nginx.cells(2),
    );
    // What was not measured meets no bar.
    let mib = with_all.unwrap_or(f64::INFINITY).max(with_routes);
    let (to_one, to_nginx) = (many.median / one.median, many.median / nginx.median);
    let mut verdicts = vec![
        Verdict::new("10,000 routes and certificates, PSS MiB", mib, PSS_BAR_MIB),
        Verdict::new("a route change visible, p95 ms", p95, VISIBLE_BAR_MS),
        Verdict::new("CPU per request with 10,000 routes, times with one", to_one, RATIO_BAR),
        Verdict::new("CPU per request of a route from control, times nginx", to_nginx, HTTP1.bar),
    ];
    for runs in [&requests.one, &requests.many] {
        text += &cpu::faults(runs);
        verdicts.extend(cpu::soundness(runs));
    }
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_bars() {
        let changes: Vec<f64> = (1..=20).map(f64::from).collect();
        let runs = |times: &[f64]| -> Vec<Run> {
            times.iter().map(|cpu_us| Run { cpu_us: *cpu_us, errors: 1, ..Run::default() }).collect()
        };
        let requests = Requests { one: runs(&[10.0, 30.0, 20.0]), many: runs(&[21.0]), nginx: runs(&[42.0]) };
        let figures = |with_all| -> Vec<f64> {
            let outcome = outcome(50.0, with_all, &changes, &requests).unwrap();
            outcome.verdicts.iter().map(|verdict| verdict.figure).collect()
        };
        // What failed of ours stands behind, the one route's first.
        assert_eq!(figures(Some(120.0)), [120.0, 19.0, 1.05, 0.5, 3.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(figures(None)[0], f64::INFINITY);
    }
}
