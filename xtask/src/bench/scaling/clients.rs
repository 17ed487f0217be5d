//! An open-loop load: every request at its time, whatever became of those before it. Whom an answer keeps from the next
//! request in time leaves it to another client; when none is free, the request is late and counted as that. Times are
//! measured from when a request was due, so that a late one is not a short one.

use crate::bench::interrupt;
use crate::bench::load::{self, FAILURES_MAX};
use anyhow::{Context, Result};
use apron_scalers::trace::Arrival;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests at a time at most: many more than the instances of a trace take, and what may wait before them while they
/// start.
const CLIENTS: usize = 512;
const STACK_BYTES: usize = 128 * 1024;
/// A request that is begun later than this after its time is late.
const LATE_AFTER: Duration = Duration::from_millis(10);
/// A connection that rested for longer may be closed by its other end in the moment in which it is used.
const REST_TIME_MAX: Duration = Duration::from_secs(5);
/// A signal is looked for so often.
const SLEEP_TIME_MAX: Duration = Duration::from_millis(250);

/// Whom to ask, and what for.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) host: String,
    /// What an instance does at a time without being slowed down by it.
    pub(super) together: u32,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) late: u64,
    /// From the time of each request that was answered to the end of its answer, added up.
    pub(super) answers_s: f64,
    /// The first failures.
    pub(super) failures: Vec<String>,
}

impl Asked {
    pub(super) fn requests(&self) -> u64 {
        self.answered + self.failed
    }

    pub(super) fn answer_mean_ms(&self) -> f64 {
        1e3 * self.answers_s / self.answered.max(1) as f64
    }

    fn add(&mut self, other: Asked) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.late += other.late;
        self.answers_s += other.answers_s;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
    }
}

/// Asks for all of it, times counted from `began`.
pub(super) fn ask(target: &Target, arrivals: &[Arrival], began: Instant) -> Result<Asked> {
    let next = AtomicUsize::new(0);
    let mut all = Asked::default();
    std::thread::scope(|scope| -> Result<()> {
        let client = || client(target, arrivals, &next, began);
        let start = |_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, client);
        let clients = (0..CLIENTS).map(start).collect::<Result<Vec<_>, _>>();
        if clients.is_err() {
            // Those that did start find nothing to do.
            next.store(arrivals.len(), Ordering::Relaxed);
        }
        for client in clients.context("cannot start a client")? {
            all.add(client.join().unwrap_or_default());
        }
        Ok(())
    })?;
    interrupt::check()?;
    Ok(all)
}

fn client(target: &Target, arrivals: &[Arrival], next: &AtomicUsize, began: Instant) -> Asked {
    let mut asked = Asked::default();
    let mut connection: Option<(BufReader<TcpStream>, Instant)> = None;
    while let Some(arrival) = arrivals.get(next.fetch_add(1, Ordering::Relaxed)) {
        let due = began + Duration::from_millis(arrival.at_ms);
        if sleep_until(due).is_err() {
            break;
        }
        asked.late += u64::from(due.elapsed() > LATE_AFTER);
        let kept = connection.take().filter(|(_, since)| since.elapsed() < REST_TIME_MAX);
        match exchange(target, kept.map(|(stream, _)| stream), arrival.work_ms) {
            Ok(stream) => {
                asked.answered += 1;
                asked.answers_s += due.elapsed().as_secs_f64();
                connection = stream.map(|stream| (stream, Instant::now()));
            }
            Err(error) => {
                asked.failed += 1;
                if asked.failures.len() < FAILURES_MAX {
                    asked.failures.push(format!("{error:#}"));
                }
            }
        }
    }
    asked
}

/// # Errors
/// After a signal.
fn sleep_until(due: Instant) -> Result<()> {
    loop {
        interrupt::check()?;
        match due.checked_duration_since(Instant::now()) {
            Some(rest) => std::thread::sleep(rest.min(SLEEP_TIME_MAX)),
            None => return Ok(()),
        }
    }
}

/// One request and its answer; the connection, if it may be used again.
fn exchange(
    target: &Target,
    kept: Option<BufReader<TcpStream>>,
    work_ms: f64,
) -> Result<Option<BufReader<TcpStream>>> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => load::connect(target.address)?,
    };
    let Target { host, together, .. } = target;
    let request = format!("GET /work?ms={work_ms:.3}&together={together} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).context("write")?;
    Ok(load::answer(&mut stream)?.then_some(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;
    use std::net::TcpListener;

    /// Answers so much later, each connection in a thread of its own.
    fn server(after: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
                        if line == "\r\n" {
                            std::thread::sleep(after);
                            let _ =
                                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                        }
                        line.clear();
                    }
                });
            }
        });
        address
    }

    #[test]
    fn a_slow_answer_does_not_hold_up_the_next_request() {
        let (at_a_time, each) = (40, Duration::from_millis(200));
        let target = Target { address: server(each), host: "a.test".to_owned(), together: 1 };
        let arrivals: Vec<Arrival> =
            (0..at_a_time).map(|n| Arrival { at_ms: 50 + n, work_ms: 1.0 }).collect();
        let began = Instant::now();
        let asked = ask(&target, &arrivals, began).unwrap();
        assert_eq!((asked.answered, asked.failed), (at_a_time, 0), "{:?}", asked.failures);
        assert!(asked.answer_mean_ms() >= 200.0, "{}", asked.answer_mean_ms());
        assert!(began.elapsed() < each * at_a_time as u32 / 2, "they were asked one after the other");
    }

    #[test]
    fn nobody_there_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let target = Target { address, host: "a.test".to_owned(), together: 1 };
        let asked = ask(&target, &[Arrival { at_ms: 0, work_ms: 1.0 }], Instant::now()).unwrap();
        assert_eq!((asked.requests(), asked.failed, asked.failures.len()), (1, 1, 1));
    }
}
