//! What a proxy must know of the WebSocket protocol (RFC 6455): the key of a handshake, and where frames begin.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// What a server adds to a client's key to show that it has read it (§1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A server's close frame with code 1001, going away (§7.4.1).
pub(crate) const CLOSE_GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// A client's, which has a mask (§5.3); nothing is hidden by it here.
pub(crate) const CLOSE_AS_CLIENT: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// Of a frame's first byte (§5.2).
const OPCODE_CLOSE: u8 = 8;

/// The key of a handshake that the proxy makes.
pub(crate) struct Key(String);

impl Key {
    pub(crate) fn new(nonce: [u8; 16]) -> Key {
        Key(STANDARD.encode(nonce))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        // Base64 is always a valid header value.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
    }

    /// What the server must answer in Sec-WebSocket-Accept.
    pub(crate) fn accept(&self) -> Vec<u8> {
        let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(self.0.as_bytes());
        digest.update(ACCEPT_SUFFIX);
        STANDARD.encode(digest.finish()).into_bytes()
    }
}

/// Follows the frames of one direction by their heads (§5.2); payloads are only counted.
#[derive(Default)]
pub(crate) struct Frames {
    place: Place,
    /// A close frame was among them, behind which there is none (§5.5.1).
    closed: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    First,
    Second,
    /// Of a length that has so many bytes yet; then comes a mask, perhaps.
    Length {
        left: u8,
        length: u64,
        masked: bool,
    },
    Payload {
        left: u64,
    },
}

impl Frames {
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while let [byte, rest @ ..] = bytes {
            self.place = match self.place {
                Place::First => {
                    self.closed |= byte & 0x0f == OPCODE_CLOSE;
                    Place::Second
                }
                Place::Second => {
                    let masked = byte & 0x80 != 0;
                    match byte & 0x7f {
                        126 => Place::Length { left: 2, length: 0, masked },
                        127 => Place::Length { left: 8, length: 0, masked },
                        length => payload(length.into(), masked),
                    }
                }
                Place::Length { left, length, masked } => {
                    let length = length << 8 | u64::from(*byte);
                    if left > 1 {
                        Place::Length { left: left - 1, length, masked }
                    } else {
                        payload(length, masked)
                    }
                }
                Place::Payload { left } => {
                    let passed = left.min(bytes.len() as u64);
                    bytes = &bytes[passed as usize..];
                    self.place = rest_of_payload(left - passed);
                    continue;
                }
            };
            bytes = rest;
        }
    }

    /// Whether a close frame may follow.
    pub(crate) fn may_close(&self) -> bool {
        matches!(self.place, Place::First) && !self.closed
    }
}

/// What follows a head: the mask's four bytes are passed over like the payload's.
fn payload(length: u64, masked: bool) -> Place {
    rest_of_payload(length.saturating_add(if masked { 4 } else { 0 }))
}

fn rest_of_payload(left: u64) -> Place {
    if left == 0 { Place::First } else { Place::Payload { left } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn a_key_has_one_answer() {
        let key = Key(String::from("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(key.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(Key::new(*b"the sample nonce").header(), "dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let frames: [Vec<u8>; 5] = [
            vec![0x81, 5, b'h', b'e', b'l', b'l', b'o'],
            vec![0x81, 0x82, 1, 2, 3, 4, 5, 6],
            vec![0x89, 0],
            [&[0x82, 126, 1, 0][..], &[0; 256]].concat(),
            [&[0x02, 127, 0, 0, 0, 0, 0, 1, 0, 1][..], &[0; 65537]].concat(),
        ];
        for size in [1, 2, 3, 7, 1000, usize::MAX] {
            let mut follower = Frames::default();
            for frame in &frames {
                let mut passed = 0;
                for part in frame.chunks(size) {
                    assert_eq!(follower.may_close(), passed == 0);
                    follower.pass(part);
                    passed += part.len();
                }
                assert!(follower.may_close(), "after {:?}", &frame[..2]);
            }
            follower.pass(&frames.concat());
            assert!(follower.may_close());
            let mut cut = Frames::default();
            cut.pass(&frames.concat()[..100]);
            assert!(!cut.may_close());
            for part in [&CLOSE_GOING_AWAY[..], &CLOSE_AS_CLIENT] {
                let mut closed = Frames::default();
                part.chunks(size).for_each(|part| closed.pass(part));
                assert!(!closed.may_close(), "it has been said");
            }
        }
    }
}
