//! The application: it reads strictly, and answers in the ways there are.

use super::strict::{self, Head, Short};
use crate::support::{Origin, Wire};
use base64::Engine;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// More than one window of HTTP/2.
const LONG_BYTES: usize = 100_000;
/// How long it listens to a WebSocket.
const LISTENING_TIME: Duration = Duration::from_millis(200);

/// What it got and should not have.
pub(super) type Wrong = Arc<Mutex<Vec<String>>>;

pub(super) fn start(wrong: &Wrong) -> Origin {
    let wrong = wrong.clone();
    Origin::start(move |mut wire| {
        if let Err(Short::Wrong(what)) = serve(&mut wire) {
            wrong.lock().unwrap().push(format!("the application got {what}"));
        }
    })
}

/// Until it closes, or the proxy does.
fn serve(wire: &mut Wire) -> Result<(), Short> {
    loop {
        let head = strict::head(&mut wire.read)?;
        if head.is_websocket() {
            return websocket(wire, &head);
        }
        // By its length a target chooses the answer; `/` gets a plain one.
        let choice = head.target.len() % 6;
        if choice == 0 {
            // Before the body, which it does not read.
            return say(wire, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
        strict::body(&mut wire.read, &head)?;
        say(wire, &answer(&head, choice))?;
        if choice == 4 {
            return Ok(());
        }
    }
}

/// Says back what it hears, until there is nothing to hear.
fn websocket(wire: &mut Wire, head: &Head) -> Result<(), Short> {
    let key = head.get("sec-websocket-key").unwrap_or_default();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let lines =
        format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    say(wire, &format!("HTTP/1.1 101 Switching Protocols\r\n{lines}"))?;
    wire.write.set_read_timeout(Some(LISTENING_TIME)).unwrap();
    let _ = std::io::copy(&mut wire.read, &mut wire.write);
    Ok(())
}

fn say(wire: &mut Wire, text: &str) -> Result<(), Short> {
    wire.write.write_all(text.as_bytes()).map_err(|_| Short::Cut)
}

fn answer(head: &Head, choice: usize) -> String {
    let (lines, body) = match choice {
        1 => ("Content-Length: 2", "ok".to_owned()),
        2 => ("Transfer-Encoding: chunked", "1\r\no\r\n1\r\nk\r\n0\r\nX-Sum: 1\r\n\r\n".to_owned()),
        3 => ("Content-Length: 100000", "x".repeat(LONG_BYTES)),
        4 => ("Connection: close", "ok".to_owned()),
        _ => return "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_owned(),
    };
    let body = if head.method == "HEAD" { "" } else { &body };
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}")
}
