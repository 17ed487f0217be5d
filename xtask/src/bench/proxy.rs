//! CPU time per proxied request, beside nginx and HAProxy.
//!
//! The proxy under measurement runs alone on one core; the origin (nginx, one worker) and the load (wrk) share
//! another. What counts is the proxy's own user and system time divided by the requests it carried, which holds
//! on a noisy machine; requests per second and latency are for orientation. Rounds go around all proxies, and
//! the median of each is compared with nginx's median of the same run.

use super::process::{self, Directory, Process};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict, interrupt};
use crate::program;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

/// Origin and load generator.
const LOAD_CPU: usize = 0;
const PROXY_CPU: usize = 1;
pub(super) const HOST: &str = "bench.localhost";
pub(super) const CONNECTIONS: u32 = 64;
pub(super) const BODY_BYTES: usize = 64;
/// Before each measurement, so that connections are open and code is warm.
const WARM_UP_SECONDS: u32 = 2;
/// Times nginx's CPU per request.
const RATIO_BAR: f64 = 1.5;

struct Contender {
    name: &'static str,
    address: SocketAddr,
    program: String,
    arguments: Vec<String>,
    runs: Vec<Run>,
}

/// One measurement of one proxy.
struct Run {
    cpu_us: f64,
    requests_per_second: f64,
    p99: String,
    pss_kib: u64,
    /// Answers that were not 2xx or 3xx, and socket errors.
    errors: u64,
}

/// CPU time per request, in times nginx's of the same run, by the proxy's name.
pub(super) type Ratios = BTreeMap<String, f64>;

pub(super) fn run(program: &str, effort: Effort) -> Result<(Outcome, Ratios)> {
    ensure!(
        std::thread::available_parallelism()?.get() > PROXY_CPU,
        "the proxy bench needs two cores: one for the load, one for the proxy"
    );
    let directory = Directory::new("proxy")?;
    let origin = process::free_address()?;
    let mut contenders = contenders(&directory, origin, program)?;
    let origin_conf = origin_conf(&directory, origin)?;
    let _origin = Process::start(LOAD_CPU, "nginx", &["-c", &origin_conf], origin)?;
    for round in 1..=effort.rounds {
        for contender in &mut contenders {
            eprintln!("round {round} of {}: {}", effort.rounds, contender.name);
            let run = measure(contender, effort.seconds)?;
            contender.runs.push(run);
        }
    }
    outcome(&contenders, effort)
}

fn measure(contender: &Contender, seconds: u32) -> Result<Run> {
    let arguments: Vec<&str> = contender.arguments.iter().map(String::as_str).collect();
    let process = Process::start(PROXY_CPU, &contender.program, &arguments, contender.address)?;
    wrk(contender.address, WARM_UP_SECONDS)?;
    let before = process.cpu_seconds()?;
    let load = wrk(contender.address, seconds)?;
    let cpu_us = (process.cpu_seconds()? - before) * 1e6 / load.requests.max(1) as f64;
    Ok(Run {
        cpu_us,
        requests_per_second: load.requests_per_second,
        p99: load.p99,
        pss_kib: process.pss_kib(),
        errors: load.errors,
    })
}

struct Load {
    requests: u64,
    requests_per_second: f64,
    p99: String,
    errors: u64,
}

fn wrk(address: SocketAddr, seconds: u32) -> Result<Load> {
    let cpu = LOAD_CPU.to_string();
    let connections = format!("-c{CONNECTIONS}");
    let (duration, host) = (format!("-d{seconds}s"), format!("Host: {HOST}"));
    let url = format!("http://{address}/");
    let arguments = ["-c", &cpu, "wrk", "-t1", &connections, &duration, "--latency", "-H", &host, &url];
    interrupt::check()?;
    let said = program::output(Command::new("taskset").args(arguments))?;
    // It takes a signal for a regular end.
    interrupt::check()?;
    parse_wrk(&said)
}

fn parse_wrk(text: &str) -> Result<Load> {
    let number = |line: Option<&str>| -> Option<f64> {
        line?.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| !word.is_empty())?.parse().ok()
    };
    let line = |marker: &str| text.lines().find(|line| line.contains(marker));
    let p99 = line("99%").and_then(|line| line.split_whitespace().nth(1)).unwrap_or("-").to_owned();
    let bad = number(line("Non-2xx or 3xx responses").and_then(|line| line.split_once(':')).map(|(_, n)| n));
    let broken: u64 = line("Socket errors")
        .into_iter()
        .flat_map(|line| line.split(|c: char| !c.is_ascii_digit()))
        .filter_map(|word| word.parse::<u64>().ok())
        .sum();
    Ok(Load {
        requests: number(line(" requests in ")).with_context(|| format!("wrk said:\n{text}"))? as u64,
        requests_per_second: number(line("Requests/sec:")).context("wrk gave no rate")?,
        p99,
        errors: bad.unwrap_or(0.0) as u64 + broken,
    })
}

fn outcome(contenders: &[Contender], effort: Effort) -> Result<(Outcome, Ratios)> {
    let figure = |name: &str| {
        let contender = contenders.iter().find(|contender| contender.name == name);
        Spread::of(contender.into_iter().flat_map(|c| &c.runs).map(|run| run.cpu_us))
    };
    let base = figure("nginx")?.median;
    ensure!(base > 0.0, "nginx used no measurable time; measure longer");
    let mut text = format!(
        "CPU time of the proxy per request: HTTP/1.1, {CONNECTIONS} kept connections, an answer of {BODY_BYTES} \
         bytes. Proxy on one core, origin and load on another; median of {} interleaved rounds of {} s.\n\n\
         | proxy | µs per request | lowest | highest | times nginx | requests/s | p99 | PSS KiB | errors |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        effort.rounds, effort.seconds
    );
    let mut ratios = Ratios::new();
    for Contender { name, runs, .. } in contenders {
        let Spread { lowest, median, highest } = figure(name)?;
        let last = runs.last().context("no rounds")?;
        ratios.insert((*name).to_owned(), median / base);
        writeln!(
            text,
            "| {name} | {median:.2} | {lowest:.2} | {highest:.2} | {:.2} | {:.0} | {} | {} | {} |",
            median / base,
            Spread::of(runs.iter().map(|run| run.requests_per_second))?.median,
            last.p99,
            last.pss_kib,
            runs.iter().map(|run| run.errors).sum::<u64>(),
        )?;
    }
    let errors: u64 =
        contenders.iter().find(|c| c.name == "apron").map_or(0, |c| c.runs.iter().map(|r| r.errors).sum());
    let ratio = Verdict {
        what: "proxy CPU per request, times nginx",
        figure: figure("apron")?.median / base,
        bar: RATIO_BAR,
    };
    let lost = Verdict { what: "proxy requests that failed", figure: errors as f64, bar: 0.0 };
    Ok((Outcome { text, verdicts: vec![ratio, lost] }, ratios))
}

fn origin_conf(directory: &Directory, origin: SocketAddr) -> Result<String> {
    let root = directory.0.display();
    directory.write("body", &"x".repeat(BODY_BYTES))?;
    directory.write(
        "origin.conf",
        &format!(
            "worker_processes 1; daemon off; pid {root}/origin.pid; error_log /dev/null;
             events {{ worker_connections 8192; }}
             http {{
               access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=16;
               server {{ listen {origin} backlog=4096; root {root}; location / {{ try_files /body =404; }} }}
             }}\n"
        ),
    )
}

/// Each proxy does the same work: keeps connections on both sides, appends X-Forwarded-For, logs nothing.
fn contenders(directory: &Directory, origin: SocketAddr, ours: &str) -> Result<Vec<Contender>> {
    let (apron, nginx, haproxy) =
        (process::free_address()?, process::free_address()?, process::free_address()?);
    let root = directory.0.display();
    let nginx_conf = directory.write(
        "nginx.conf",
        &format!(
            "worker_processes 1; daemon off; pid {root}/nginx.pid; error_log /dev/null;
             events {{ worker_connections 8192; }}
             http {{
               access_log off; keepalive_requests 100000000;
               upstream origin {{ server {origin}; keepalive 512; keepalive_requests 100000000; }}
               server {{
                 listen {nginx} backlog=4096;
                 location / {{
                   proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
                   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                   proxy_set_header X-Forwarded-Proto $scheme; proxy_pass http://origin;
                 }}
               }}
             }}\n"
        ),
    )?;
    let haproxy_conf = directory.write(
        "haproxy.cfg",
        &format!(
            "global\n  nbthread 1\n  maxconn 8192\n\
             defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n  \
             option forwardfor\n  http-reuse always\n\
             frontend front\n  bind {haproxy}\n  default_backend back\n\
             backend back\n  server origin {origin}\n"
        ),
    )?;
    let contender = |name, address, program: &str, arguments: Vec<String>| Contender {
        name,
        address,
        program: program.to_owned(),
        arguments,
        runs: Vec::new(),
    };
    Ok(vec![
        contender("apron", apron, ours, our_arguments(origin, apron)),
        contender("nginx", nginx, "nginx", vec!["-c".into(), nginx_conf]),
        contender("haproxy", haproxy, "haproxy", vec!["-f".into(), haproxy_conf]),
    ])
}

/// Our proxy on one loop, from `listen` to `origin`.
pub(super) fn our_arguments(origin: SocketAddr, listen: SocketAddr) -> Vec<String> {
    let (route, listen) = (format!("{HOST}={origin}"), listen.to_string());
    ["proxy", "--static-route", &route, "--http", &listen, "--loops", "1"].map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Latency Distribution
     50%    0.88ms
     99%    1.40ms
  139500 requests in 2.10s, 36.86MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
  Non-2xx or 3xx responses: 5
Requests/sec:  66428.57
Transfer/sec:     17.55MB
";

    #[test]
    fn the_load_generator_is_understood() {
        let load = parse_wrk(WRK).unwrap();
        assert_eq!((load.requests, load.p99.as_str(), load.errors), (139_500, "1.40ms", 9));
        assert_eq!(load.requests_per_second, 66_428.57);
        assert!(parse_wrk("unable to connect").is_err());
    }
}
