//! An HTTP/2 client by hand: it sends any bytes, and lists what comes back.

use crate::support::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What one case may take in all.
const TIME_MAX: Duration = PATIENCE;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// A type that no specification gives a meaning.
pub(super) const UNKNOWN: u8 = 0x16;

/// The flag of SETTINGS and PING.
pub(super) const ACK: u8 = 1;
/// END_STREAM.
pub(super) const LAST: u8 = 1;
/// END_HEADERS.
pub(super) const HEAD: u8 = 4;
/// Both.
pub(super) const WHOLE: u8 = LAST | HEAD;
/// PADDED.
pub(super) const PADDED: u8 = 8;
/// PRIORITY, of HEADERS.
pub(super) const DEPENDS: u8 = 0x20;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const STREAM_CLOSED: u32 = 5;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const COMPRESSION_ERROR: u32 = 9;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;

/// What no SETTINGS change: the window of a stream, and the largest frame.
pub(super) const WINDOW: u32 = 65_535;
pub(super) const FRAME_BYTES_MAX: usize = 16_384;
/// The largest window that there may be.
pub(super) const WINDOW_MAX: u32 = (1 << 31) - 1;

const FRAME_HEAD_BYTES: usize = 9;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(super) fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

pub(super) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, block)
}

pub(super) fn continuation(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, block)
}

/// What PRIORITY holds, and HEADERS with that flag: the weight is one more than its byte.
pub(super) fn dependency(on: u32, exclusive: bool, weight: u8) -> Vec<u8> {
    let mut bytes = (on | (u32::from(exclusive) << 31)).to_be_bytes().to_vec();
    bytes.push(weight);
    bytes
}

pub(super) fn priority(stream: u32, on: u32) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &dependency(on, false, 255))
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(super) fn settings(all: &[(u16, u32)]) -> Vec<u8> {
    let bytes: Vec<u8> =
        all.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &bytes)
}

pub(super) fn ping(bytes: [u8; 8]) -> Vec<u8> {
    frame(PING, 0, 0, &bytes)
}

pub(super) fn goaway(code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[[0; 4], code.to_be_bytes()].concat())
}

pub(super) fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// Header lines as HPACK's simplest form: literals that are not indexed, without Huffman's code.
pub(super) fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in lines {
        bytes.push(0);
        for text in [name, value] {
            length(text.len(), &mut bytes);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(length: usize, bytes: &mut Vec<u8>) {
    const PREFIX: usize = 0x7f;
    if length < PREFIX {
        return bytes.push(u8::try_from(length).unwrap());
    }
    bytes.push(0x7f);
    let mut rest = length - PREFIX;
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
        rest /= 0x80;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// What came from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Settings,
    SettingsAck,
    /// The status is 0 where it is not one of HPACK's static table.
    Headers {
        stream: u32,
        status: u16,
        last: bool,
    },
    Data {
        stream: u32,
        length: usize,
        last: bool,
    },
    Reset {
        stream: u32,
        code: u32,
    },
    Goaway {
        code: u32,
    },
    Pong([u8; 8]),
    /// A frame of another type.
    Other(u8),
    /// An answer in the other protocol.
    Http1 {
        status: u16,
    },
    Closed,
}

pub(super) struct Client {
    stream: TcpStream,
    deadline: Instant,
    /// Bytes that are not yet an event.
    bytes: Vec<u8>,
    /// The server answers in HTTP/1: what follows the status is not looked at.
    http1: bool,
    /// What happened since the last step that was waited for.
    pub(super) events: Vec<Event>,
    /// As many streams as the server's SETTINGS allow.
    pub(super) streams_max: u32,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(TIME_MAX)).unwrap();
        let deadline = Instant::now() + TIME_MAX;
        Client { stream, deadline, bytes: Vec::new(), http1: false, events: Vec::new(), streams_max: 0 }
    }

    /// Both sides' SETTINGS are sent and acknowledged.
    pub(super) fn greet(&mut self) -> bool {
        self.send(&[PREFACE, &settings(&[(INITIAL_WINDOW_SIZE, WINDOW)])].concat());
        let both = |events: &[Event]| {
            events.contains(&Event::Settings) && events.last() == Some(&Event::SettingsAck)
        };
        let greeted = self.until(both);
        self.send(&frame(SETTINGS, ACK, 0, &[]));
        greeted
    }

    /// In one write, so that the server finds all of it in one read.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        // A server that has seen enough closes; what it said before is read.
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until the function says that it is enough. False: the time is over, or the connection.
    pub(super) fn until(&mut self, enough: impl Fn(&[Event]) -> bool) -> bool {
        while !enough(&self.events) {
            if self.events.last() == Some(&Event::Closed) {
                return false;
            }
            let Some(event) = self.read() else { return false };
            self.events.push(event);
        }
        true
    }

    fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            // Zero would wait without end.
            let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Some(Event::Closed),
                Ok(length) => self.bytes.extend(&bytes[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(_) => return Some(Event::Closed),
            }
            if Instant::now() > self.deadline {
                return None;
            }
        }
    }

    /// Takes one event off the bytes.
    fn take(&mut self) -> Option<Event> {
        if self.http1 {
            self.bytes.clear();
            return None;
        }
        if self.bytes.starts_with(b"HTTP/1.") {
            let status = str::from_utf8(self.bytes.get(9..12)?).unwrap().parse().unwrap();
            self.http1 = true;
            return Some(Event::Http1 { status });
        }
        let length = u32::from_be_bytes([0, *self.bytes.first()?, *self.bytes.get(1)?, *self.bytes.get(2)?]);
        let end = FRAME_HEAD_BYTES + length as usize;
        if self.bytes.len() < end {
            return None;
        }
        let bytes: Vec<u8> = self.bytes.drain(..end).collect();
        let (kind, flags, stream) = (bytes[3], bytes[4], number(&bytes[5..]));
        let payload = &bytes[FRAME_HEAD_BYTES..];
        let last = flags & LAST != 0;
        Some(match kind {
            SETTINGS if flags & ACK != 0 => Event::SettingsAck,
            SETTINGS => {
                let (ids, _) = payload.as_chunks::<6>();
                let streams = ids.iter().find(|setting| setting[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes());
                self.streams_max = streams.map_or(0, |setting| number(&setting[2..]));
                Event::Settings
            }
            HEADERS => Event::Headers { stream, status: status(payload), last },
            DATA => Event::Data { stream, length: payload.len(), last },
            RST_STREAM => Event::Reset { stream, code: number(payload) },
            GOAWAY => Event::Goaway { code: number(&payload[4..]) },
            PING if flags & ACK != 0 => Event::Pong(payload.try_into().unwrap()),
            kind => Event::Other(kind),
        })
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// Of an answer's head, which begins with it.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let index = block.first().and_then(|byte| byte.checked_sub(0x88));
    index.and_then(|index| INDEXED.get(usize::from(index))).copied().unwrap_or(0)
}
