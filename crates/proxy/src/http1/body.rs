//! Bodies on their way through: where one ends, and how it is written to the other side.
//!
//! A body is never collected. What lies in the buffer is staged and written in one piece where it can be: the head
//! and small parts copied behind each other, a large part from where it was read to.

use crate::http1::buffer::Buffer;
use crate::http1::parse::{self, Kind};
use crate::reply::Cause;
use httparse::{EMPTY_HEADER, Status};
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Parts of a body up to this size are copied behind the head or each other; for larger ones the copy costs more than
/// a further piece of the write.
const COPY_BYTES_MAX: usize = 4 * 1024;
/// What is staged before it is written.
const STAGED_BYTES_MAX: usize = 16 * 1024;
/// The line before a chunk; extensions are for nobody, and are passed over.
const CHUNK_LINE_BYTES_MAX: usize = 4 * 1024;
/// Hex digits of a chunk's size: more of them would be a body of 2^60 bytes, or zeros to hide behind.
const CHUNK_DIGITS_MAX: usize = 15;
/// The lines behind the last chunk.
const TRAILERS_BYTES_MAX: usize = 16 * 1024;
const TRAILERS_MAX: usize = 32;
const CRLF: &[u8] = b"\r\n";

/// What says where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    Length(u64),
    Chunked,
    /// The end of the connection; answers only.
    Close,
}

/// Where reading a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// So many more bytes, one at least.
    Length(u64),
    ChunkLine,
    /// So many more bytes of this chunk, one at least.
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    End,
}

/// What came is no body of this framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What the first bytes of the rest of a body are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Too few to say.
    More,
    Data(usize),
    /// They belong to the framing.
    Frame(usize),
    /// Trailers and the end.
    Trailers(usize),
}

impl Place {
    pub(super) fn new(framing: Framing) -> Place {
        match framing {
            Framing::None | Framing::Length(0) => Place::End,
            Framing::Length(length) => Place::Length(length),
            Framing::Chunked => Place::ChunkLine,
            Framing::Close => Place::UntilClose,
        }
    }

    /// Steps over what it returns.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Part, Malformed> {
        let part = match *self {
            Place::End => Part::More,
            _ if bytes.is_empty() => Part::More,
            Place::UntilClose => Part::Data(bytes.len()),
            Place::Length(left) => {
                let count = at_most(bytes.len(), left);
                *self = match left - count as u64 {
                    0 => Place::End,
                    left => Place::Length(left),
                };
                Part::Data(count)
            }
            Place::Chunk(left) => {
                let count = at_most(bytes.len(), left);
                *self = match left - count as u64 {
                    0 => Place::ChunkEnd,
                    left => Place::Chunk(left),
                };
                Part::Data(count)
            }
            Place::ChunkLine => match chunk_line(bytes)? {
                None => Part::More,
                Some((0, length)) => {
                    *self = Place::Trailers;
                    Part::Frame(length)
                }
                Some((size, length)) => {
                    *self = Place::Chunk(size);
                    Part::Frame(length)
                }
            },
            Place::ChunkEnd => match bytes {
                [b'\r'] => Part::More,
                [b'\r', b'\n', ..] => {
                    *self = Place::ChunkLine;
                    Part::Frame(CRLF.len())
                }
                _ => return Err(Malformed),
            },
            Place::Trailers => match trailers_length(bytes)? {
                None => Part::More,
                Some(length) => {
                    *self = Place::End;
                    Part::Trailers(length)
                }
            },
        };
        Ok(part)
    }
}

fn at_most(count: usize, left: u64) -> usize {
    usize::try_from(left).map_or(count, |left| count.min(left))
}

/// Size of the chunk and length of its line; `None`: the line has not ended.
fn chunk_line(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let digits = bytes.iter().take(CHUNK_DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_hexdigit()).count();
    // What is no size is refused at once, also when its line does not end.
    if digits > CHUNK_DIGITS_MAX || digits == 0 {
        return Err(Malformed);
    }
    match bytes.get(digits) {
        None => return Ok(None),
        Some(b'\r' | b';') => {}
        Some(_) => return Err(Malformed),
    }
    let line = &bytes[..bytes.len().min(CHUNK_LINE_BYTES_MAX)];
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        return if line.len() < CHUNK_LINE_BYTES_MAX { Ok(None) } else { Err(Malformed) };
    };
    let extension = line[digits..end].strip_suffix(b"\r").ok_or(Malformed)?;
    if extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(Malformed);
    }
    let digit = |byte: &u8| u64::from((*byte as char).to_digit(16).unwrap_or_default());
    let size = bytes[..digits].iter().fold(0, |size, byte| size << 4 | digit(byte));
    Ok(Some((size, end + 1)))
}

/// Length of the trailers with the empty line behind them; `None`: they have not ended.
fn trailers_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match bytes {
        [b'\r', b'\n', ..] => return Ok(Some(CRLF.len())),
        [b'\r'] => return Ok(None),
        _ => {}
    }
    let mut room = [EMPTY_HEADER; TRAILERS_MAX];
    match httparse::parse_headers(bytes, &mut room) {
        Ok(Status::Complete((length, trailers))) if length <= TRAILERS_BYTES_MAX => {
            let whole = &bytes[..length];
            let (first, others) = trailers.split_first().ok_or(Malformed)?;
            let ends_well = parse::offset(whole, first.name) == 0 && parse::lines_end_well(whole, others);
            if ends_well { Ok(Some(length)) } else { Err(Malformed) }
        }
        Ok(Status::Partial) if bytes.len() < TRAILERS_BYTES_MAX => Ok(None),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

/// Gives the trailers that may follow a body. What a message is framed, routed, or allowed by cannot come behind it
/// (RFC 9110 §6.5.1), and what the proxy says cannot be said there either.
pub(super) fn each_trailer(bytes: &[u8], mut each: impl FnMut(&str, &[u8])) {
    const NOT_BEHIND: [&str; 9] = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "range",
        "set-cookie",
        "vary",
    ];
    let mut room = [EMPTY_HEADER; TRAILERS_MAX];
    let Ok(Status::Complete((_, trailers))) = httparse::parse_headers(bytes, &mut room) else { return };
    for trailer in trailers {
        let stays = parse::request_kind(trailer.name) == Kind::Pass
            && !NOT_BEHIND.iter().any(|name| name.eq_ignore_ascii_case(trailer.name));
        if stays {
            each(trailer.name, trailer.value);
        }
    }
}

fn write_trailers(bytes: &[u8], out: &mut Vec<u8>) {
    each_trailer(bytes, |name, value| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(CRLF);
    });
}

/// One direction of a request: what is staged to be written, and how far its body is.
pub(crate) struct Way {
    place: Place,
    /// Whether it is written in chunks.
    chunks: bool,
    /// Heads, small parts and framing.
    pub(crate) staged: Vec<u8>,
    written: usize,
    /// Bytes at the front of the buffer that follow what is staged.
    ready: usize,
    /// What follows those.
    tail: &'static [u8],
    /// Bytes of the body so far, and how many there may be.
    passed: u64,
    passed_max: u64,
    /// Bytes that were written, heads and framing included.
    moved: u64,
}

impl Way {
    /// Begins with what is staged, and has no body yet.
    pub(crate) fn new(staged: Vec<u8>) -> Way {
        Way {
            place: Place::End,
            chunks: false,
            staged,
            written: 0,
            ready: 0,
            tail: b"",
            passed: 0,
            passed_max: u64::MAX,
            moved: 0,
        }
    }

    /// From here on a body follows.
    pub(crate) fn body(&mut self, framing: Framing, chunks: bool, bytes_max: u64) {
        (self.place, self.chunks, self.passed_max) = (Place::new(framing), chunks, bytes_max);
    }

    /// Whether the end of the body was read and everything is written.
    pub(crate) fn is_done(&self) -> bool {
        self.place == Place::End && !self.is_pending()
    }

    /// Whether the end of the body was read.
    pub(crate) fn is_read(&self) -> bool {
        self.place == Place::End
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.written < self.staged.len() || self.ready > 0 || !self.tail.is_empty()
    }

    /// Whether a part of what is staged was written. Said behind it, nothing would be understood.
    pub(crate) fn is_torn(&self) -> bool {
        self.is_pending() && self.written > 0
    }

    /// Bytes at the front of the buffer that are still to be written.
    pub(crate) fn left_in_buffer(&self) -> usize {
        self.ready
    }

    pub(crate) fn passed(&self) -> u64 {
        self.passed
    }

    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Writes the head once more. Only for what has no body, or of which nothing was written.
    pub(crate) fn rewind(&mut self) {
        (self.written, self.moved) = (0, 0);
    }

    /// Stages what the buffer holds, behind a head that is not written yet. False: it takes more bytes to say what is
    /// next. Called when nothing of a body waits to be written.
    pub(crate) fn stage(&mut self, input: &mut Buffer) -> Result<bool, Cause> {
        if self.written == self.staged.len() {
            self.staged.clear();
            self.written = 0;
        }
        let before = self.staged.len();
        while self.ready == 0 && self.tail.is_empty() && self.staged.len() < STAGED_BYTES_MAX {
            match self.place.step(input.filled()).map_err(|_| Cause::BadRequest)? {
                Part::More => break,
                Part::Frame(count) => input.consume(count),
                Part::Data(count) => self.stage_data(count, input)?,
                Part::Trailers(count) => {
                    if self.chunks {
                        self.staged.extend_from_slice(b"0\r\n");
                        write_trailers(&input.filled()[..count], &mut self.staged);
                        self.staged.extend_from_slice(CRLF);
                    }
                    input.consume(count);
                }
            }
        }
        Ok(self.staged.len() > before || self.ready > 0)
    }

    fn stage_data(&mut self, count: usize, input: &mut Buffer) -> Result<(), Cause> {
        self.passed += count as u64;
        if self.passed > self.passed_max {
            return Err(Cause::BodyTooLarge);
        }
        if self.chunks {
            // Writing to memory does not fail.
            let _ = write!(self.staged, "{count:x}\r\n");
        }
        let behind = if self.chunks { CRLF } else { b"" };
        if count <= COPY_BYTES_MAX {
            self.staged.extend_from_slice(&input.filled()[..count]);
            self.staged.extend_from_slice(behind);
            input.consume(count);
        } else {
            (self.ready, self.tail) = (count, behind);
        }
        Ok(())
    }

    /// The connection that the body comes from has ended. False: in the middle of it.
    pub(crate) fn ends_here(&mut self) -> bool {
        if self.place == Place::UntilClose {
            self.place = Place::End;
            if self.chunks {
                self.staged.extend_from_slice(b"0\r\n\r\n");
            }
        }
        self.place == Place::End
    }

    /// Writes what is staged until nothing is left of it.
    pub(crate) fn poll_write(
        &mut self,
        sink: &mut (impl AsyncWrite + Unpin),
        input: &mut Buffer,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.is_pending() {
            let staged = &self.staged[self.written..];
            let written = if self.ready == 0 && self.tail.is_empty() {
                ready!(Pin::new(&mut *sink).poll_write(context, staged))?
            } else {
                let parts = [
                    IoSlice::new(staged),
                    IoSlice::new(&input.filled()[..self.ready]),
                    IoSlice::new(self.tail),
                ];
                ready!(Pin::new(&mut *sink).poll_write_vectored(context, &parts))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written, input);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize, input: &mut Buffer) {
        self.moved += written as u64;
        let of_staged = written.min(self.staged.len() - self.written);
        let of_ready = (written - of_staged).min(self.ready);
        let of_tail = written - of_staged - of_ready;
        self.written += of_staged;
        self.ready -= of_ready;
        input.consume(of_ready);
        self.tail = self.tail.get(of_tail..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
