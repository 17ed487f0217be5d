//! Requests that are due at fixed times, as many clients together send them: who is late with one is not late with the
//! next. Most go over connections that are kept; each of these is given up after some requests and opened anew.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections at a time, each with one request at a time.
const CONNECTIONS: u32 = 16;
/// Requests of one connection: a refused one shows only where connections are opened.
const REQUESTS_PER_CONNECTION: u32 = 40;
/// Later than this is never.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Of one connection; more say nothing new.
const FAILURES_MAX: usize = 20;

/// Runs until it is stopped.
pub struct Steady {
    begun: Instant,
    per_second: u32,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Seen>>,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers with status 200.
    pub answered: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// When and how requests failed, whatever the reason.
    pub failures: Vec<String>,
    /// How often each body came.
    pub bodies: BTreeMap<String, u64>,
    /// The longest that an answer took.
    pub longest: Duration,
}

impl Steady {
    /// GETs of `/` of this host.
    pub fn start(address: &str, host: &str, per_second: u32) -> Steady {
        let (stop, answered, begun) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Instant::now());
        let period = Duration::from_secs(1) * CONNECTIONS / per_second;
        let clients = (0..CONNECTIONS).map(|number| {
            let client = Client {
                address: address.to_owned(),
                request: format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                begun,
                // They do not all ask at the same instant.
                due: begun + period * number / CONNECTIONS,
                period,
                connection: None,
                seen: Seen::default(),
            };
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || client.run(&stop, &answered))
        });
        let clients = clients.collect();
        Steady { begun, per_second, stop, answered, clients }
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let lasted = self.begun.elapsed();
        let mut seen = Seen::default();
        for client in self.clients {
            seen.add(client.join().expect("a client ends"));
        }
        // One that is still on its way when the time is over does not count, and a machine may be busy for a moment.
        let expect = f64::from(self.per_second) * lasted.as_secs_f64() * 0.95;
        let lacks = seen.failures.is_empty() && (seen.answered as f64) < expect;
        assert!(!lacks, "{} requests in {lasted:?} are not {} a second", seen.answered, self.per_second);
        seen
    }
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.answered += other.answered;
        self.connections += other.connections;
        self.failures.extend(other.failures);
        for (body, count) in other.bodies {
            *self.bodies.entry(body).or_default() += count;
        }
        self.longest = self.longest.max(other.longest);
    }

    /// Every request was answered, by one of these.
    pub fn is_whole(&self, bodies: &[&str]) {
        let count = self.failures.len();
        assert!(self.failures.is_empty(), "{count} beside {}: {:#?}", self.answered, self.failures);
        let came: Vec<&str> = self.bodies.keys().map(String::as_str).collect();
        assert_eq!(came, bodies, "{:?}", self.bodies);
    }
}

struct Client {
    address: String,
    request: String,
    begun: Instant,
    due: Instant,
    period: Duration,
    /// With the requests that it may still have.
    connection: Option<(BufReader<TcpStream>, u32)>,
    seen: Seen,
}

impl Client {
    fn run(mut self, stop: &AtomicBool, answered: &AtomicU64) -> Seen {
        while !stop.load(Ordering::Relaxed) && self.seen.failures.len() < FAILURES_MAX {
            std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
            self.due += self.period;
            let sent = Instant::now();
            match self.ask() {
                Ok((200, body)) => {
                    self.seen.answered += 1;
                    answered.fetch_add(1, Ordering::Relaxed);
                    *self.seen.bodies.entry(body).or_default() += 1;
                }
                Ok((status, body)) => self.failed(sent, &format!("{status}: {body}")),
                Err(error) => {
                    self.connection = None;
                    self.failed(sent, &error.to_string());
                }
            }
            self.seen.longest = self.seen.longest.max(sent.elapsed());
        }
        self.seen
    }

    fn failed(&mut self, sent: Instant, why: &str) {
        let at = sent.duration_since(self.begun).as_secs_f64();
        let took = sent.elapsed().as_secs_f64();
        self.seen.failures.push(format!("after {at:.3} s, {took:.3} s long: {why}"));
    }

    /// One request and its answer: the status and the body.
    fn ask(&mut self) -> io::Result<(u16, String)> {
        let (mut stream, left) = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.seen.connections += 1;
                (connect(&self.address)?, REQUESTS_PER_CONNECTION)
            }
        };
        let answer = ask(&mut stream, &self.request)?;
        if left > 1 && answer.stays {
            self.connection = Some((stream, left - 1));
        }
        Ok((answer.status, answer.body))
    }
}

pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The connection takes another request: a proxy that ends says with its last answer that it does not.
    pub stays: bool,
}

pub fn connect(address: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    Ok(BufReader::new(stream))
}

/// Sends one request and reads its answer, which has a length.
pub fn ask(stream: &mut BufReader<TcpStream>, request: &str) -> io::Result<Answer> {
    stream.get_mut().write_all(request.as_bytes())?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(io::Error::other(format!("the connection ended after {head:?}")));
        }
    }
    let lower = head.to_ascii_lowercase();
    let value = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let wrong = || io::Error::other(format!("an answer that is not understood: {head:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
    let length = value("content-length:").and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, body, stays: value("connection:") != Some("close") })
}
