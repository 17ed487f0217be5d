//! What every endpoint has to take, in h2spec's own order.

use super::Step::{Send, Until};
use super::Wanted::{Answer, AnswerEnds, Data, Pong, PongOrEnd, Settings, SettingsAck};
use super::wire::{
    CANCEL, DEPENDS, ENABLE_PUSH, FRAME_BYTES_MAX, HEAD, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, LAST,
    MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, NO_ERROR, PADDED, PREFACE, PRIORITY, WHOLE,
    WINDOW, block, continuation, data, dependency, frame, goaway, headers, ping, priority, reset, settings,
    window_update,
};
use super::{Case, MARK, case, send};

/// "user-agent" in HPACK's static table, as the prefixes of the three literal forms write it.
const INDEXED_NAME: [&[u8]; 3] = [&[0x7a], &[0x0f, 0x2b], &[0x1f, 0x2b]];
/// A new name, likewise.
const NEW_NAME: [&[u8]; 3] = [&[0x40], &[0x00], &[0x10]];
/// "x-test" as a name, plain and by Huffman's code.
const NAME: &[u8] = b"\x06x-test";
const NAME_CODED: &[u8] = b"\x85\xf2\xb2\x4a\x84\xff";
/// "h2spec" as a value, likewise.
const VALUE: &[u8] = b"\x06h2spec";
const VALUE_CODED: &[u8] = b"\x84\x9c\x48\xac\xa4";

pub(super) fn cases() -> Vec<Case> {
    [starting(), streams(), frames(), messages(), hpack()].into_iter().flatten().collect()
}

fn starting() -> Vec<Case> {
    vec![
        case(
            "generic/1/1",
            "a preface is answered by SETTINGS",
            |_| send([PREFACE.to_vec(), settings(&[(INITIAL_WINDOW_SIZE, WINDOW)])]),
            Settings,
        )
        .ungreeted(),
    ]
}

fn streams() -> Vec<Case> {
    vec![
        case(
            "generic/2/1",
            "PRIORITY of a stream that was not opened",
            |_| send([priority(1, 0), ping(MARK)]),
            Pong(MARK),
        ),
        case(
            "generic/2/2",
            "WINDOW_UPDATE of a stream whose request has ended",
            |ask| {
                send([
                    settings(&[(INITIAL_WINDOW_SIZE, 0)]),
                    headers(1, WHOLE, &ask.get()),
                    window_update(1, 1),
                ])
            },
            Data(1),
        ),
        case(
            "generic/2/3",
            "PRIORITY of a stream whose request has ended",
            |ask| {
                send([
                    settings(&[(INITIAL_WINDOW_SIZE, 0)]),
                    headers(1, WHOLE, &ask.get()),
                    priority(1, 0),
                    window_update(1, 1),
                ])
            },
            Data(1),
        ),
        case(
            "generic/2/4",
            "RST_STREAM of a stream whose request has ended",
            |ask| send([headers(1, WHOLE, &ask.get()), reset(1, CANCEL), ping(MARK)]),
            PongOrEnd(MARK),
        ),
        case(
            "generic/2/5",
            "PRIORITY of a stream that is closed",
            |ask| {
                vec![
                    Send(headers(1, WHOLE, &ask.get())),
                    Until(AnswerEnds(1)),
                    Send([priority(1, 0), ping(MARK)].concat()),
                ]
            },
            Pong(MARK),
        ),
    ]
}

fn frames() -> Vec<Case> {
    vec![
        case(
            "generic/3.1/1",
            "DATA",
            |ask| send([headers(1, HEAD, &ask.post()), data(1, LAST, b"test")]),
            Answer(1),
        ),
        case(
            "generic/3.1/2",
            "DATA, twice",
            |ask| send([headers(1, HEAD, &ask.post()), data(1, 0, b"test"), data(1, LAST, b"test")]),
            Answer(1),
        ),
        case(
            "generic/3.1/3",
            "DATA with padding",
            |ask| {
                let padded = b"\x05test\0\0\0\0\0";
                send([headers(1, HEAD, &ask.post()), data(1, LAST | PADDED, padded)])
            },
            Answer(1),
        ),
        case("generic/3.2/1", "HEADERS", |ask| send([headers(1, WHOLE, &ask.get())]), Answer(1)),
        case(
            "generic/3.2/2",
            "HEADERS with padding",
            |ask| {
                let padded = [&[8][..], &ask.get(), &[0; 8]].concat();
                send([headers(1, WHOLE | PADDED, &padded)])
            },
            Answer(1),
        ),
        case(
            "generic/3.2/3",
            "HEADERS with a priority",
            |ask| {
                let block = [dependency(0, false, 255), ask.get()].concat();
                send([headers(1, WHOLE | DEPENDS, &block)])
            },
            Answer(1),
        ),
        case(
            "generic/3.3/1",
            "PRIORITY with the least weight",
            |ask| {
                let least = frame(PRIORITY, 0, 1, &dependency(0, false, 0));
                send([least, headers(1, WHOLE, &ask.get())])
            },
            Answer(1),
        ),
        case(
            "generic/3.3/2",
            "PRIORITY with the greatest weight",
            |ask| send([priority(1, 0), headers(1, WHOLE, &ask.get())]),
            Answer(1),
        ),
        case(
            "generic/3.3/3",
            "PRIORITY that depends on another stream",
            |ask| {
                let dependent = frame(PRIORITY, 0, 3, &dependency(1, false, 0));
                send([dependent, headers(1, WHOLE, &ask.get())])
            },
            Answer(1),
        ),
        case(
            "generic/3.3/4",
            "PRIORITY that excludes others",
            |ask| {
                let exclusive = frame(PRIORITY, 0, 1, &dependency(0, true, 0));
                send([exclusive, headers(1, WHOLE, &ask.get())])
            },
            Answer(1),
        ),
        case(
            "generic/3.3/5",
            "PRIORITY of a later stream, then a request on an earlier one",
            |ask| send([priority(3, 0), headers(1, WHOLE, &ask.get())]),
            Answer(1),
        ),
        case(
            "generic/3.4/1",
            "RST_STREAM",
            |ask| send([headers(1, HEAD, &ask.get()), reset(1, CANCEL), ping(MARK)]),
            PongOrEnd(MARK),
        ),
        case(
            "generic/3.5/1",
            "SETTINGS with every parameter",
            |_| {
                send([settings(&[
                    (HEADER_TABLE_SIZE, 4_096),
                    (ENABLE_PUSH, 1),
                    (MAX_CONCURRENT_STREAMS, 100),
                    (INITIAL_WINDOW_SIZE, WINDOW),
                    (MAX_FRAME_SIZE, u32::try_from(FRAME_BYTES_MAX).unwrap()),
                    (MAX_HEADER_LIST_SIZE, 100),
                ])])
            },
            SettingsAck,
        ),
        case("generic/3.7/1", "PING", |_| send([ping(MARK)]), Pong(MARK)),
        case("generic/3.8/1", "GOAWAY", |_| send([goaway(NO_ERROR), ping(MARK)]), PongOrEnd(MARK)),
        case(
            "generic/3.9/1",
            "WINDOW_UPDATE of the connection",
            |_| send([window_update(0, 1), ping(MARK)]),
            Pong(MARK),
        ),
        case(
            "generic/3.9/2",
            "WINDOW_UPDATE of a stream",
            |ask| send([headers(1, WHOLE, &ask.get()), window_update(1, 1)]),
            Answer(1),
        ),
        case(
            "generic/3.10/1",
            "CONTINUATION, cut within a line",
            |ask| {
                let block = ask.get();
                send([headers(1, LAST, &block[..5]), continuation(1, HEAD, &block[5..])])
            },
            Answer(1),
        ),
        case(
            "generic/3.10/2",
            "CONTINUATION, twice",
            |ask| {
                let block = ask.get();
                send([
                    headers(1, LAST, &block[..5]),
                    continuation(1, 0, &block[5..10]),
                    continuation(1, HEAD, &block[10..]),
                ])
            },
            Answer(1),
        ),
    ]
}

fn messages() -> Vec<Case> {
    vec![
        case("generic/4/1", "GET", |ask| send([headers(1, WHOLE, &ask.get())]), Answer(1)),
        case("generic/4/2", "HEAD", |ask| send([headers(1, WHOLE, &ask.with("HEAD", &[]))]), Answer(1)),
        case(
            "generic/4/3",
            "POST",
            |ask| send([headers(1, HEAD, &ask.post()), data(1, LAST, b"test")]),
            Answer(1),
        ),
        case(
            "generic/4/4",
            "POST with trailers",
            |ask| {
                send([
                    headers(1, HEAD, &ask.with("POST", &[("trailer", "x-test")])),
                    data(1, 0, b"test"),
                    headers(1, WHOLE, &block(&[("x-test", "ok")])),
                ])
            },
            Answer(1),
        ),
    ]
}

/// Each form of a header line. Where h2spec sends other bytes than a case's name says, these are those of the name.
fn hpack() -> Vec<Case> {
    vec![
        case(
            "generic/5/1",
            "a line of the static table",
            |ask| send([headers(1, WHOLE, &ask.and(&[0xba]))]),
            Answer(1),
        ),
        case(
            "generic/5/2",
            "an indexed literal with a known name",
            |ask| send([headers(1, WHOLE, &ask.and(&[INDEXED_NAME[0], VALUE].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/3",
            "an indexed literal with a known name, coded",
            |ask| send([headers(1, WHOLE, &ask.and(&[INDEXED_NAME[0], VALUE_CODED].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/4",
            "an indexed literal with a new name",
            |ask| send([headers(1, WHOLE, &ask.and(&[NEW_NAME[0], NAME, VALUE].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/5",
            "an indexed literal with a new name, coded",
            |ask| send([headers(1, WHOLE, &ask.and(&[NEW_NAME[0], NAME_CODED, VALUE_CODED].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/6",
            "a literal with a known name that is not indexed",
            |ask| send([headers(1, WHOLE, &ask.and(&[INDEXED_NAME[1], VALUE].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/7",
            "a literal with a known name that is not indexed, coded",
            |ask| send([headers(1, WHOLE, &ask.and(&[INDEXED_NAME[1], VALUE_CODED].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/8",
            "a literal with a new name that is not indexed",
            |ask| send([headers(1, WHOLE, &ask.and(&[NEW_NAME[1], NAME, VALUE].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/9",
            "a literal with a new name that is not indexed, coded",
            |ask| send([headers(1, WHOLE, &ask.and(&[NEW_NAME[1], NAME_CODED, VALUE_CODED].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/10",
            "a literal with a known name that is never indexed",
            |ask| send([headers(1, WHOLE, &ask.and(&[INDEXED_NAME[2], VALUE].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/11",
            "a literal with a known name that is never indexed, coded",
            |ask| send([headers(1, WHOLE, &ask.and(&[INDEXED_NAME[2], VALUE_CODED].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/12",
            "a literal with a new name that is never indexed",
            |ask| send([headers(1, WHOLE, &ask.and(&[NEW_NAME[2], NAME, VALUE].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/13",
            "a literal with a new name that is never indexed, coded",
            |ask| send([headers(1, WHOLE, &ask.and(&[NEW_NAME[2], NAME_CODED, VALUE_CODED].concat()))]),
            Answer(1),
        ),
        case(
            "generic/5/14",
            "the dynamic table becomes 128 bytes",
            |ask| send([headers(1, WHOLE, &[&[0x3f, 0x61][..], &ask.get()].concat())]),
            Answer(1),
        ),
        case(
            "generic/5/15",
            "the dynamic table becomes 128 bytes, and 4,096",
            |ask| send([headers(1, WHOLE, &[&[0x3f, 0x61, 0x3f, 0xe1, 0x1f][..], &ask.get()].concat())]),
            Answer(1),
        ),
    ]
}
