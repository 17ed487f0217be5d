//! Compressed heads that cannot be read.

use super::Wanted::ConnectionError;
use super::wire::{COMPRESSION_ERROR, PROTOCOL_ERROR, WHOLE, headers};
use super::{Ask, Case, ONE_CODE, Step, case, send};

/// Where SETTINGS do not say otherwise, a dynamic table has at most 4,096 bytes; this is one more, with a prefix of
/// five bits.
const TABLE_TOO_LARGE: &[u8] = &[0x3f, 0xe2, 0x1f];

pub(super) fn cases() -> Vec<Case> {
    vec![
        bad("hpack/2.3.3/1", "a line that no table has", |ask| behind(ask, b"\xc6")),
        bad("hpack/2.3.3/2", "a literal whose name no table has", |ask| behind(ask, b"\x7f\x07\0")),
        bad("hpack/4.2/1", "a new size of the table behind lines", |ask| behind(ask, b"\x21")),
        bad("hpack/5.2/1", "a coded value with more than seven bits of padding", |ask| {
            behind(ask, b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")
        }),
        bad("hpack/5.2/2", "a coded value with zeros as padding", |ask| {
            behind(ask, b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")
        }),
        bad("hpack/5.2/3", "a coded value with the sign of the end in it", |ask| {
            behind(ask, b"\0\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f")
        }),
        bad("hpack/6.1/1", "the line with number 0", |ask| behind(ask, b"\x80")),
        bad("hpack/6.3/1", "a table larger than is allowed", |ask| {
            send([headers(1, WHOLE, &[TABLE_TOO_LARGE, &ask.get()].concat())])
        }),
    ]
}

fn bad(name: &'static str, what: &'static str, steps: fn(&Ask) -> Vec<Step>) -> Case {
    case(name, what, steps, ConnectionError(&[COMPRESSION_ERROR]))
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR]))
        .refused()
}

fn behind(ask: &Ask, bytes: &[u8]) -> Vec<Step> {
    send([headers(1, WHOLE, &ask.and(bytes))])
}
