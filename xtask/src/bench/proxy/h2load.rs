//! `h2load`, which asks over HTTP/2: so many requests at a time on each kept connection.

use super::HOST;
use super::load::{Load, Target};
use anyhow::{Context, Result};

pub(super) fn run(target: &Target, streams: usize, seconds: u32) -> Result<Load> {
    let connections = target.case.connections;
    let (connections_flag, streams_flag) = (format!("-c{connections}"), format!("-m{streams}"));
    let (time, host) = (format!("-D{seconds}"), format!(":authority: {HOST}"));
    let said = target.output("h2load", &["-t1", &connections_flag, &streams_flag, &time, "-H", &host])?;
    let load = parse(&said, target.case.body_bytes()?, (connections * streams) as u64);
    load.with_context(|| format!("h2load said:\n{said}"))
}

/// What it says at its end. It drops what is under way then, at most one request for each stream.
fn parse(said: &str, body_bytes: u64, streams: u64) -> Result<Load> {
    let number = |line: &str, what: &str| -> Result<u64> { Ok(part(said, line, what)?.parse()?) };
    let (answers, failed) = (number("requests: ", " done")?, number("requests: ", " failed")?);
    let good = number("status codes: ", " 2xx")?;
    // As people read it, and exactly.
    let data = part(said, "traffic: ", ") data")?;
    let data: u64 = data.rsplit('(').next().unwrap_or_default().parse()?;
    // What is dropped may have a status or a body already.
    let errors = failed.max(answers.saturating_sub(good.min(data / body_bytes)));
    Ok(Load {
        answers,
        left_max: streams,
        errors,
        error: (errors > 0).then(|| {
            format!("{answers} answers, {good} of them 2xx, {data} bytes of bodies; {failed} requests failed")
        }),
        per_second: part(said, "finished in ", " req/s")?.parse()?,
        p99_ms: None,
    })
}

/// What stands before `end` in one of the parts of the line that starts so.
fn part<'a>(said: &'a str, start: &str, end: &str) -> Result<&'a str> {
    let line = said.lines().find_map(|line| line.strip_prefix(start));
    let part = line.and_then(|line| line.split(", ").find_map(|part| part.strip_suffix(end)));
    part.with_context(|| format!("no '{end}' behind '{start}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Application protocol: h2
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 2.00s, 78273.00 req/s, 7.99MB/s
requests: 156546 total, 156674 started, 156546 done, 156546 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 156546 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 15.98MB (16753142) total, 3.73MB (3915490) headers (space savings 85.79%), 9.55MB (10018944) data
                     min         max         mean         sd        +/- sd
time for request:      606us      8.86ms      1.54ms       556us    80.88%
";
    const WRONG_STATUSES: &str = "\
finished in 2.01s, 19850.00 req/s, 2.52MB/s
requests: 39700 total, 39828 started, 39700 done, 0 succeeded, 39700 failed, 0 errored, 0 timeout
status codes: 0 2xx, 0 3xx, 0 4xx, 39700 5xx
traffic: 5.04MB (5282868) total, 389.54KB (398888) headers (space savings 93.02%), 3.98MB (4168500) data
";
    const NO_CONNECTION: &str = "\
finished in 1.00s, 0.00 req/s, 0B/s
requests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 0B (0) total, 0B (0) headers (space savings 0.00%), 0B (0) data
";

    #[test]
    fn answers_are_counted() {
        let load = parse(GOOD, 64, 128).unwrap();
        assert_eq!((load.answers, load.left_max, load.errors, load.error), (156_546, 128, 0, None));
        assert_eq!((load.per_second, load.p99_ms), (78273.0, None));
        assert_eq!(parse(NO_CONNECTION, 64, 128).unwrap().answers, 0);
        assert!(parse("", 64, 128).is_err());
    }

    #[test]
    fn what_failed_is_an_error() {
        let load = parse(WRONG_STATUSES, 64, 128).unwrap();
        assert_eq!((load.answers, load.errors), (39_700, 39_700));
        assert!(load.error.unwrap().contains("0 of them 2xx"));
        // The bodies of half of the answers.
        assert_eq!(parse(GOOD, 128, 128).unwrap().errors, 156_546 / 2);
    }
}
