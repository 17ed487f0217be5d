//! A steady load on one service: so many requests per second, on kept connections and on new ones, each of which
//! must be answered 200. Nothing is tried again.

use super::asks;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Threads that keep their connection, and such that open one for each request.
const KEPT: u32 = 8;
const NEW: u32 = 2;
/// One request in so many is a POST with a path of its own.
const POST_EVERY: u64 = 10;
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// Failures that are kept to be shown.
pub(super) const FAILURES_MAX: usize = 20;

pub(super) struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Said>>,
}

/// What came of a load.
#[derive(Default)]
pub(super) struct Said {
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// The first of them.
    pub(super) failures: Vec<String>,
    /// Paths of the POSTs that were answered.
    pub(super) posts: Vec<String>,
}

impl Load {
    /// `rate` requests per second, evenly spread over the threads and over time.
    pub(super) fn start(address: SocketAddr, host: &str, rate: u32) -> Load {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..KEPT + NEW)
            .map(|number| {
                let client = Client {
                    address,
                    host: host.to_owned(),
                    number,
                    pause: Duration::from_secs(1) * (KEPT + NEW) / rate,
                    keep: number < KEPT,
                    stop: Arc::clone(&stop),
                    requests: Arc::clone(&requests),
                };
                std::thread::spawn(move || client.run())
            })
            .collect();
        Load { stop, requests, threads }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn stop(mut self) -> Said {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Said::default();
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(said) => {
                    all.requests += said.requests;
                    all.failed += said.failed;
                    all.failures.extend(said.failures);
                    all.posts.extend(said.posts);
                }
                Err(_) => all.failed += 1,
            }
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }
}

struct Client {
    address: SocketAddr,
    host: String,
    number: u32,
    pause: Duration,
    keep: bool,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
}

impl Client {
    fn run(&self) -> Said {
        let mut said = Said::default();
        let mut connection = None;
        let mut due = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let post = said.requests.is_multiple_of(POST_EVERY);
            let path = if post { format!("/{}/{}", self.number, said.requests) } else { "/".to_owned() };
            match self.ask(&mut connection, post, &path) {
                Ok(()) if post => said.posts.push(path),
                Ok(()) => {}
                Err(error) => {
                    said.failed += 1;
                    connection = None;
                    if said.failures.len() < FAILURES_MAX {
                        said.failures.push(format!("{path}: {error:#}"));
                    }
                }
            }
            said.requests += 1;
            self.requests.fetch_add(1, Ordering::Relaxed);
            due += self.pause;
            // A platform that was slow for a moment is not asked faster afterwards than it would have been.
            match due.checked_duration_since(Instant::now()) {
                Some(rest) => std::thread::sleep(rest),
                None => due = Instant::now(),
            }
        }
        said
    }

    fn ask(&self, connection: &mut Option<BufReader<TcpStream>>, post: bool, path: &str) -> Result<()> {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        let method = if post { "POST" } else { "GET" };
        let length = if post { "Content-Length: 0\r\n" } else { "" };
        let close = if self.keep { "" } else { "Connection: close\r\n" };
        let host = &self.host;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{close}\r\n");
        stream.get_mut().write_all(request.as_bytes()).context("write")?;
        let keep = answer(&mut stream)?;
        if self.keep && keep {
            *connection = Some(stream);
        }
        Ok(())
    }
}

pub(super) fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    Ok(BufReader::new(asks::connect(address)?))
}

/// Reads one answer, which must be a 200. False: the server closes the connection after it.
pub(super) fn answer(stream: &mut BufReader<TcpStream>) -> Result<bool> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line).context("read")? > 0, "the connection was closed without an answer");
    ensure!(line.starts_with("HTTP/1.1 200 "), "{}", line.trim_end());
    let (mut length, mut keep) = (None, true);
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line).context("read")? > 0, "the answer's head ended early");
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = Some(value.trim().parse::<u64>().context("Content-Length")?);
        }
        keep &= lower != "connection: close";
    }
    let length = length.context("an answer without a length")?;
    ensure!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
    let read = std::io::copy(&mut stream.take(length), &mut std::io::sink()).context("read")?;
    ensure!(read == length, "the body ended early");
    Ok(keep)
}
