//! The application's output as bounded segments of time-stamped records. The format is described at the top of
//! the crate.
//!
//! The application must never wait for its log: what cannot be written (a full disk) is dropped, counted, and
//! said as soon as writing works again.

use crate::sys::{self, Path};
use crate::text::Text;

/// A segment is closed before it would grow above this.
pub const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A longer line is cut into pieces of this size.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Time stamp, kind, blanks and line feed of one record.
const RECORD_OVERHEAD_MAX: usize = 32;
/// Records that are written with one call; the longest one fits.
const BUFFER_BYTES: usize = LINE_BYTES_MAX + 4096;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Line,
    /// The line goes on in the next record.
    Piece,
    /// Said by the shim itself.
    Note,
}

impl Kind {
    fn letter(self) -> u8 {
        match self {
            Kind::Line => b'|',
            Kind::Piece => b'+',
            Kind::Note => b'!',
        }
    }
}

/// Where the log stands. Offsets count every byte ever written for the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Offset of the first byte of the segment that is written.
    pub start: u64,
    /// Bytes in it.
    pub length: u64,
    /// Start of the segment before it, which goes when the next one begins.
    pub previous: Option<u64>,
}

pub struct Log {
    directory: i32,
    fd: i32,
    position: Position,
    segment_bytes_max: u64,
    buffer: [u8; BUFFER_BYTES],
    buffered: usize,
    buffered_lines: u64,
    dropped_lines: u64,
    dropped_bytes: u64,
}

impl Log {
    /// Goes on writing at `position`. The error is a negated errno.
    pub fn open(directory: i32, position: Position, segment_bytes_max: u64) -> Result<Log, isize> {
        let fd = open_segment(directory, position.start)?;
        Ok(Log {
            directory,
            fd,
            position,
            segment_bytes_max,
            buffer: [0; BUFFER_BYTES],
            buffered: 0,
            buffered_lines: 0,
            dropped_lines: 0,
            dropped_bytes: 0,
        })
    }

    /// Takes one record; it reaches the file with the next `flush` at the latest.
    pub fn push(&mut self, at_ms: u64, kind: Kind, text: &[u8]) {
        let needed = text.len() + RECORD_OVERHEAD_MAX;
        if self.buffered + needed > BUFFER_BYTES {
            self.flush(at_ms);
        }
        if self.position.length + (self.buffered + needed) as u64 > self.segment_bytes_max {
            self.flush(at_ms);
            if self.rotate().is_err() {
                self.dropped_lines += 1;
                self.dropped_bytes += text.len() as u64;
                return;
            }
        }
        self.append(at_ms, kind, text);
    }

    /// Writes what is buffered. Never fails: what cannot be written is counted as dropped.
    pub fn flush(&mut self, at_ms: u64) {
        if self.buffered == 0 {
            return;
        }
        if self.dropped_lines > 0 {
            let mut note = Text::<128>::new();
            note.push_number(at_ms).push(b" ! ").push_number(self.dropped_lines);
            note.push(b" lines (").push_number(self.dropped_bytes);
            note.push(b" bytes) of output were dropped because the log could not be written\n");
            if self.write_all(note.bytes()).is_ok() {
                self.dropped_lines = 0;
                self.dropped_bytes = 0;
            }
        }
        let length = self.buffered;
        if self.write_buffer(length).is_err() {
            self.dropped_lines += self.buffered_lines;
            self.dropped_bytes += length as u64;
        }
        self.buffered = 0;
        self.buffered_lines = 0;
    }

    fn append(&mut self, at_ms: u64, kind: Kind, text: &[u8]) {
        let mut head = Text::<RECORD_OVERHEAD_MAX>::new();
        head.push_number(at_ms).push(&[b' ', kind.letter(), b' ']);
        for part in [head.bytes(), text, b"\n"] {
            self.buffer[self.buffered..self.buffered + part.len()].copy_from_slice(part);
            self.buffered += part.len();
        }
        self.buffered_lines += 1;
    }

    fn write_buffer(&mut self, length: usize) -> Result<(), isize> {
        let result = write_whole(self.fd, &self.buffer[..length], self.position.length);
        if result.is_ok() {
            self.position.length += length as u64;
        }
        result
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), isize> {
        write_whole(self.fd, bytes, self.position.length)?;
        self.position.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins a new segment. The oldest goes first, which also makes room on a full disk.
    fn rotate(&mut self) -> Result<(), isize> {
        if let Some(previous) = self.position.previous.take() {
            let name = segment_name(previous);
            if let Some(path) = Path::new(name.bytes()) {
                sys::unlinkat(self.directory, path);
            }
        }
        let start = self.position.start + self.position.length;
        let fd = open_segment(self.directory, start)?;
        sys::close(self.fd);
        self.fd = fd;
        self.position = Position { start, length: 0, previous: Some(self.position.start) };
        Ok(())
    }
}

/// Writes everything or nothing: a part that was written is cut off again, so that records stay whole.
fn write_whole(fd: i32, bytes: &[u8], length_before: u64) -> Result<(), isize> {
    let mut done = 0;
    while done < bytes.len() {
        match sys::write(fd, &bytes[done..]) {
            sys::EINTR => {}
            error if error <= 0 => {
                sys::ftruncate(fd, length_before);
                return Err(error);
            }
            written => done += written as usize,
        }
    }
    Ok(())
}

fn open_segment(directory: i32, start: u64) -> Result<i32, isize> {
    let name = segment_name(start);
    let Some(path) = Path::new(name.bytes()) else { return Err(-22) };
    match sys::openat(directory, path, sys::O_WRONLY | sys::O_CREAT | sys::O_APPEND, 0o600) {
        error if error < 0 => Err(error),
        fd => Ok(fd as i32),
    }
}

fn segment_name(start: u64) -> Text<32> {
    let mut name = Text::new();
    name.push(b"output-").push_padded(start, 20).push(b"\0");
    name
}

/// Cuts a stream of bytes into lines. Its one buffer is read into directly.
pub struct Lines {
    buffer: [u8; LINE_BYTES_MAX],
    used: usize,
}

impl Lines {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Lines {
        Lines { buffer: [0; LINE_BYTES_MAX], used: 0 }
    }

    /// Where the next bytes go; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.used..]
    }

    /// Some bytes of a line have come whose end has not.
    pub fn is_partial(&self) -> bool {
        self.used > 0
    }

    /// `count` bytes were read into `space`: gives every whole line to the log.
    pub fn advance(&mut self, count: usize, at_ms: u64, log: &mut Log) {
        let end = (self.used + count).min(LINE_BYTES_MAX);
        let mut from = 0;
        // What was there before has no line feed.
        let mut look = self.used;
        while let Some(found) = self.buffer[look..end].iter().position(|byte| *byte == b'\n') {
            let line_feed = look + found;
            log.push(at_ms, Kind::Line, &self.buffer[from..line_feed]);
            from = line_feed + 1;
            look = from;
        }
        self.buffer.copy_within(from..end, 0);
        self.used = end - from;
        if self.used == LINE_BYTES_MAX {
            self.finish(at_ms, Kind::Piece, log);
        }
    }

    /// Gives what there is of a line without waiting for its end.
    pub fn finish(&mut self, at_ms: u64, kind: Kind, log: &mut Log) {
        if self.used > 0 {
            log.push(at_ms, kind, &self.buffer[..self.used]);
            self.used = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("apron-shim-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
        fn segments(&self) -> Vec<(String, String)> {
            let mut all: Vec<_> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap()))
                .collect();
            all.sort();
            all
        }
    }
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn feed(lines: &mut Lines, log: &mut Log, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = lines.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            lines.advance(count, 7, log);
        }
    }

    const NEW: Position = Position { start: 0, length: 0, previous: None };

    #[test]
    fn lines_come_whole_and_long_ones_in_pieces() {
        let directory = Directory::new("lines");
        let opened = fs::File::open(&directory.0).unwrap();
        let mut log = Log::open(opened.as_raw_fd(), NEW, SEGMENT_BYTES_MAX).unwrap();
        let mut lines = Lines::new();
        feed(&mut lines, &mut log, b"one\n\ntw");
        feed(&mut lines, &mut log, b"o\n");
        feed(&mut lines, &mut log, "x".repeat(LINE_BYTES_MAX + 3).as_bytes());
        feed(&mut lines, &mut log, b"\nend");
        assert!(lines.is_partial());
        lines.finish(8, Kind::Piece, &mut log);
        log.flush(8);
        let text = directory.segments().remove(0).1;
        let expected =
            format!("7 | one\n7 | \n7 | two\n7 + {}\n7 | xxx\n8 + end\n", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(text, expected);
    }

    #[test]
    fn two_segments_stay_and_their_names_are_offsets() {
        let directory = Directory::new("rotate");
        let opened = fs::File::open(&directory.0).unwrap();
        let mut log = Log::open(opened.as_raw_fd(), NEW, 300).unwrap();
        for number in 0..100 {
            log.push(1, Kind::Line, format!("line {number}").as_bytes());
        }
        log.flush(1);
        let segments = directory.segments();
        assert_eq!(segments.len(), 2, "{segments:?}");
        let (first, text) = &segments[0];
        let start: u64 = first.strip_prefix("output-").unwrap().parse().unwrap();
        assert_eq!(segments[1].0, format!("output-{:020}", start + text.len() as u64));
        assert!(segments.iter().all(|(_, text)| text.len() <= 300));
        assert!(segments[1].1.ends_with("1 | line 99\n"));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_said() {
        let directory = Directory::new("full");
        let opened = fs::File::open(&directory.0).unwrap();
        let mut log = Log::open(opened.as_raw_fd(), NEW, SEGMENT_BYTES_MAX).unwrap();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let real = std::mem::replace(&mut log.fd, full.as_raw_fd());
        log.push(1, Kind::Line, b"lost");
        log.push(1, Kind::Line, b"lost too");
        log.flush(1);
        log.fd = real;
        log.push(2, Kind::Line, b"kept");
        log.flush(2);
        let text = directory.segments().remove(0).1;
        assert!(text.starts_with("2 ! 2 lines (22 bytes) of output were dropped"), "{text}");
        assert!(text.ends_with("\n2 | kept\n"), "{text}");
    }
}
