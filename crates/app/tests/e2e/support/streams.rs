//! What lasts: a WebSocket on which something is said again and again, and an upload that is in no hurry. Both are to
//! outlive whatever is done to a platform meanwhile.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Nothing that is done to a platform may hold up a byte for longer.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Between two messages.
const MESSAGE_PERIOD: Duration = Duration::from_millis(100);
/// Of an upload, what is sent at once.
const PIECE_BYTES: usize = 256 * 1024;

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::Error::other(format!("the connection ended after {head:?}")));
        }
    }
    Ok(head)
}

/// Talks to the test server's `/socket` for so long and closes in order. Gives the number of messages that came back.
pub fn websocket(address: &str, host: &str, lasts: Duration) -> io::Result<u64> {
    websocket_with_pauses(address, host, lasts, MESSAGE_PERIOD)
}

/// The same, with so long a pause after each message.
pub fn websocket_with_pauses(address: &str, host: &str, lasts: Duration, pause: Duration) -> io::Result<u64> {
    // The key of RFC 6455's example.
    const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const TEXT: u8 = 0x81;
    const CLOSE: u8 = 0x88;
    let begun = Instant::now();
    let mut stream = BufReader::new(connect(address)?);
    stream.get_mut().write_all(format!("GET /socket HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}").as_bytes())?;
    let answer = head(&mut stream)?;
    if !answer.starts_with("HTTP/1.1 101 ") || !answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        return Err(io::Error::other(format!("not a WebSocket: {answer}")));
    }
    let mut count = 0;
    let mut say = |kind: u8, message: &[u8]| -> io::Result<()> {
        // A mask of zeros changes nothing.
        let mut frame = vec![kind, 0x80 | message.len() as u8, 0, 0, 0, 0];
        frame.extend(message);
        stream.get_mut().write_all(&frame)?;
        let mut back = vec![0; 2 + message.len()];
        stream.read_exact(&mut back)?;
        if back[..2] != [kind, message.len() as u8] || back[2..] != *message {
            return Err(io::Error::other(format!("{back:?} came back for {message:?}")));
        }
        Ok(())
    };
    while begun.elapsed() < lasts {
        say(TEXT, format!("message {count}").as_bytes())?;
        count += 1;
        std::thread::sleep(pause);
    }
    // 1000: a normal end.
    say(CLOSE, &[0x03, 0xe8])?;
    Ok(count)
}

/// Sends so many MiB to the test server's `/sink`, spread over so long. All of it arrives, in its order.
pub fn upload(address: &str, host: &str, mib: usize, lasts: Duration) -> io::Result<()> {
    let begun = Instant::now();
    let mut stream = connect(address)?;
    let (bytes, pieces) = (mib << 20, (mib << 20) / PIECE_BYTES);
    let request = format!("POST /sink HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // As the server sums up: FNV-1a.
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut piece = vec![0; PIECE_BYTES];
    for number in 0..pieces {
        // No two pieces are the same.
        for (at, byte) in piece.iter_mut().enumerate() {
            *byte = (at ^ number ^ at >> 8) as u8;
        }
        piece[..8].copy_from_slice(&(number as u64).to_le_bytes());
        for byte in &piece {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        let due = lasts.mul_f64(number as f64 / pieces as f64);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        stream.write_all(&piece)?;
    }
    let mut stream = BufReader::new(stream);
    let answer = head(&mut stream)?;
    let expect = format!("{bytes} {sum:016x}");
    let mut body = vec![0; expect.len()];
    stream.read_exact(&mut body)?;
    if !answer.starts_with("HTTP/1.1 200 ") || body != expect.as_bytes() {
        return Err(io::Error::other(format!("{answer}{} in place of {expect}", body.escape_ascii())));
    }
    Ok(())
}
