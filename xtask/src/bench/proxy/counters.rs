//! What our own proxy says that it answered, from its admin socket.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// One sample per service and class of status.
const REQUESTS: &str = "apron_proxy_requests_total";
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A request is counted once its answer has gone, which may be a moment after the client has read it.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(2);
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// By how much its count lies outside of what was asked.
pub(super) fn difference(socket: &Path, asked: &RangeInclusive<u64>) -> Result<u64> {
    let began = Instant::now();
    loop {
        let difference = outside(requests(&metrics(socket)?)?, asked);
        if difference == 0 || began.elapsed() >= SETTLE_TIME_MAX {
            return Ok(difference);
        }
        std::thread::sleep(SETTLE_PAUSE);
    }
}

fn outside(count: u64, asked: &RangeInclusive<u64>) -> u64 {
    asked.start().saturating_sub(count) + count.saturating_sub(*asked.end())
}

fn metrics(socket: &Path) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    // Of HTTP/1.0, so that the answer ends with its connection and is not cut into chunks.
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text).context("cannot read the metrics")?;
    Ok(text)
}

/// The sum of all samples.
fn requests(metrics: &str) -> Result<u64> {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(REQUESTS)?;
        // Not a name that only begins alike.
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next())?
    });
    let numbers = samples.map(|text| text.parse::<f64>().with_context(|| format!("'{text}' is no number")));
    let numbers = numbers.collect::<Result<Vec<f64>>>()?;
    anyhow::ensure!(!numbers.is_empty(), "the metrics have no {REQUESTS}:\n{metrics}");
    Ok(numbers.iter().sum::<f64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_may_lie_between_two() {
        let outside: Vec<u64> = [7, 10, 12, 15].map(|count| outside(count, &(10..=12))).into();
        assert_eq!(outside, [3, 0, 0, 3]);
    }

    #[test]
    fn all_samples_of_the_counter_are_one_sum() {
        let text = "HTTP/1.0 200 OK\r\n\r\n# TYPE apron_proxy_requests_total counter\n\
                    apron_proxy_requests_total{service=\"a b\",class=\"2xx\"} 7\n\
                    apron_proxy_requests_total{service=\"a b\",class=\"4xx\"} 2\n\
                    apron_proxy_requests_total_created 5\n";
        assert_eq!(requests(text).unwrap(), 9);
        assert!(requests("apron_proxy_requests 1\n").is_err());
        assert!(requests("apron_proxy_requests_total many\n").is_err());
    }
}
