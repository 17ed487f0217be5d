//! The loads of CPU measurements. Each asks again as soon as it is answered, from the core of the origin.
//!
//! Kept connections are asked on by Debian's `wrk` and, over HTTP/2, by `h2load`, which people who compare proxies know.
//! In which rhythm a load asks is part of what a request costs: of several that come at once a proxy reads, decrypts and
//! answers more with each call to the kernel, so that figures compare only under the same load. Neither of the two
//! opens a connection for each request: that is done by `closed`.

use super::super::{interrupt, process};
use super::certificate::Authority;
use super::cpu::Case;
use super::{LOAD_CPU, closed, h2load, wrk};
use crate::program;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Who asks.
#[derive(Clone, Copy)]
pub(super) enum Asker {
    /// One request after the other on each kept connection.
    Wrk,
    /// So many requests at a time on each kept connection, of HTTP/2.
    H2load { streams: usize },
    /// Each request on a connection of its own.
    Closed,
}

/// Of whom a case is asked.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) case: &'a Case,
    pub(super) address: SocketAddr,
    /// Whom the load trusts, where it looks.
    pub(super) authority: &'a Authority,
}

/// What came of a load.
pub(super) struct Load {
    /// Whole answers, whatever they said.
    pub(super) answers: u64,
    /// Requests that it may have left behind at its end: whoever was asked may count them, the load does not.
    pub(super) left_max: u64,
    /// Requests without the answer that was expected, and connections that broke.
    pub(super) errors: u64,
    /// What went wrong, for people.
    pub(super) error: Option<String>,
    pub(super) per_second: f64,
    /// `h2load` does not tell.
    pub(super) p99_ms: Option<f64>,
}

/// That the programs are there which ask.
///
/// # Errors
/// When a program is missing, which would else show after minutes.
pub(in crate::bench) fn find_programs() -> Result<()> {
    find("wrk", "wrk")?;
    find("h2load", "nghttp2-client")
}

fn find(program: &str, package: &str) -> Result<()> {
    // How it ends tells nothing: `wrk` fails even when it says its version.
    let started = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    started
        .with_context(|| format!("the bench proxy needs {program}: install the Debian package {package}"))?;
    Ok(())
}

impl Target<'_> {
    /// Asks for so long.
    pub(super) fn ask(&self, seconds: u32) -> Result<Load> {
        interrupt::check()?;
        let load = match self.case.asker {
            Asker::Wrk => wrk::run(self, seconds),
            Asker::H2load { streams } => h2load::run(self, streams, seconds),
            Asker::Closed => self.ask_on_new_connections(seconds),
        };
        // Ctrl-C ends the programs too, each in its way.
        interrupt::check()?;
        let load = load?;
        ensure!(load.answers > 0, "nothing was answered: {:?}", load.error);
        Ok(load)
    }

    /// What a program says that asks there for the case's path.
    pub(super) fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let scheme = if self.case.front.secure() { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", self.address, self.case.path);
        program::output(process::pinned(&LOAD_CPU.to_string(), program).args(arguments).arg(url))
    }

    fn ask_on_new_connections(&self, seconds: u32) -> Result<Load> {
        let plan = closed::Plan {
            address: self.address,
            secure: if self.case.front.secure() { Some(self.authority.client()?) } else { None },
            path: self.case.path,
            body_bytes: self.case.body_bytes()?,
            connections: self.case.connections,
        };
        let mut report = closed::run(&plan, Duration::from_secs(seconds.into()))?;
        Ok(Load {
            answers: report.answers,
            left_max: 0,
            errors: report.errors,
            per_second: report.per_second(),
            p99_ms: Some(report.percentile_ms(99)?),
            error: report.error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_with_its_package() {
        let error = find("/nonexistent/h2load", "nghttp2-client").unwrap_err().to_string();
        assert_eq!(
            error,
            "the bench proxy needs /nonexistent/h2load: install the Debian package nghttp2-client"
        );
        find("true", "coreutils").unwrap();
    }
}
