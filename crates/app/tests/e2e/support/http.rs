//! A client of one request per connection, and one that asks without a pause and counts what went wrong.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers as they came.
    pub head: String,
    pub body: String,
}

/// GET of a path at an address, for a host.
pub fn get(address: &str, host: &str, path: &str) -> io::Result<Answer> {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

/// Sends a whole request that asks to close, and reads the answer to its end.
pub fn request(address: &str, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(body) } else { body.to_owned() };
    Ok(Answer { status, head: head.to_owned(), body })
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|c| !c.is_empty()) else { break };
        whole.push_str(chunk);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Requests without a pause from several threads until stopped; each must be answered 200.
pub struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    pub fn start(address: &str, host: &str, threads: usize) -> Load {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..threads)
            .map(|_| {
                let (address, host) = (address.to_owned(), host.to_owned());
                let (stop, count) = (stop.clone(), count.clone());
                std::thread::spawn(move || {
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::Relaxed) && failures.len() < 20 {
                        match get(&address, &host, "/") {
                            Ok(answer) if answer.status == 200 => {}
                            Ok(answer) => failures.push(format!("{}\n{}", answer.head, answer.body)),
                            Err(error) => failures.push(error.to_string()),
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    failures
                })
            })
            .collect();
        Load { stop, count, threads }
    }

    /// Stops; gives the number of requests and what failed.
    pub fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.threads.into_iter().flat_map(|t| t.join().expect("a client ends")).collect();
        (self.count.load(Ordering::Relaxed), failures)
    }
}

/// What must be over by then, whatever is done meanwhile.
const LOAD_TIME_MAX: Duration = Duration::from_secs(600);

/// Does something under wrk on kept connections and a client of new ones; no request of either may fail.
pub fn under_load<T>(address: &str, host: &str, work: impl FnOnce() -> T) -> T {
    let load = Load::start(address, host, 1);
    let wrk = Wrk::start(address, host);
    let done = work();
    let said = wrk.stop();
    let (count, failures) = load.stop();
    assert!(failures.is_empty(), "{} of {count} requests failed: {failures:#?}", failures.len());
    println!("{said}");
    assert!(said.contains("requests in"), "{said}");
    for sign in ["Socket errors", "Non-2xx"] {
        assert!(!said.contains(sign), "{said}");
    }
    done
}

/// Ends with its value, also when what it runs beside fails.
struct Wrk(Child);

impl Wrk {
    fn start(address: &str, host: &str) -> Wrk {
        let lasts = format!("-d{}s", LOAD_TIME_MAX.as_secs());
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c8", &lasts, "-H", &format!("Host: {host}"), &format!("http://{address}/")]);
        wrk.stdin(Stdio::null()).stdout(Stdio::piped());
        Wrk(wrk.spawn().expect("wrk is installed: run scripts/test, which installs it"))
    }

    /// Its report of the time until now.
    fn stop(mut self) -> String {
        let ended = self.0.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "wrk ended with {ended:?} before the work under its load did");
        // SAFETY: takes numbers only; the child was not waited for, so the number is its.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        let mut said = String::new();
        self.0.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
        said
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
