//! Requests through the proxy: one, or many at once, each on a connection of its own, with their times.

use anyhow::{Context, Result, anyhow, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// An answer of an example application is one line.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A request that was answered with 200.
pub(super) struct Asked {
    /// Before its first byte was written.
    pub(super) began: Instant,
    pub(super) answered: Instant,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn took_ms(&self) -> f64 {
        ms(self.answered - self.began)
    }
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The text of a GET of a service.
pub(super) fn get(service: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {service}.apron.localhost\r\nConnection: close\r\n\r\n")
}

/// The text of a POST to a service.
pub(super) fn post(service: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: {service}.apron.localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A connection on which no wait for a byte is longer than an answer may take.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).context("connect")?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads its answer, after which the other side closes the connection.
pub(super) fn ask(mut stream: TcpStream, request: &str) -> Result<Asked> {
    let began = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    let answered = Instant::now();
    let (head, body) = text.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{}", head.lines().next().unwrap_or_default());
    Ok(Asked { began, answered, body: body.to_owned() })
}

/// Makes all these requests at once. Their connections are opened before.
pub(super) fn at_once(address: SocketAddr, requests: &[String]) -> Vec<Result<Asked>> {
    let barrier = Barrier::new(requests.len());
    let one = |request: &str| {
        let stream = connect(address);
        barrier.wait();
        ask(stream?, request)
    };
    std::thread::scope(|scope| {
        let one = &one;
        let clients: Vec<_> = requests.iter().map(|request| scope.spawn(move || one(request))).collect();
        let joined = clients.into_iter().map(|client| client.join());
        joined.map(|asked| asked.unwrap_or_else(|_| Err(anyhow!("a client panicked")))).collect()
    })
}

/// Milliseconds of those that were answered, and how many were not; why the first of them were not is said.
pub(super) fn times(asked: &[Result<Asked>]) -> (Vec<f64>, usize) {
    const SHOWN: usize = 5;
    for error in asked.iter().filter_map(|asked| asked.as_ref().err()).take(SHOWN) {
        eprintln!("failed: {error:#}");
    }
    let times: Vec<f64> = asked.iter().flatten().map(Asked::took_ms).collect();
    let failed = asked.len() - times.len();
    (times, failed)
}
