//! What goes on by hyper's way is read as strictly as here: hyper gets of a client only what was found to have one
//! meaning, head by head and chunk by chunk.
//!
//! A head that is refused is taken off, and a plain one is put in its place, for which the refusal is written: so it
//! comes behind the answers that are still under way. Which request that is, the service hears from `Seen`.

use crate::http1::body::{Part, Place};
use crate::http1::buffer::BUFFER_BYTES;
use crate::http1::parse::{self, EMPTY_LINES_MAX, Target};
use crate::reply::Cause;
use http::uri::PathAndQuery;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read at once. A body passes in pieces of this size at most.
const READ_BYTES: usize = 16 * 1024;
/// What hyper reads instead of a head that is refused.
const INSTEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What was found of one request that its answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    Refused(Cause),
    /// It may become a WebSocket. What follows it was not looked at, so no other request may be read from there.
    Last,
}

/// What the gate has seen of its connection, for those who serve it.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Told>);

#[derive(Default)]
struct Told {
    /// By the request's number on its connection, from 1 on. There is one at most: nothing is read behind it.
    ruling: OnceLock<(u64, Ruling)>,
    head_began: AtomicBool,
}

impl Seen {
    pub(crate) fn ruling(&self, number: u64) -> Option<Ruling> {
        self.0.ruling.get().filter(|(ruled, _)| *ruled == number).map(|(_, ruling)| *ruling)
    }

    /// Whether a head has begun that has not ended.
    pub(crate) fn head_began(&self) -> bool {
        self.0.head_began.load(Ordering::Relaxed)
    }

    fn rule(&self, number: u64, ruling: Ruling) {
        // The first one counts.
        let _ = self.0.ruling.set((number, ruling));
    }
}

pub(crate) struct Gate<S> {
    stream: S,
    /// What was read; what begins at `start` was not passed on, and what ends at `clear` may be.
    held: Vec<u8>,
    start: usize,
    clear: usize,
    /// Bytes behind `clear` that were looked at and hold no whole head.
    seen: usize,
    empty_lines: u32,
    state: State,
    heads: u64,
    told: Seen,
}

enum State {
    Head,
    Body(Place),
    /// No HTTP/1 any more: everything passes.
    Open,
    /// A head was refused: nothing passes.
    Shut,
    /// The body is none: whoever reads it hears of it.
    Broken,
}

impl<S> Gate<S> {
    /// Begins with what was read of the stream.
    pub(crate) fn new(read: Vec<u8>, stream: S) -> Gate<S> {
        let mut gate = Gate {
            stream,
            held: read,
            start: 0,
            clear: 0,
            seen: 0,
            empty_lines: 0,
            state: State::Head,
            heads: 0,
            told: Seen::default(),
        };
        gate.look();
        gate
    }

    pub(crate) fn seen(&self) -> Seen {
        self.told.clone()
    }

    /// Finds out how much of what is held may pass.
    fn look(&mut self) {
        while self.step() {}
        let began = matches!(self.state, State::Head) && self.clear < self.held.len();
        self.told.0.head_began.store(began, Ordering::Relaxed);
    }

    /// False: it takes more bytes, or there is nothing to find out.
    fn step(&mut self) -> bool {
        let bytes = &self.held[self.clear..];
        match &mut self.state {
            State::Head => self.take_head(),
            State::Body(place) => match place.step(bytes) {
                Ok(Part::More) if *place == Place::End => {
                    self.state = State::Head;
                    true
                }
                Ok(Part::More) => false,
                Ok(Part::Data(count) | Part::Frame(count) | Part::Trailers(count)) => {
                    self.clear += count;
                    true
                }
                Err(_) => {
                    self.state = State::Broken;
                    false
                }
            },
            State::Open => {
                self.clear = self.held.len();
                false
            }
            State::Shut | State::Broken => false,
        }
    }

    fn take_head(&mut self) -> bool {
        let bytes = &self.held[self.clear..];
        if bytes.starts_with(b"\r\n") {
            if self.empty_lines == EMPTY_LINES_MAX {
                return self.refuse(Cause::BadRequest);
            }
            self.empty_lines += 1;
            (self.clear, self.seen) = (self.clear + 2, 0);
            return true;
        }
        if bytes.is_empty() || bytes == b"\r" {
            return false;
        }
        // Bytes that end no line end no head either: one that comes byte by byte is not read anew for each.
        let (before, now) = (self.seen, bytes.len());
        self.seen = now;
        if before > 0 && now < BUFFER_BYTES && !bytes[before..].contains(&b'\n') {
            return false;
        }
        let mut room = parse::room();
        let head = match parse::request(bytes, &mut room) {
            Ok(Some(head)) if head.head.len() <= BUFFER_BYTES => head,
            Ok(None) if now < BUFFER_BYTES => return false,
            Ok(_) => return self.refuse(Cause::HeadTooLarge),
            Err(cause) => return self.refuse(cause),
        };
        // hyper would refuse it without a word; our own path lets through what nginx does.
        let target = match head.target {
            Target::Origin(target) => target,
            Target::Absolute { rest, .. } => rest,
        };
        if !target.is_empty() && PathAndQuery::try_from(target).is_err() {
            return self.refuse(Cause::BadRequest);
        }
        self.heads += 1;
        self.state = match head.websocket {
            true => State::Open,
            false => State::Body(Place::new(head.framing)),
        };
        if head.websocket {
            self.told.rule(self.heads, Ruling::Last);
        }
        (self.clear, self.seen, self.empty_lines) = (self.clear + head.head.len(), 0, 0);
        true
    }

    fn refuse(&mut self, cause: Cause) -> bool {
        self.heads += 1;
        self.told.rule(self.heads, Ruling::Refused(cause));
        self.held.truncate(self.clear);
        self.held.extend_from_slice(INSTEAD);
        (self.clear, self.state) = (self.held.len(), State::Shut);
        false
    }

    fn pass(&mut self, buffer: &mut ReadBuf<'_>) {
        let end = self.clear.min(self.start + buffer.remaining());
        buffer.put_slice(&self.held[self.start..end]);
        self.start = end;
        if self.start < self.clear {
            return;
        }
        self.held.drain(..self.clear);
        (self.start, self.clear) = (0, 0);
        // A connection that sleeps holds no memory.
        if self.held.is_empty() && matches!(self.state, State::Head | State::Open) {
            self.held = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        loop {
            if gate.start < gate.clear {
                gate.pass(buffer);
                return Poll::Ready(Ok(()));
            }
            match gate.state {
                State::Open => return Pin::new(&mut gate.stream).poll_read(context, buffer),
                State::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                State::Head | State::Body(_) | State::Shut => {}
            }
            let mut room = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut gate.stream).poll_read(context, &mut read))?;
            match (&gate.state, read.filled()) {
                // Who ends its direction is refused all the same; hyper would let it go without a word. Nobody waits for
                // more: the refusal is being written, and then the connection ends.
                (State::Shut, b"") => return Poll::Pending,
                // Read and forgotten, so that the refusal is not lost in a reset.
                (State::Shut, _) => {}
                (_, b"") => return Poll::Ready(Ok(())),
                (_, bytes) => {
                    gate.held.extend_from_slice(bytes);
                    gate.look();
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
