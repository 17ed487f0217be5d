//! Requests that are due at fixed times, as many clients together send them: who is late with one is not late with the
//! next. Most go over connections that are kept; each of these is given up after some requests and opened anew.

pub mod http2;
pub mod opening;

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
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Seen>>,
}

/// What all clients look at.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
}

/// When one client asks.
#[derive(Clone, Copy)]
struct Pace {
    begun: Instant,
    due: Instant,
    period: Duration,
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
    /// Connections of HTTP/2 that the server asked to be left.
    pub left: u64,
    /// Requests that such a server has not touched, by its own word, and that were sent again.
    pub again: u64,
}

impl Steady {
    /// GETs of `/` of this host.
    pub fn start(address: &str, host: &str, per_second: u32) -> Steady {
        Steady::of(CONNECTIONS, per_second, |pace| Client {
            address: address.to_owned(),
            request: format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            pace,
            connection: None,
            seen: Seen::default(),
        })
    }

    /// Requests of several kinds over HTTP/2 and TLS.
    pub fn over_http2(target: &http2::Target, per_second: u32) -> Steady {
        Steady::of(http2::CLIENTS, per_second, |pace| http2::Client::new(target.clone(), pace))
    }

    fn of<R: Run>(clients: u32, per_second: u32, client: impl Fn(Pace) -> R) -> Steady {
        let (shared, begun) = (Arc::<Shared>::default(), Instant::now());
        let period = Duration::from_secs(1) * clients / per_second;
        let clients = (0..clients).map(|number| {
            // They do not all ask at the same instant.
            let client = client(Pace { begun, due: begun + period * number / clients, period });
            let shared = shared.clone();
            std::thread::spawn(move || client.run(&shared))
        });
        let clients = clients.collect();
        Steady { begun, per_second, shared, clients }
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    pub fn stop(self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
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

impl Shared {
    fn over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
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
        self.left += other.left;
        self.again += other.again;
    }

    /// Every request was answered in time, by one of these.
    pub fn is_whole(&self, bodies: &[&str]) {
        let count = self.failures.len();
        assert!(self.failures.is_empty(), "{count} beside {}: {:#?}", self.answered, self.failures);
        assert!(self.longest <= ANSWER_TIME_MAX, "an answer took {:?}", self.longest);
        let came: Vec<&str> = self.bodies.keys().map(String::as_str).collect();
        assert_eq!(came, bodies, "{:?}", self.bodies);
    }

    fn failed(&mut self, begun: Instant, sent: Instant, why: &str) {
        let at = sent.duration_since(begun).as_secs_f64();
        let took = sent.elapsed().as_secs_f64();
        self.failures.push(format!("after {at:.3} s, {took:.3} s long: {why}"));
    }
}

trait Run: Send + 'static {
    fn run(self, shared: &Shared) -> Seen;
}

struct Client {
    address: String,
    request: String,
    pace: Pace,
    /// With the requests that it may still have.
    connection: Option<(BufReader<TcpStream>, u32)>,
    seen: Seen,
}

impl Run for Client {
    fn run(mut self, shared: &Shared) -> Seen {
        while !shared.over() && self.seen.failures.len() < FAILURES_MAX {
            std::thread::sleep(self.pace.due.saturating_duration_since(Instant::now()));
            self.pace.due += self.pace.period;
            let sent = Instant::now();
            match self.ask() {
                Ok((200, body)) => {
                    self.seen.answered += 1;
                    shared.answered.fetch_add(1, Ordering::Relaxed);
                    *self.seen.bodies.entry(body).or_default() += 1;
                }
                Ok((status, body)) => self.seen.failed(self.pace.begun, sent, &format!("{status}: {body}")),
                Err(error) => {
                    self.connection = None;
                    self.seen.failed(self.pace.begun, sent, &error.to_string());
                }
            }
            self.seen.longest = self.seen.longest.max(sent.elapsed());
        }
        self.seen
    }
}

impl Client {
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
    let address = address.parse().map_err(io::Error::other)?;
    let stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX)?;
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
