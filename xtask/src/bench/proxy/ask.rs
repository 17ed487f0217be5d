//! One request after the other, waiting for each answer: for what is not about speed.

use super::http1::{self, Reader};
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 16 * 1024;

/// A connection on which no wait is longer than an answer may take.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    prepared(TcpStream::connect_timeout(&address, CONNECT_TIME_MAX).context("connect")?)
}

/// The same of one that is connected.
pub(super) fn prepared(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    Ok(stream)
}

/// The status of one GET; the connection is kept.
pub(super) fn ask(stream: &mut (impl Read + Write), host: &str, path: &str) -> Result<u16> {
    send(stream, host, path)?;
    answer(stream)
}

/// The first half of `ask`.
pub(super) fn send(stream: &mut impl Write, host: &str, path: &str) -> Result<()> {
    stream.write_all(&http1::request(host, path, false)).context("write")?;
    stream.flush().context("write")
}

/// The second half of `ask`.
pub(super) fn answer(stream: &mut impl Read) -> Result<u16> {
    let (mut reader, mut buffer) = (Reader::default(), vec![0; READ_BYTES]);
    loop {
        let count = stream.read(&mut buffer).context("read")?;
        ensure!(count > 0, "the connection was closed without an answer");
        if let Some(answer) = reader.take(&buffer[..count])? {
            return Ok(answer.status);
        }
    }
}
