//! A web server in one static file, for an image that holds nothing else.
//!
//! It answers every request with one line, prints the path of each POST, so that they can be counted, and ends at
//! once on SIGTERM by being what the kernel ends: process 1 of a container gets only signals that it handles, so it
//! handles that one. With SPIN=N in its environment it also has N threads that never rest.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

const SIGTERM: i32 = 15;
/// A connection that says nothing for this long is closed.
const QUIET: Duration = Duration::from_secs(60);
const HEADER_LINES_MAX: usize = 200;

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
        if let Some(path) = request.strip_prefix("POST ").and_then(|rest| rest.split(' ').next()) {
            println!("POST {path}");
        }
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
