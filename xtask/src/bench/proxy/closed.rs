//! A load that asks again as soon as it is answered, each time on a connection of its own.

use super::http1::{self, Answer, Reader};
use super::link::{Link, Received};
use super::poller::{Event, Poller};
use super::{HOST, LOAD_CPU, machine};
use crate::bench::interrupt;
use anyhow::{Result, bail, ensure};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is on its way when the time is up is waited for this long.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(10);
/// A proxy that fails this often is not worth the rest of the time.
const ERRORS_MAX: u64 = 1_000;
/// The longest wait for an event, and with it how late the end of the time is seen.
const LOOK: Duration = Duration::from_millis(50);
const READ_BYTES: usize = 256 * 1024;
/// Latencies that are kept, of 4 bytes each; further ones are counted only.
const LATENCIES_MAX: usize = 4_000_000;

/// What to ask, and how.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) secure: Option<Arc<ClientConfig>>,
    pub(super) path: &'static str,
    /// The length of each answer's body.
    pub(super) body_bytes: u64,
    /// At a time.
    pub(super) connections: usize,
}

/// What came of a load.
#[derive(Default)]
pub(super) struct Report {
    /// Whole answers, whatever they said.
    pub(super) answers: u64,
    /// Requests without the answer that was expected, and connections that broke.
    pub(super) errors: u64,
    /// The first of them.
    pub(super) error: Option<String>,
    pub(super) elapsed: Duration,
    /// In µs.
    pub(super) latencies: Vec<u32>,
}

impl Report {
    /// Counts one answer.
    pub(super) fn answer(&mut self, latency: Duration, wrong: Option<String>) -> Result<()> {
        self.answers += 1;
        if self.latencies.len() < LATENCIES_MAX {
            self.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        }
        wrong.map_or(Ok(()), |wrong| self.error(1, wrong))
    }

    /// Counts what failed.
    pub(super) fn error(&mut self, count: u64, text: String) -> Result<()> {
        self.errors += count;
        let first = self.error.get_or_insert(text);
        ensure!(self.errors <= ERRORS_MAX, "more than {ERRORS_MAX} requests failed, the first with: {first}");
        Ok(())
    }

    pub(super) fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The latency in ms that all but `percent` of a hundred do not pass, by the nearest rank.
    pub(super) fn percentile_ms(&mut self, percent: usize) -> Result<f64> {
        ensure!(!self.latencies.is_empty(), "nothing was answered: {:?}", self.error);
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        let (_, latency, _) = self.latencies.select_nth_unstable(rank - 1);
        Ok(f64::from(*latency) / 1e3)
    }
}

/// Asks for so long, then waits for the last answers.
pub(super) fn run(plan: &Plan, time: Duration) -> Result<Report> {
    interrupt::check()?;
    let plan = plan.clone();
    let report = machine::join(machine::spawn("load", LOAD_CPU, move || Load::new(&plan)?.run(time))?)?;
    interrupt::check()?;
    Ok(report)
}

struct Load<'a> {
    plan: &'a Plan,
    request: Vec<u8>,
    poller: Poller,
    connections: Vec<Connection>,
    report: Report,
}

struct Connection {
    link: Link,
    reader: Reader,
    /// When the request was sent, until it is answered.
    sent: Option<Instant>,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan) -> Result<Load<'a>> {
        let request = http1::request(HOST, plan.path, true);
        let (poller, connections) = (Poller::new()?, Vec::with_capacity(plan.connections));
        Ok(Load { plan, request, poller, connections, report: Report::default() })
    }

    fn run(mut self, time: Duration) -> Result<Report> {
        let began = Instant::now();
        for token in 0..self.plan.connections {
            let connection = self.open(token)?;
            self.connections.push(connection);
        }
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let elapsed = began.elapsed();
            let more = elapsed < time;
            let open: usize =
                if more { 1 } else { self.connections.iter().filter(|one| one.sent.is_some()).count() };
            if open == 0 {
                break;
            }
            if elapsed > time + LAST_ANSWER_MAX {
                self.report.error(open as u64, "the last requests were not answered".into())?;
                break;
            }
            for place in 0..self.poller.wait(LOOK)? {
                let event = self.poller.event(place);
                self.turn(event, &mut buffer, more)?;
            }
        }
        self.report.elapsed = began.elapsed();
        Ok(self.report)
    }

    /// Connects and asks.
    fn open(&self, token: usize) -> Result<Connection> {
        let mut link = Link::open(self.plan.address, self.plan.secure.as_ref())?;
        link.send(&self.request)?;
        self.poller.add(&link, token)?;
        Ok(Connection { link, reader: Reader::default(), sent: Some(Instant::now()) })
    }

    fn turn(&mut self, event: Event, buffer: &mut [u8], more: bool) -> Result<()> {
        let connection = &mut self.connections[event.token];
        let Some(sent) = connection.sent else { return Ok(()) };
        connection.link.ready(event.ending);
        match connection.read(buffer) {
            Ok(None) => return Ok(()),
            Ok(Some(answer)) => {
                let right = answer.status == 200 && answer.length == self.plan.body_bytes;
                self.report.answer(sent.elapsed(), (!right).then(|| format!("{answer:?}")))?;
            }
            Err(error) => self.report.error(1, format!("{error:#}"))?,
        }
        connection.sent = None;
        if more {
            self.connections[event.token] = self.open(event.token)?;
        }
        Ok(())
    }
}

impl Connection {
    /// Reads what came: nothing whole yet, or the answer. The end of the connection is not waited for: some servers wait
    /// for the client to go first.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Answer>> {
        self.link.flush()?;
        loop {
            let count = match self.link.receive(buffer)? {
                Received::Nothing => return Ok(None),
                Received::Closed => bail!("the connection was closed"),
                Received::Bytes(count) => count,
            };
            if let Some(answer) = self.reader.take(&buffer[..count])? {
                return Ok(Some(answer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::{self, Origin};
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn plan(address: SocketAddr) -> Plan {
        let path = origin::SMALL;
        let body_bytes = origin::body_bytes(path).unwrap();
        Plan { address, secure: None, path, body_bytes, connections: 3 }
    }

    #[test]
    fn every_answer_is_counted_on_both_sides() {
        let origin = Origin::start().unwrap();
        let mut report = run(&plan(origin.address), Duration::from_millis(200)).unwrap();
        assert_eq!((report.errors, report.error.as_ref()), (0, None));
        assert!(report.answers > 3 && report.percentile_ms(99).unwrap() > 0.0);
        assert_eq!(origin.take(false).unwrap().requests, report.answers);
        let wrong = Plan { body_bytes: 1, ..plan(origin.address) };
        assert!(run(&wrong, Duration::from_secs(10)).is_err(), "every answer is a wrong one");
    }

    #[test]
    fn a_server_that_closes_is_asked_on_new_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for stream in listener.incoming().take(20) {
                let mut stream = stream.unwrap();
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n";
                stream.write_all(&[&head[..], &[b'x'; 64]].concat()).unwrap();
            }
        });
        // After twenty connections there is nobody to take another one.
        let report = run(&plan(address), Duration::from_secs(1));
        server.join().unwrap();
        assert!(report.is_err(), "connecting fails in the end");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for stream in listener.incoming().take(3) {
                drop(stream.unwrap());
            }
        });
        let lost = run(&plan(address), Duration::ZERO).unwrap();
        server.join().unwrap();
        assert_eq!((lost.answers, lost.errors), (0, 3));
    }
}
