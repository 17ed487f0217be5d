//! A web server in one static file, for an image that holds nothing else.
//!
//! It answers every request with one line, prints the path of each POST, so that they can be counted, and ends at
//! once on SIGTERM by being what the kernel ends: process 1 of a container gets only signals that it handles, so it
//! handles that one. With SPIN=N in its environment it also has N threads that never rest.
//! `/work?ms=100&together=10` is answered as late as by an application that takes 100 ms for it, as long as it has ten
//! requests at a time at most, and is slower in proportion with more.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

const SIGTERM: i32 = 15;
/// A connection that says nothing for this long is closed.
const QUIET: Duration = Duration::from_secs(60);
const HEADER_LINES_MAX: usize = 200;
/// Work is not begun that takes longer.
const WORK_MS_MAX: f64 = 60_000.0;
/// How many share is looked at so often.
const SLICE_MS: f64 = 10.0;

/// Requests that work.
static AT_WORK: AtomicU32 = AtomicU32::new(0);

extern "C" fn end(_signal: i32) {
    // SAFETY: _exit may be called from a signal handler.
    unsafe { _exit(0) }
}

fn main() -> std::io::Result<()> {
    // SAFETY: the handler does nothing but end the process.
    unsafe { signal(SIGTERM, end) };
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("listening on {port}");
    let spinning = std::env::var("SPIN").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    for _ in 0..spinning {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// Answers the requests of one connection until it closes or sends what is not HTTP/1.1 without a body.
fn serve(mut stream: TcpStream) {
    let revision = std::env::var("APRON_REVISION").unwrap_or_else(|_| "-".to_owned());
    let body = format!("Hello from a static binary, revision {revision}\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(QUIET));
    let Ok(reading) = stream.try_clone() else { return };
    let mut lines = BufReader::new(reading).lines();
    loop {
        let mut count = 0;
        let mut request = String::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.is_empty() && count > 0 => break,
                Some(Ok(line)) if count < HEADER_LINES_MAX => {
                    if count == 0 {
                        request = line;
                    }
                    count += 1;
                }
                _ => return,
            }
        }
        if let Some((ms, together)) = work_of(&request) {
            work(ms, together);
        }
        if let Some(path) = request.strip_prefix("POST ").and_then(|rest| rest.split(' ').next()) {
            println!("POST {path}");
        }
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Milliseconds of work, and how many at a time are not slowed down by each other.
fn work_of(request: &str) -> Option<(f64, f64)> {
    let (ms, rest) = request.strip_prefix("GET /work?ms=")?.split_once("&together=")?;
    let (ms, together) = (ms.parse::<f64>().ok()?, rest.split(' ').next()?.parse::<f64>().ok()?);
    (ms <= WORK_MS_MAX && together >= 1.0).then_some((ms, together))
}

/// Only waits: what else the machine does makes no difference.
fn work(mut left_ms: f64, together: f64) {
    AT_WORK.fetch_add(1, Ordering::Relaxed);
    let mut since = Instant::now();
    while left_ms > 0.0 {
        let share = (together / f64::from(AT_WORK.load(Ordering::Relaxed))).min(1.0);
        std::thread::sleep(Duration::from_secs_f64((left_ms / share).min(SLICE_MS) / 1_000.0));
        left_ms -= since.elapsed().as_secs_f64() * 1_000.0 * share;
        since = Instant::now();
    }
    AT_WORK.fetch_sub(1, Ordering::Relaxed);
}
