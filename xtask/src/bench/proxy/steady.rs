//! A load of so many requests per second, each sent at its time whether the ones before it are answered or not.
//! Latency counts from when a request was due, so that a proxy that is held up is not spared those that came meanwhile.

use super::closed::Report;
use super::http1::{self, Reader};
use super::link::{Link, Received};
use super::poller::{Event, Poller};
use super::{HOST, LOAD_CPU, machine};
use crate::bench::interrupt;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is on its way when the time is up is waited for this long.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Far more than are under way when all goes well.
const CONNECTIONS_MAX: usize = 2_000;
const READ_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    pub(super) body_bytes: u64,
    /// Between two requests.
    pub(super) every: Duration,
    /// Requests that are not counted: connections open, pools fill.
    pub(super) warm_up: usize,
    /// Requests that are.
    pub(super) requests: usize,
}

/// Sends all of them and waits for the last answers.
pub(super) fn run(plan: Plan) -> Result<Report> {
    interrupt::check()?;
    let report = machine::join(machine::spawn("load", LOAD_CPU, move || Load::new(plan)?.run())?)?;
    interrupt::check()?;
    Ok(report)
}

struct Load {
    plan: Plan,
    request: Vec<u8>,
    poller: Poller,
    connections: Vec<Connection>,
    /// Those that nothing is under way on.
    idle: Vec<usize>,
    report: Report,
}

struct Connection {
    link: Link,
    reader: Reader,
    /// The request that is under way: when it was due, and whether it counts.
    asked: Option<(Instant, bool)>,
}

impl Load {
    fn new(plan: Plan) -> Result<Load> {
        let (poller, request) = (Poller::new()?, http1::request(HOST, plan.path, false));
        let (connections, idle) = (Vec::new(), Vec::new());
        Ok(Load { plan, request, poller, connections, idle, report: Report::default() })
    }

    fn run(mut self) -> Result<Report> {
        let mut buffer = vec![0; READ_BYTES];
        let all = self.plan.warm_up + self.plan.requests;
        let (began, mut sent) = (Instant::now(), 0);
        let every = self.plan.every;
        let due = move |number: usize| began + every * number as u32;
        let end = due(all) + LAST_ANSWER_MAX;
        loop {
            while sent < all && due(sent) <= Instant::now() {
                self.ask(due(sent), sent >= self.plan.warm_up)?;
                sent += 1;
            }
            let open = self.connections.iter().filter(|one| one.asked.is_some()).count();
            if sent == all && open == 0 {
                break;
            }
            let next = if sent < all { due(sent) } else { end };
            let now = Instant::now();
            if now >= end {
                self.report.error(open as u64, "the last requests were not answered".into())?;
                break;
            }
            for place in 0..self.poller.wait(next.saturating_duration_since(now))? {
                let event = self.poller.event(place);
                self.turn(event, &mut buffer)?;
            }
        }
        self.report.elapsed = began.elapsed();
        Ok(self.report)
    }

    fn ask(&mut self, due: Instant, counts: bool) -> Result<()> {
        let token = match self.idle.pop() {
            Some(token) => token,
            None => {
                ensure!(self.connections.len() < CONNECTIONS_MAX, "too many requests are under way");
                let link = Link::open(self.plan.address, None)?;
                self.poller.add(&link, self.connections.len())?;
                self.connections.push(Connection { link, reader: Reader::default(), asked: None });
                self.connections.len() - 1
            }
        };
        let connection = &mut self.connections[token];
        connection.asked = Some((due, counts));
        // One that cannot be sent shows as a connection that ends.
        let _ = connection.link.send(&self.request);
        Ok(())
    }

    fn turn(&mut self, event: Event, buffer: &mut [u8]) -> Result<()> {
        let connection = &mut self.connections[event.token];
        connection.link.ready(event.ending);
        match connection.read(buffer) {
            Ok(None) => {}
            Ok(Some((answer, due, counts))) => {
                self.idle.push(event.token);
                if counts {
                    let right = answer.status == 200 && answer.length == self.plan.body_bytes;
                    self.report.answer(due.elapsed(), (!right).then(|| format!("{answer:?}")))?;
                }
            }
            Err(error) => {
                // It is not used again; the poller forgets it with its socket.
                self.idle.retain(|token| *token != event.token);
                if connection.asked.take().is_some() {
                    self.report.error(1, format!("{error:#}"))?;
                }
            }
        }
        Ok(())
    }
}

impl Connection {
    /// Reads what came: nothing whole yet, or the answer with what is known of its request.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<(http1::Answer, Instant, bool)>> {
        self.link.flush()?;
        loop {
            let count = match self.link.receive(buffer)? {
                Received::Nothing => return Ok(None),
                Received::Closed => anyhow::bail!("the connection was closed"),
                Received::Bytes(count) => count,
            };
            if let Some(answer) = self.reader.take(&buffer[..count])? {
                let (due, counts) = self.asked.take().context("an answer that nothing was asked for")?;
                return Ok(Some((answer, due, counts)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::{self, HANDLER_TIME, Origin};
    use super::*;

    #[test]
    fn requests_are_sent_at_their_time() {
        let origin = Origin::start().unwrap();
        let plan = Plan {
            address: origin.address,
            path: origin::SLOW,
            body_bytes: 64,
            every: Duration::from_millis(5),
            warm_up: 10,
            requests: 50,
        };
        let mut report = run(plan).unwrap();
        assert_eq!((report.answers, report.errors), (50, 0));
        // Some twenty at a time: one after the other they would take six seconds.
        let least = plan.every * 59 + HANDLER_TIME;
        assert!(report.elapsed >= least && report.elapsed < Duration::from_secs(4), "{:?}", report.elapsed);
        assert!(report.percentile_ms(1).unwrap() >= HANDLER_TIME.as_secs_f64() * 1e3);
        assert_eq!(origin.take(false).unwrap().requests, 60);
    }
}
