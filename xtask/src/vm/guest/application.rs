//! The application of the virtual machine's test: a web server in one static file. With FILL set it uses memory
//! until it is stopped. It holds 32 MiB, and answers how much of that is as it wrote it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

const SIGTERM: i32 = 15;
const HELD_BYTES: usize = 32 << 20;

extern "C" fn end(_signal: i32) {
    // SAFETY: _exit may be called from a signal handler.
    unsafe { _exit(0) }
}

fn main() -> std::io::Result<()> {
    // SAFETY: the handler does nothing but end the process.
    unsafe { signal(SIGTERM, end) };
    if std::env::var_os("FILL").is_some() {
        let mut all = Vec::new();
        loop {
            all.push(vec![1u8; 1 << 20]);
        }
    }
    let held: Vec<u8> = (0..HELD_BYTES).map(byte).collect();
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    for stream in TcpListener::bind(format!("0.0.0.0:{port}"))?.incoming() {
        // A client that only looks whether it may connect is no reason to end.
        let _ = stream.and_then(|stream| answer(stream, &held));
    }
    Ok(())
}

/// Pages that differ, so that swap cannot take them for one.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn answer(mut stream: TcpStream, held: &[u8]) -> std::io::Result<()> {
    let mut path = None;
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
        if line.is_empty() {
            let body = match path.as_deref() {
                Some("/held") => {
                    format!("held {}\n", held.iter().enumerate().filter(|(at, is)| byte(*at) == **is).count())
                }
                _ => format!("revision {}\n", std::env::var("APRON_REVISION").unwrap_or_default()),
            };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
            return stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    }
    Ok(())
}
