//! The bytes of one direction between reading and writing, and where their memory comes from.
//!
//! A connection holds memory only while it has something to say: ten thousand that sleep hold none, nor do ten
//! thousand requests that wait for their answers. What is used is always the same few buffers, which caches know.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// One direction of one connection. A head must fit.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;
/// What is read at once, and so the pieces in which a body passes. As much as stays in the first cache between being
/// read and being written: with pieces of 64 KiB an answer of 1 MiB took 1.45 times the CPU, with 16 KiB 1.15 times.
const READ_BYTES_MAX: usize = 32 * 1024;
/// Buffers that one loop keeps for the next request: what a burst leaves behind is 4 MiB at most.
const KEPT_MAX: usize = 64;
/// The same for texts, which a request has until its answer comes; 4 MiB at most.
const KEPT_TEXTS_MAX: usize = 256;
/// A text that grew beyond this is not kept.
const KEPT_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Most heads fit, with what the proxy says.
const TEXT_BYTES: usize = 1024;
/// What is no more than this waits in memory of its own size.
const PACKED_BYTES_MAX: usize = 4 * 1024;

/// Bytes that were read and not passed on yet, in one piece.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether what came behind the first `before` bytes may be the end of a head of which those are the beginning:
    /// bytes that end no line end no head either, and one that comes byte by byte is not read anew for each.
    pub(crate) fn ends_line(&self, before: usize) -> bool {
        let filled = self.filled();
        filled.len() > before && (before == 0 || filled[before..].contains(&b'\n'))
    }

    pub(crate) fn has_room(&self) -> bool {
        self.end - self.start < self.bytes.len()
    }

    /// Passes over the first bytes, or over all of them if there are fewer.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads one piece, of what there is room for. `Ok(0)` is the end of the stream, so there must be room.
    pub(crate) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let end = self.bytes.len().min(self.end + READ_BYTES_MAX);
        let mut room = ReadBuf::new(&mut self.bytes[self.end..end]);
        ready!(Pin::new(stream).poll_read(context, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }
}

/// The memory of one loop's connections that waits for its next use.
#[derive(Default)]
pub(crate) struct Buffers {
    buffers: RefCell<Vec<Box<[u8]>>>,
    texts: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(crate) fn take(&self) -> Buffer {
        let kept = self.buffers.borrow_mut().pop();
        let bytes = kept.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Buffer { bytes, start: 0, end: 0 }
    }

    pub(crate) fn give(&self, buffer: Buffer) {
        let mut kept = self.buffers.borrow_mut();
        if kept.len() < KEPT_MAX && buffer.bytes.len() == BUFFER_BYTES {
            kept.push(buffer.bytes);
        }
    }

    /// Gives a buffer that rested the room that reading takes.
    pub(crate) fn wake(&self, buffer: &mut Buffer) {
        if buffer.bytes.len() == BUFFER_BYTES {
            return;
        }
        let mut whole = self.take();
        let filled = buffer.filled();
        whole.bytes[..filled.len()].copy_from_slice(filled);
        whole.end = filled.len();
        *buffer = whole;
    }

    /// Takes from a buffer what it does not need while its connection waits.
    pub(crate) fn rest(&self, buffer: &mut Buffer) {
        let filled = buffer.filled();
        if filled.len() > PACKED_BYTES_MAX || buffer.bytes.len() < BUFFER_BYTES {
            return;
        }
        let packed = Buffer { bytes: filled.into(), start: 0, end: filled.len() };
        self.give(std::mem::replace(buffer, packed));
    }

    /// An empty text with room.
    pub(crate) fn take_text(&self) -> Vec<u8> {
        self.texts.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(TEXT_BYTES))
    }

    pub(crate) fn give_text(&self, mut text: Vec<u8>) {
        let mut kept = self.texts.borrow_mut();
        if kept.len() < KEPT_TEXTS_MAX && (1..=KEPT_TEXT_BYTES_MAX).contains(&text.capacity()) {
            text.clear();
            kept.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn what_was_passed_on_makes_room() {
        let mut buffer = Buffers::default().take();
        let source = vec![b'x'; BUFFER_BYTES + 10];
        let mut source = source.as_slice();
        while buffer.has_room() {
            assert_eq!(poll_fn(|cx| buffer.poll_read(&mut source, cx)).await.unwrap(), READ_BYTES_MAX);
        }
        assert_eq!(buffer.filled().len(), BUFFER_BYTES);
        buffer.consume(20);
        assert!(buffer.has_room());
        assert_eq!(poll_fn(|cx| buffer.poll_read(&mut source, cx)).await.unwrap(), 10);
        assert_eq!(buffer.filled().len(), BUFFER_BYTES - 10);
        buffer.consume(BUFFER_BYTES);
        assert!(buffer.is_empty() && buffer.has_room());
    }

    #[tokio::test]
    async fn what_waits_holds_no_more_than_it_needs() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        let (memory, mut source) = (buffer.bytes.as_ptr(), &b"abcdef"[..]);
        poll_fn(|cx| buffer.poll_read(&mut source, cx)).await.unwrap();
        buffer.consume(2);
        buffers.rest(&mut buffer);
        assert_eq!((buffer.filled(), buffer.bytes.len()), (&b"cdef"[..], 4));
        buffers.wake(&mut buffer);
        assert_eq!((buffer.filled(), buffer.bytes.as_ptr()), (&b"cdef"[..], memory));
        assert!(poll_fn(|cx| buffer.poll_read(&mut &b"g"[..], cx)).await.is_ok());
        assert_eq!(buffer.filled(), b"cdefg");
        buffer.consume(BUFFER_BYTES);
        buffers.rest(&mut buffer);
        assert_eq!((buffer.bytes.len(), buffers.buffers.borrow().len()), (0, 1));
        buffers.wake(&mut buffer);
        // Much of it is not copied about.
        let large = vec![b'x'; PACKED_BYTES_MAX + 1];
        poll_fn(|cx| buffer.poll_read(&mut large.as_slice(), cx)).await.unwrap();
        buffers.rest(&mut buffer);
        assert_eq!((buffer.filled().len(), buffer.bytes.as_ptr()), (large.len(), memory));
    }

    #[test]
    fn memory_is_used_again_and_bounded() {
        let buffers = Buffers::default();
        let taken: Vec<Buffer> = (0..KEPT_MAX + 1).map(|_| buffers.take()).collect();
        let first = taken[0].bytes.as_ptr();
        taken.into_iter().rev().for_each(|buffer| buffers.give(buffer));
        assert_eq!(buffers.buffers.borrow().len(), KEPT_MAX);
        // A connection that sleeps holds none, which is none to keep.
        buffers.give(Buffer::default());
        assert_eq!(buffers.buffers.borrow().len(), KEPT_MAX);
        assert!(buffers.buffers.borrow().iter().all(|bytes| bytes.as_ptr() != first));
        buffers.give_text(Vec::with_capacity(KEPT_TEXT_BYTES_MAX * 2));
        buffers.give_text(b"used".to_vec());
        assert_eq!(buffers.texts.borrow().len(), 1);
        assert!(buffers.take_text().is_empty());
    }
}
