//! Frames of HTTP/2 (RFC 9113 §4.1), changed by dice one by one: of bytes that are changed anyhow, a reader sees little
//! more than the first length.

use crate::mutate::{self, Random};

pub(super) const HEADERS: u8 = 1;
const HEAD_BYTES: usize = 9;
const CHANGES_MAX: usize = 6;
/// Frames of one connection: many more than a reader may be asked to remember at a time.
const FRAMES_MAX: usize = 1_000;
/// Streams that a corpus uses, and some that are nobody's.
const STREAMS: [u32; 9] = [0, 1, 2, 3, 5, 7, 9, 255, (1 << 31) - 1];
/// What payloads are made of: header lines as literals that are not indexed, and numbers.
const WORDS: [&str; 18] = [
    "\0",
    "\0\0\0\0",
    "\x7f",
    "\0\0\0\x01",
    "\0\x07:method\x04POST",
    "\0\x07:method\x07CONNECT",
    "\0\x05:path\x01*",
    "\0\x05:path\x02/\n",
    "\0\x0a:authority\x0dapp.localhost",
    "\0\x09:protocol\x09websocket",
    "\0\x04host\x05other",
    "\0\x0econtent-length\x015",
    "\0\x11transfer-encoding\x07chunked",
    "\0\x0aconnection\x05close",
    "\0\x06cookie\x03a=b",
    "\0\x06expect\x0c100-continue",
    "\0\x02te\x08trailers",
    "\0\x03X_Y\x04z\r\nz",
];

#[derive(Clone)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    stream: u32,
    pub(super) payload: Vec<u8>,
}

/// All that are whole.
pub(super) fn read(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some([a, b, c, kind, flags, stream @ ..]) = bytes.first_chunk::<HEAD_BYTES>() {
        let end = HEAD_BYTES + u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(payload) = bytes.get(HEAD_BYTES..end) else { break };
        let (kind, flags, stream) = (*kind, *flags, u32::from_be_bytes(*stream));
        frames.push(Frame { kind, flags, stream, payload: payload.to_vec() });
        bytes = &bytes[end..];
    }
    frames
}

fn write(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        // The longest length that there is, of payloads that are longer.
        let length = u32::try_from(frame.payload.len()).unwrap().min(0xff_ffff).to_be_bytes();
        bytes.extend([length[1], length[2], length[3], frame.kind, frame.flags]);
        bytes.extend(frame.stream.to_be_bytes());
        bytes.extend(&frame.payload);
    }
    bytes
}

/// The frames of one of the corpus, changed; and sometimes the bytes of them all, too.
pub(super) fn changed(random: &mut Random, corpus: &[&[u8]]) -> Vec<u8> {
    let mut frames = read(corpus[random.below(corpus.len())]);
    for _ in 0..random.below(CHANGES_MAX) {
        change(random, &mut frames, corpus);
        frames.truncate(FRAMES_MAX);
    }
    let bytes = write(&frames);
    if random.below(8) == 0 { mutate::input(random, &[&bytes], &WORDS) } else { bytes }
}

fn change(random: &mut Random, frames: &mut Vec<Frame>, corpus: &[&[u8]]) {
    let (at, to) = (random.below(frames.len()), random.below(frames.len() + 1));
    let choice = random.below(8);
    let Some(frame) = frames.get_mut(at) else { return };
    match choice {
        0 => frame.kind = u8::try_from(random.below(12)).unwrap(),
        1 => frame.flags ^= 1 << random.below(8),
        2 => frame.stream = STREAMS[random.below(STREAMS.len())],
        3 | 4 => frame.payload = mutate::input(random, &[&frame.payload], &WORDS),
        5 => drop(frames.remove(at)),
        6 => {
            // A new stream each time, or the same one again and again.
            let (step, times) = (2 * random.below(2), 1 << random.below(9));
            let again = (0..times).map(|number| {
                let step = u32::try_from(number * step).unwrap();
                Frame { stream: frame.stream.wrapping_add(step), ..frame.clone() }
            });
            let again: Vec<Frame> = again.collect();
            frames.splice(to..to, again);
        }
        _ => {
            let others = read(corpus[random.below(corpus.len())]);
            frames.splice(to..to, others);
        }
    }
}

#[test]
fn frames_are_written_as_they_are_read() {
    let bytes = b"\0\0\x03\x01\x05\0\0\0\x01abc\0\0\0\x04\0\0\0\0\0";
    assert_eq!(write(&read(bytes)), bytes);
    assert_eq!(read(&bytes[..bytes.len() - 1]).len(), 1);
}
