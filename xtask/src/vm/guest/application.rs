//! The application of the virtual machine's test: a web server in one static file. With FILL set it uses memory
//! until it is stopped.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

const SIGTERM: i32 = 15;

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
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    for stream in TcpListener::bind(format!("0.0.0.0:{port}"))?.incoming() {
        // A client that only looks whether it may connect is no reason to end.
        let _ = stream.and_then(answer);
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            let revision = std::env::var("APRON_REVISION").unwrap_or_default();
            let body = format!("revision {revision}\n");
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
            return stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes());
        }
    }
    Ok(())
}
