//! The application behind every proxy: a static file server in one thread, which also looks at what the proxy told it
//! about the client.
//!
//! It answers with the header lines of nginx as a file server, because each of them is work for a proxy, and with its
//! calls to the kernel. What an answer costs on the core of the origin decides how many wait for the proxy at a time:
//! a cheaper origin makes cheaper requests, and not of each proxy to the same degree.

use super::http1::head_end;
use super::poller::{Event, Poller};
use super::{HOST, LOAD_CPU, machine};
use anyhow::{Context, Result, ensure};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{Backlog, listen};
use socket2::SockRef;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What it answers: path, bytes of the body, time until the answer.
const ANSWERS: [(&str, usize, Duration); 4] = [
    (SMALL, 64, Duration::ZERO),
    (MEDIUM, 16 * 1024, Duration::ZERO),
    (LARGE, 1024 * 1024, Duration::ZERO),
    (SLOW, 64, HANDLER_TIME),
];
pub(super) const SMALL: &str = "/";
pub(super) const MEDIUM: &str = "/16k";
pub(super) const LARGE: &str = "/1m";
/// The handler that waits.
pub(super) const SLOW: &str = "/slow";
pub(super) const HANDLER_TIME: Duration = Duration::from_millis(100);
/// What a proxy must tell an application about a request, in lower case.
const TOLD: [&str; 6] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-request-id",
    "traceparent",
];
/// A request of the bench with all that proxies add has some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const READ_BYTES: usize = 16 * 1024;
/// How soon it sees that it is to end.
const STOP_LOOK: Duration = Duration::from_millis(100);
const LISTENER: usize = usize::MAX;

/// Bytes of the body at this path.
pub(super) fn body_bytes(path: &str) -> Result<u64> {
    let answer = ANSWERS.iter().find(|(known, ..)| *known == path);
    answer.map(|(_, bytes, _)| *bytes as u64).with_context(|| format!("the origin has nothing at {path}"))
}

/// A running origin; dropping it ends it.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Written by the origin's thread alone.
#[derive(Default)]
struct Counts {
    /// Whether clients speak TLS to the proxy.
    secure: AtomicBool,
    requests: AtomicU64,
    /// Requests that it had no answer for.
    refused: AtomicU64,
    /// By the place in `TOLD`.
    missed: [AtomicU64; TOLD.len()],
}

/// What came in since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) refused: u64,
    /// Headers of `TOLD` that were lacking or wrong, over all requests.
    pub(super) missed: u64,
    /// Which of them, for people.
    pub(super) missed_names: Vec<&'static str>,
}

impl Origin {
    pub(super) fn start() -> Result<Origin> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // Proxies open many connections at once: the longest queue that the kernel allows.
        listen(&listener, Backlog::MAXALLOWABLE)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let mut server = Server::new(listener, counts.clone())?;
        let stopped = stop.clone();
        let thread = machine::spawn("origin", LOAD_CPU, move || server.run(&stopped))?;
        Ok(Origin { address, counts, stop, thread: Some(thread) })
    }

    /// What came in since the last call, and how clients will come from now on.
    ///
    /// # Errors
    /// When the origin has ended.
    pub(super) fn take(&self, secure: bool) -> Result<Seen> {
        ensure!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the origin has ended");
        let counts = &self.counts;
        counts.secure.store(secure, Ordering::Relaxed);
        let missed = counts.missed.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
        let names = TOLD.into_iter().zip(missed).filter(|(_, count)| *count > 0);
        Ok(Seen {
            requests: counts.requests.swap(0, Ordering::Relaxed),
            refused: counts.refused.swap(0, Ordering::Relaxed),
            missed: missed.iter().sum(),
            missed_names: names.map(|(name, _)| name).collect(),
        })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Err(error) = machine::join(thread)
        {
            eprintln!("the origin failed: {error:#}");
        }
    }
}

struct Server {
    listener: TcpListener,
    poller: Poller,
    counts: Arc<Counts>,
    answers: Vec<Answer>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Distinguishes the connections that had one token.
    number: u64,
    /// Answers that wait, the next one first: all of them wait equally long.
    due: VecDeque<(Instant, usize, u64)>,
    buffer: Vec<u8>,
}

struct Answer {
    path: &'static str,
    head: Vec<u8>,
    /// In memory, as the kernel has a file that is asked for often.
    body: File,
    bytes: usize,
    after: Duration,
}

impl Answer {
    fn new(path: &'static str, body_bytes: usize, after: Duration) -> Result<Answer> {
        let mut body = File::from(memfd_create("body", MFdFlags::MFD_CLOEXEC)?);
        body.write_all(&vec![b'x'; body_bytes])?;
        let head = head(body_bytes);
        Ok(Answer { path, bytes: head.len() + body_bytes, head, body, after })
    }

    /// Sends more of it behind the bytes that were sent. The socket holds it back until it has full packets or all.
    fn send(&self, stream: &mut TcpStream, sent: usize) -> io::Result<usize> {
        let Some(of_body) = sent.checked_sub(self.head.len()) else {
            SockRef::from(&*stream).set_tcp_cork(true)?;
            return stream.write(&self.head[sent..]);
        };
        let left = NonZeroUsize::new(self.bytes - sent);
        let count = SockRef::from(&*stream).sendfile(&self.body, of_body, left)?;
        if sent + count == self.bytes {
            SockRef::from(&*stream).set_tcp_cork(false)?;
        }
        Ok(count)
    }
}

struct Connection {
    stream: TcpStream,
    number: u64,
    input: Vec<u8>,
    state: State,
    /// The last read took all that there was.
    drained: bool,
    ending: bool,
}

enum State {
    Reading,
    Waiting { answer: usize },
    Writing { answer: usize, written: usize },
}

/// What a connection came to.
enum Turn {
    Open,
    /// Its answer is due after this time.
    Later(Duration),
    Closed,
}

impl Server {
    fn new(listener: TcpListener, counts: Arc<Counts>) -> Result<Server> {
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER)?;
        let answers = ANSWERS.into_iter().map(|(path, bytes, after)| Answer::new(path, bytes, after));
        Ok(Server {
            listener,
            poller,
            counts,
            answers: answers.collect::<Result<_>>()?,
            connections: Vec::new(),
            free: Vec::new(),
            number: 0,
            due: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let longest = match self.due.front() {
                Some((at, ..)) => at.saturating_duration_since(Instant::now()).min(STOP_LOOK),
                None => STOP_LOOK,
            };
            for place in 0..self.poller.wait(longest)? {
                match self.poller.event(place) {
                    Event { token: LISTENER, .. } => self.accept()?,
                    event => {
                        if let Some(connection) = self.connections[event.token].as_mut() {
                            connection.drained = false;
                            connection.ending |= event.ending;
                            self.turn(event.token);
                        }
                    }
                }
            }
            self.answer_due();
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The peer has gone again.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("the origin cannot accept"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.number += 1;
            let token = self.free.pop().unwrap_or(self.connections.len());
            self.poller.add(&stream, token)?;
            let connection = Connection {
                stream,
                number: self.number,
                input: Vec::new(),
                state: State::Reading,
                drained: false,
                ending: false,
            };
            match self.connections.get_mut(token) {
                Some(place) => *place = Some(connection),
                None => self.connections.push(Some(connection)),
            }
        }
    }

    fn turn(&mut self, token: usize) {
        let Some(connection) = self.connections[token].as_mut() else { return };
        match connection.turn(&self.answers, &self.counts, &mut self.buffer) {
            Turn::Open => {}
            Turn::Later(after) => {
                self.due.push_back((Instant::now() + after, token, connection.number));
            }
            Turn::Closed => {
                self.connections[token] = None;
                self.free.push(token);
            }
        }
    }

    fn answer_due(&mut self) {
        while let Some((at, token, number)) = self.due.front().copied()
            && at <= Instant::now()
        {
            self.due.pop_front();
            if let Some(connection) = self.connections[token].as_mut()
                && connection.number == number
                && let State::Waiting { answer } = connection.state
            {
                connection.state = State::Writing { answer, written: 0 };
                self.turn(token);
            }
        }
    }
}

impl Connection {
    /// Goes on until it has to wait for something.
    fn turn(&mut self, answers: &[Answer], counts: &Counts, buffer: &mut [u8]) -> Turn {
        loop {
            match self.state {
                State::Waiting { .. } => return Turn::Open,
                State::Writing { answer, written } => match answers[answer].send(&mut self.stream, written) {
                    Ok(count) if written + count == answers[answer].bytes => self.state = State::Reading,
                    Ok(count) => self.state = State::Writing { answer, written: written + count },
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Open,
                    Err(_) => return Turn::Closed,
                },
                State::Reading => match head_end(&self.input) {
                    Some(end) => {
                        let found = take_request(&self.input[..end], answers, counts);
                        self.input.drain(..end);
                        let Some(answer) = found else { return Turn::Closed };
                        let after = answers[answer].after;
                        if !after.is_zero() {
                            self.state = State::Waiting { answer };
                            return Turn::Later(after);
                        }
                        self.state = State::Writing { answer, written: 0 };
                    }
                    None if self.drained => return Turn::Open,
                    None => match self.stream.read(buffer) {
                        Ok(0) => return Turn::Closed,
                        Ok(_) if self.input.len() > HEAD_BYTES_MAX => return Turn::Closed,
                        Ok(count) => {
                            // What ends is read to its end: there is no further event for it.
                            self.drained = count < buffer.len() && !self.ending;
                            self.input.extend_from_slice(&buffer[..count]);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Open,
                        Err(_) => return Turn::Closed,
                    },
                },
            }
        }
    }
}

/// Counts a request and finds its answer, which is none for what the bench does not send.
fn take_request(head: &[u8], answers: &[Answer], counts: &Counts) -> Option<usize> {
    counts.requests.fetch_add(1, Ordering::Relaxed);
    let missed = missed(head, counts.secure.load(Ordering::Relaxed));
    for (place, count) in counts.missed.iter().enumerate() {
        if missed & (1 << place) != 0 {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    let path = head.strip_prefix(b"GET ").and_then(|rest| rest.split(|byte| *byte == b' ').next());
    let found = path.and_then(|path| answers.iter().position(|answer| answer.path.as_bytes() == path));
    if found.is_none() {
        counts.refused.fetch_add(1, Ordering::Relaxed);
    }
    found
}

/// The places in `TOLD` of what a request lacks or has wrong, as bits.
fn missed(head: &[u8], secure: bool) -> u32 {
    let mut missed = (1 << TOLD.len()) - 1;
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        // All names of the list begin with one of these.
        if !matches!(line.first(), Some(b'x' | b'X' | b't' | b'T')) {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let place = TOLD.iter().position(|told| told.as_bytes().eq_ignore_ascii_case(name));
        if let Some(place) = place
            && is_right(place, value, secure)
        {
            missed &= !(1 << place);
        }
    }
    missed
}

/// Whether this is what the header at this place in `TOLD` has to say.
fn is_right(place: usize, value: &[u8], secure: bool) -> bool {
    let scheme: &[u8] = if secure { b"https" } else { b"http" };
    match TOLD[place] {
        "x-forwarded-for" => value == b"127.0.0.1",
        "x-forwarded-proto" => value == scheme,
        // The host of one of many routes ends like that of a single one.
        "x-forwarded-host" => value.ends_with(HOST.as_bytes()),
        "x-forwarded-port" => !value.is_empty() && value.iter().all(u8::is_ascii_digit),
        "x-request-id" => value.len() >= 16,
        // 00-<32 hex digits>-<16 hex digits>-<2 hex digits>
        _ => value.len() == 55 && value.starts_with(b"00-"),
    }
}

/// The head of an answer with a body of this many bytes.
fn head(bytes: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: keep-alive\r\n\
         ETag: \"695590c0-{bytes:x}\"\r\nAccept-Ranges: bytes\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD_ALL: &str = "GET / HTTP/1.1\r\nHost: bench.localhost\r\nX-Forwarded-For: 127.0.0.1\r\n\
                            x-forwarded-proto:https\r\nX-Forwarded-Host: bench.localhost\r\n\
                            X-Forwarded-Port: 443\r\nX-Request-Id: 0123456789abcdef\r\n\
                            traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";

    #[test]
    fn what_a_proxy_does_not_tell_is_missed() {
        let names = |head: &str, secure| -> Vec<&str> {
            let missed = missed(head.as_bytes(), secure);
            (0..TOLD.len()).filter(|place| missed & (1 << place) != 0).map(|place| TOLD[place]).collect()
        };
        assert_eq!(names(TOLD_ALL, true), Vec::<&str>::new());
        assert_eq!(names(TOLD_ALL, false), ["x-forwarded-proto"]);
        assert_eq!(names(&TOLD_ALL.replace("127.0.0.1", "10.0.0.1"), true), ["x-forwarded-for"]);
        assert_eq!(names(&TOLD_ALL.replace("traceparent", "tracestate"), true), ["traceparent"]);
        assert_eq!(names(&TOLD_ALL.replace("Id: 0123456789abcdef", "Id:"), true), ["x-request-id"]);
        assert_eq!(names("GET / HTTP/1.1\r\n\r\n", true), TOLD);
    }

    #[test]
    fn requests_are_answered_and_counted() {
        let origin = Origin::start().unwrap();
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(origin.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let request = TOLD_ALL.replacen("GET / ", &format!("GET {path} "), 1);
            let (first, second) = request.split_at(9);
            stream.write_all(first.as_bytes()).unwrap();
            stream.write_all(second.as_bytes()).unwrap();
            let known = ANSWERS.iter().find(|(known, ..)| *known == path);
            let expect = known.map(|(_, bytes, _)| [head(*bytes), vec![b'x'; *bytes]].concat());
            let mut got = vec![0; expect.as_ref().map_or(1, Vec::len)];
            let read = stream.read_exact(&mut got);
            assert_eq!(read.is_ok().then_some(got), expect, "{path}");
        };
        origin.take(true).unwrap();
        for path in [SMALL, MEDIUM, LARGE] {
            ask(path);
        }
        let began = Instant::now();
        ask(SLOW);
        assert!(began.elapsed() >= HANDLER_TIME);
        assert_eq!(origin.take(false).unwrap(), Seen { requests: 4, ..Seen::default() });
        ask("/other");
        let seen = origin.take(false).unwrap();
        assert_eq!((seen.requests, seen.refused), (1, 1));
        assert_eq!((seen.missed, seen.missed_names), (1, vec!["x-forwarded-proto"]));
    }
}
