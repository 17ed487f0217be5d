//! `wrk`, which asks over HTTP/1.1: one request after the other on each kept connection.

use super::HOST;
use super::load::{Load, Target};
use anyhow::{Context, Result, bail};

/// It rounds the bytes that it read to two digits behind the point.
const ROUNDED: f64 = 1.01;
const BYTES: [(&str, f64); 5] = [
    ("B", 1.0),
    ("KB", 1024.0),
    ("MB", 1024.0 * 1024.0),
    ("GB", 1024.0 * 1024.0 * 1024.0),
    ("TB", 1024.0 * 1024.0 * 1024.0 * 1024.0),
];
const MILLISECONDS: [(&str, f64); 5] = [("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3)];

pub(super) fn run(target: &Target, seconds: u32) -> Result<Load> {
    let connections = target.case.connections;
    let (connections_flag, time, host) =
        (format!("-c{connections}"), format!("-d{seconds}s"), format!("Host: {HOST}"));
    let said = target.output("wrk", &["-t1", &connections_flag, &time, "--latency", "-H", &host])?;
    let load = parse(&said, target.case.body_bytes()?, connections as u64);
    load.with_context(|| format!("wrk said:\n{said}"))
}

/// What it says at its end. Its answers are whole; on each connection one more may be under way.
fn parse(said: &str, body_bytes: u64, connections: u64) -> Result<Load> {
    let behind = |start: &str| said.lines().find_map(|line| line.trim_start().strip_prefix(start));
    let (answers, read) =
        said.lines().find_map(|line| line.split_once(" requests in ")).context("no requests")?;
    let answers: u64 = answers.trim_start().parse()?;
    let read = read.split_once(", ").and_then(|(_, read)| read.strip_suffix(" read")).context("no bytes")?;
    let bodies = (scaled(read, &BYTES)? * ROUNDED) as u64 / body_bytes;

    let (sockets, statuses) = (behind("Socket errors: "), behind("Non-2xx or 3xx responses: "));
    let mut failed = 0;
    for count in sockets.into_iter().flat_map(|line| line.split(", ")) {
        failed += count.rsplit(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    failed += statuses.unwrap_or("0").parse::<u64>()?;
    let errors = failed.max(answers.saturating_sub(bodies));
    let (sockets, statuses) = (sockets.unwrap_or("0"), statuses.unwrap_or("0"));
    Ok(Load {
        answers,
        left_max: connections,
        errors,
        error: (errors > 0).then(|| {
            format!("{answers} answers, {read} read; socket errors: {sockets}; wrong statuses: {statuses}")
        }),
        per_second: behind("Requests/sec:").context("no requests per second")?.trim_start().parse()?,
        p99_ms: Some(scaled(behind("99%").context("no p99")?.trim_start(), &MILLISECONDS)?),
    })
}

/// A number with one of these units.
fn scaled(text: &str, units: &[(&str, f64)]) -> Result<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else { bail!("a unit in '{text}'") };
    Ok(number.parse::<f64>()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Running 2s test @ http://127.0.0.1:9556/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     0.97ms  581.75us  10.40ms   92.65%
    Req/Sec    60.80k     1.96k   63.75k    70.00%
  Latency Distribution
     50%    1.01ms
     75%    1.20ms
     90%    1.32ms
     99%    1.78ms
  120995 requests in 2.00s, 31.96MB read
Requests/sec:  60456.81
Transfer/sec:     15.97MB
";
    const WRONG_STATUSES: &str = "\
     99%    1.06ms
  180007 requests in 2.00s, 48.75MB read
  Non-2xx or 3xx responses: 180007
Requests/sec:  89908.24
";
    const NO_ANSWERS: &str = "\
     99%    0.00us
  0 requests in 1.00s, 0.00B read
  Socket errors: connect 0, read 27922, write 0, timeout 0
Requests/sec:      0.00
";

    #[test]
    fn answers_are_counted_and_timed() {
        let load = parse(GOOD, 64, 64).unwrap();
        assert_eq!((load.answers, load.left_max, load.errors, load.error), (120_995, 64, 0, None));
        assert_eq!((load.per_second, load.p99_ms), (60456.81, Some(1.78)));
        assert_eq!(scaled("530.00us", &MILLISECONDS).unwrap(), 0.53);
        assert!(scaled("1.00", &BYTES).is_err());
        assert!(parse("unable to connect", 64, 64).is_err());
    }

    #[test]
    fn what_failed_is_an_error() {
        let errors = |said, body_bytes| {
            let load = parse(said, body_bytes, 64).unwrap();
            assert_eq!(load.errors > 0, load.error.is_some());
            load.errors
        };
        assert_eq!(errors(WRONG_STATUSES, 64), 180_007);
        assert_eq!(errors(NO_ANSWERS, 64), 27_922);
        // 31.96 MB are the bodies of half of the answers.
        assert!((60_000..61_000).contains(&errors(GOOD, 560)));
    }
}
