//! HTTP/2 as a client speaks it, as far as a load needs: GETs of one path over a few streams at a time.
//!
//! Frames are written and read here rather than by a library: what the load costs on its own core bounds how fast it
//! can ask, and a whole client costs more per request than the proxies that are measured. Debian's `h2load` would
//! have to be installed, and does not wait for the last answers, by which the proxy's own counts are checked.
//! Of an answer's header block only the first field is read, which is the status and, for 200, one byte in every
//! encoder's words; the rest may be compressed against a table that nothing here keeps.

use anyhow::{Result, bail, ensure};
use std::time::Instant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
/// What a peer may send while we have not allowed more (RFC 9113 §6.5.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// The largest window: bodies are never held up for it.
const WINDOW_MAX: u32 = (1 << 31) - 1;
const WINDOW_AT_FIRST: u32 = 65_535;
/// The connection's window is filled up again after this much.
const WINDOW_STEP: u32 = 1 << 30;
/// The dynamic table that both sides start with, in bytes.
const TABLE_BYTES: u32 = 4096;
const STREAM_MAX: u32 = (1 << 31) - 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// One connection with its streams.
pub(super) struct Session {
    host: &'static str,
    path: &'static str,
    next_stream: u32,
    open: Vec<Stream>,
    input: Vec<u8>,
    /// Bytes of bodies since the connection's window was last filled up.
    unacknowledged: u32,
}

struct Stream {
    number: u32,
    sent: Instant,
    length: u64,
    good: bool,
}

/// An answer that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) sent: Instant,
    pub(super) length: u64,
    /// The status was 200.
    pub(super) good: bool,
}

impl Session {
    /// `output` gets what opens a connection.
    pub(super) fn new(host: &'static str, path: &'static str, output: &mut Vec<u8>) -> Session {
        output.extend_from_slice(PREFACE);
        frame(output, SETTINGS, 0, 0, &[setting(2, 0), setting(4, WINDOW_MAX)].concat());
        frame(output, WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - WINDOW_AT_FIRST).to_be_bytes());
        Session { host, path, next_stream: 1, open: Vec::new(), input: Vec::new(), unacknowledged: 0 }
    }

    /// Requests that have no whole answer yet.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// One more GET.
    pub(super) fn ask(&mut self, output: &mut Vec<u8>) -> Result<()> {
        ensure!(self.next_stream < STREAM_MAX, "the connection has no streams left");
        // :method GET and :scheme https stand in the static table.
        let mut block = vec![0x82, 0x87];
        match self.path {
            "/" => block.push(0x84),
            // Not to be kept, by the name of static field 4.
            path => literal(&mut block, 0x04, path),
        }
        match self.next_stream {
            // To be kept, by the name of static field 1: it is the first of the dynamic table from then on.
            1 => literal(&mut block, 0x41, self.host),
            _ => block.push(0xbe),
        }
        frame(output, HEADERS, END_HEADERS | END_STREAM, self.next_stream, &block);
        let stream = Stream { number: self.next_stream, sent: Instant::now(), length: 0, good: false };
        self.open.push(stream);
        self.next_stream += 2;
        Ok(())
    }

    /// Takes what came; `output` gets what the peer is to be told.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        output: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) -> Result<()> {
        self.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let [a, b, c, kind, flags, s1, s2, s3, s4, behind @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
            let Some(payload) = behind.get(..length) else { break };
            let stream = u32::from_be_bytes([*s1, *s2, *s3, *s4]) & STREAM_MAX;
            self.frame(*kind, *flags, stream, payload, output, answers)?;
            rest = &rest[HEADER_BYTES + length..];
        }
        let read = input.len() - rest.len();
        input.drain(..read);
        self.input = input;
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        number: u32,
        payload: &[u8],
        output: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) -> Result<()> {
        match kind {
            HEADERS => {
                let good = first_field(flags, payload) == Some(0x88);
                self.stream(number)?.good = good;
            }
            DATA => {
                let padding =
                    if flags & PADDED == 0 { 0 } else { 1 + usize::from(*payload.first().unwrap_or(&0)) };
                self.stream(number)?.length += payload.len().saturating_sub(padding) as u64;
                self.unacknowledged += payload.len() as u32;
                if self.unacknowledged >= WINDOW_STEP {
                    frame(output, WINDOW_UPDATE, 0, 0, &self.unacknowledged.to_be_bytes());
                    self.unacknowledged = 0;
                }
            }
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
                    // Our requests would name a field that the peer has no room for.
                    ensure!(
                        setting[..2] != [0, 1] || value >= TABLE_BYTES,
                        "a dynamic table of {value} bytes"
                    );
                }
                frame(output, SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => frame(output, PING, ACK, 0, payload),
            RST_STREAM => bail!("stream {number} was reset: {payload:?}"),
            GOAWAY => bail!("the peer goes away: {:?}", payload.get(4..8)),
            PUSH_PROMISE => bail!("a push that was not allowed"),
            // PRIORITY, WINDOW_UPDATE, which a request without a body does not need, CONTINUATION, acknowledgements
            // and kinds that are unknown.
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            let place = self.place(number)?;
            let Stream { sent, length, good, .. } = self.open.swap_remove(place);
            answers.push(Answer { sent, length, good });
        }
        Ok(())
    }

    fn stream(&mut self, number: u32) -> Result<&mut Stream> {
        let place = self.place(number)?;
        Ok(&mut self.open[place])
    }

    fn place(&self, number: u32) -> Result<usize> {
        match self.open.iter().position(|stream| stream.number == number) {
            Some(place) => Ok(place),
            None => bail!("a frame for stream {number}, which is not open"),
        }
    }
}

/// The first byte that says a field. A change of the dynamic table's size may stand before it.
fn first_field(flags: u8, payload: &[u8]) -> Option<u8> {
    let mut block = payload;
    if flags & PADDED != 0 {
        block = block.get(1..).unwrap_or_default();
    }
    if flags & PRIORITY != 0 {
        block = block.get(5..).unwrap_or_default();
    }
    // A size that does not fit into five bits goes on while the top bit is set.
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        let more = if first & 0x1f == 0x1f {
            rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
        } else {
            0
        };
        block = rest.get(more..).unwrap_or_default();
    }
    block.first().copied()
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    output.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
}

/// A field whose value is written out. Ours are shorter than 127 bytes, so that their length is one byte.
fn literal(block: &mut Vec<u8>, first: u8, value: &str) {
    debug_assert!(value.len() < 127);
    block.extend_from_slice(&[first, value.len() as u8]);
    block.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> (Session, Vec<u8>) {
        let mut output = Vec::new();
        let session = Session::new("h", "/", &mut output);
        (session, output)
    }

    /// Kind, flags, stream and payload of every frame.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
            let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
            all.push((bytes[3], bytes[4], stream, bytes[9..9 + length].to_vec()));
            bytes = &bytes[9 + length..];
        }
        all
    }

    #[test]
    fn requests_are_frames_of_http2() {
        let (mut session, mut output) = session();
        session.ask(&mut output).unwrap();
        session.ask(&mut output).unwrap();
        let frames = frames(output.strip_prefix(PREFACE).unwrap());
        let settings = [0, 2, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(frames[0], (SETTINGS, 0, 0, settings.to_vec()));
        assert_eq!(frames[1], (WINDOW_UPDATE, 0, 0, vec![0x7f, 0xff, 0, 0]));
        assert_eq!(frames[2], (HEADERS, 5, 1, vec![0x82, 0x87, 0x84, 0x41, 1, b'h']));
        assert_eq!(frames[3], (HEADERS, 5, 3, vec![0x82, 0x87, 0x84, 0xbe]));
    }

    #[test]
    fn answers_are_read_however_they_come() {
        let mut came = Vec::new();
        frame(&mut came, SETTINGS, 0, 0, &setting(3, 100));
        frame(&mut came, PING, 0, 0, b"12345678");
        // A new size of the dynamic table, 200, something else.
        frame(&mut came, HEADERS, END_HEADERS, 3, &[0x3f, 0xe1, 0x1f, 0x88, 0x01]);
        frame(&mut came, HEADERS, END_HEADERS | END_STREAM, 1, &[0x8d]);
        frame(&mut came, DATA, 0, 3, b"abc");
        frame(&mut came, DATA, END_STREAM | PADDED, 3, &[1, b'd', 0]);
        for cut in 0..came.len() {
            let (mut session, mut output) = session();
            session.ask(&mut output).unwrap();
            session.ask(&mut output).unwrap();
            output.clear();
            let mut answers = Vec::new();
            for part in [&came[..cut], &came[cut..]] {
                session.take(part, &mut output, &mut answers).unwrap();
            }
            let got: Vec<_> = answers.iter().map(|answer| (answer.good, answer.length)).collect();
            assert_eq!((got, session.open()), (vec![(false, 0), (true, 4)], 0), "{cut}");
            let told = [(SETTINGS, ACK, 0, vec![]), (PING, ACK, 0, b"12345678".to_vec())];
            assert_eq!(frames(&output), told, "{cut}");
        }
    }

    #[test]
    fn what_breaks_a_session_is_an_error() {
        let wrong = |kind, flags, stream, payload: &[u8]| {
            let (mut session, mut output) = session();
            session.ask(&mut output).unwrap();
            let mut came = Vec::new();
            frame(&mut came, kind, flags, stream, payload);
            session.take(&came, &mut output, &mut Vec::new()).is_err()
        };
        assert!(wrong(RST_STREAM, 0, 1, &[0; 4]));
        assert!(wrong(GOAWAY, 0, 0, &[0; 8]));
        assert!(wrong(DATA, 0, 3, b"a"));
        assert!(wrong(SETTINGS, 0, 0, &setting(1, 0)));
        assert!(!wrong(SETTINGS, 0, 0, &setting(1, 4096)));
        assert!(!wrong(WINDOW_UPDATE, 0, 1, &[0; 4]));
    }
}
