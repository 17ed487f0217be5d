//! Section 6: each type of frame, wrong in every way.

use super::Step::{Send, Until};
use super::Wanted::{Answer, ConnectionError, Data, Pong, Reset, SettingsAck, StreamError};
use super::connection::{ANOTHER_HEAD, another_head};
use super::wire::{
    ACK, CANCEL, DATA, ENABLE_PUSH, FLOW_CONTROL_ERROR, FRAME_BYTES_MAX, FRAME_SIZE_ERROR, GOAWAY, HEAD,
    INITIAL_WINDOW_SIZE, LAST, MAX_FRAME_SIZE, PADDED, PING, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS,
    STREAM_CLOSED, WHOLE, WINDOW_MAX, WINDOW_UPDATE, continuation, data, frame, headers, ping, priority,
    reset, settings, window_update,
};
use super::{Case, MARK, NOT_BY_STREAM, ONE_CODE, case, large_line, send};

/// A parameter that no specification gives a meaning.
const UNKNOWN_PARAMETER: u16 = 0xff;

pub(super) fn cases() -> Vec<Case> {
    [bodies(), heads(), small(), parameters(), control(), windows(), more_of_a_head()]
        .into_iter()
        .flatten()
        .collect()
}

fn bodies() -> Vec<Case> {
    vec![
        case(
            "http2/6.1/1",
            "DATA of no stream",
            |_| send([data(0, LAST, b"test")]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.1/2",
            "DATA of a request that has ended",
            |ask| send([headers(1, WHOLE, &ask.post()), data(1, LAST, b"test")]),
            StreamError(1, &[STREAM_CLOSED]),
        )
        .differs(NOT_BY_STREAM, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/6.1/3",
            "DATA with more padding than bytes",
            |ask| {
                let head = ask.with("POST", &[("content-length", "4")]);
                send([headers(1, HEAD, &head), frame(DATA, LAST | PADDED, 1, b"\x06Test")])
            },
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ]
}

fn heads() -> Vec<Case> {
    vec![
        case(
            "http2/6.2/1",
            "PRIORITY between HEADERS and CONTINUATION",
            |ask| {
                send([headers(1, 0, &ask.get()), priority(1, 0), continuation(1, HEAD, &large_line("x-a"))])
            },
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
        case(
            "http2/6.2/2",
            "HEADERS of another stream between HEADERS and CONTINUATION",
            another_head,
            ANOTHER_HEAD,
        )
        .refused(),
        case(
            "http2/6.2/3",
            "HEADERS of no stream",
            |ask| send([headers(0, WHOLE, &ask.get())]),
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
        case(
            "http2/6.2/4",
            "HEADERS with more padding than bytes",
            |ask| {
                let block = ask.get();
                let padding = u8::try_from(block.len() + 2).unwrap();
                send([headers(1, WHOLE | PADDED, &[&[padding], &block[..]].concat())])
            },
            StreamError(1, &[PROTOCOL_ERROR]),
        )
        .refused(),
    ]
}

/// PRIORITY and RST_STREAM.
fn small() -> Vec<Case> {
    vec![
        case(
            "http2/6.3/1",
            "PRIORITY of no stream",
            // It depends on another one: on itself it would be wrong twice.
            |_| send([priority(0, 1)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.3/2",
            "PRIORITY of four bytes",
            |ask| send([headers(1, WHOLE, &ask.get()), frame(PRIORITY, 0, 1, b"\x80\0\0\x01")]),
            StreamError(1, &[FRAME_SIZE_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/6.4/1",
            "RST_STREAM of no stream",
            |_| send([reset(0, CANCEL)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.4/2",
            "RST_STREAM of a stream that was not opened",
            |_| send([reset(1, CANCEL)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.4/3",
            "RST_STREAM of three bytes",
            |ask| send([headers(1, WHOLE, &ask.get()), frame(RST_STREAM, 0, 1, &[0; 3])]),
            StreamError(1, &[FRAME_SIZE_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
    ]
}

fn parameters() -> Vec<Case> {
    vec![
        case(
            "http2/6.5/1",
            "an acknowledgement of SETTINGS with bytes",
            |_| send([frame(SETTINGS, ACK, 0, &[0])]),
            ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/6.5/2",
            "SETTINGS of a stream",
            |_| send([frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.5/3",
            "SETTINGS with half a parameter",
            |_| send([frame(SETTINGS, 0, 0, &[0, 3, 0])]),
            ConnectionError(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
        case(
            "http2/6.5.2/1",
            "ENABLE_PUSH of 2",
            |_| send([settings(&[(ENABLE_PUSH, 2)])]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.5.2/2",
            "INITIAL_WINDOW_SIZE above the largest window",
            |_| send([settings(&[(INITIAL_WINDOW_SIZE, WINDOW_MAX + 1)])]),
            ConnectionError(&[FLOW_CONTROL_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/6.5.2/3",
            "MAX_FRAME_SIZE below the least",
            |_| send([settings(&[(MAX_FRAME_SIZE, u32::try_from(FRAME_BYTES_MAX).unwrap() - 1)])]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.5.2/4",
            "MAX_FRAME_SIZE above the greatest",
            |_| send([settings(&[(MAX_FRAME_SIZE, 1 << 24)])]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.5.2/5",
            "an unknown parameter",
            |_| send([settings(&[(UNKNOWN_PARAMETER, 1)]), ping(MARK)]),
            Pong(MARK),
        ),
        case(
            "http2/6.5.3/1",
            "one parameter twice: the last counts",
            |ask| {
                vec![
                    Send(settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)])),
                    Until(SettingsAck),
                    Send(headers(1, WHOLE, &ask.get())),
                ]
            },
            Data(1),
        ),
        case(
            "http2/6.5.3/2",
            "SETTINGS are acknowledged",
            |_| send([settings(&[(ENABLE_PUSH, 0)])]),
            SettingsAck,
        ),
    ]
}

/// PING and GOAWAY.
fn control() -> Vec<Case> {
    vec![
        case("http2/6.7/1", "PING", |_| send([ping(MARK)]), Pong(MARK)),
        case(
            "http2/6.7/2",
            "an answer to a PING that nobody sent is not answered",
            |_| send([frame(PING, ACK, 0, b"unasked."), ping(MARK)]),
            Pong(MARK),
        ),
        case(
            "http2/6.7/3",
            "PING of a stream",
            |_| send([frame(PING, 0, 1, &MARK)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.7/4",
            "PING of six bytes",
            |_| send([frame(PING, 0, 0, &[0; 6])]),
            ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/6.8/1",
            "GOAWAY of a stream",
            |_| send([frame(GOAWAY, 0, 1, &[0; 8])]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
    ]
}

fn windows() -> Vec<Case> {
    vec![
        case(
            "http2/6.9/1",
            "WINDOW_UPDATE of the connection by nothing",
            |_| send([window_update(0, 0)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.9/2",
            "WINDOW_UPDATE of a stream by nothing",
            |ask| send([headers(1, HEAD, &ask.get()), window_update(1, 0)]),
            StreamError(1, &[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.9/3",
            "WINDOW_UPDATE of three bytes",
            |_| send([frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])]),
            ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/6.9.1/1",
            "a window of one byte",
            |ask| {
                vec![
                    Send(settings(&[(INITIAL_WINDOW_SIZE, 1)])),
                    Until(SettingsAck),
                    Send(headers(1, WHOLE, &ask.get())),
                ]
            },
            Data(1),
        ),
        case(
            "http2/6.9.1/2",
            "a window of the connection above the largest",
            |_| send([window_update(0, WINDOW_MAX), window_update(0, WINDOW_MAX)]),
            ConnectionError(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "http2/6.9.1/3",
            "a window of a stream above the largest",
            |ask| {
                send([
                    headers(1, HEAD, &ask.get()),
                    window_update(1, WINDOW_MAX),
                    window_update(1, WINDOW_MAX),
                ])
            },
            Reset(1, FLOW_CONTROL_ERROR),
        ),
        case(
            "http2/6.9.2/1",
            "windows grow with INITIAL_WINDOW_SIZE, also of streams that are open",
            |ask| {
                vec![
                    Send(settings(&[(INITIAL_WINDOW_SIZE, 0)])),
                    Until(SettingsAck),
                    Send([headers(1, WHOLE, &ask.get()), settings(&[(INITIAL_WINDOW_SIZE, 1)])].concat()),
                ]
            },
            Data(1),
        ),
        // Three bytes are sent and two would be allowed: the window is at minus one, and two more give one.
        case(
            "http2/6.9.2/2",
            "a window below nothing",
            |ask| {
                vec![
                    Send(settings(&[(INITIAL_WINDOW_SIZE, 3)])),
                    Until(SettingsAck),
                    Send(headers(1, WHOLE, &ask.get())),
                    Until(Data(3)),
                    Send(settings(&[(INITIAL_WINDOW_SIZE, 2)])),
                    Until(SettingsAck),
                    Send(window_update(1, 2)),
                ]
            },
            Data(1),
        ),
        case(
            "http2/6.9.2/3",
            "INITIAL_WINDOW_SIZE above the largest window, as bytes",
            |_| send([frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])]),
            ConnectionError(&[FLOW_CONTROL_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
    ]
}

/// CONTINUATION.
fn more_of_a_head() -> Vec<Case> {
    vec![
        case(
            "http2/6.10/1",
            "HEADERS and two of CONTINUATION",
            |ask| {
                let line = large_line("x-a");
                send([headers(1, LAST, &ask.get()), continuation(1, 0, &line), continuation(1, HEAD, &line)])
            },
            Answer(1),
        ),
        case(
            "http2/6.10/2",
            "DATA behind a CONTINUATION that is not the last",
            |ask| {
                let line = large_line("x-a");
                send([headers(1, 0, &ask.post()), continuation(1, 0, &line), data(1, LAST, b"test")])
            },
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
        case(
            "http2/6.10/3",
            "CONTINUATION of no stream",
            |ask| send([headers(1, LAST, &ask.get()), continuation(0, HEAD, &large_line("x-a"))]),
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
        case(
            "http2/6.10/4",
            "CONTINUATION behind HEADERS that were the last",
            |ask| send([headers(1, WHOLE, &ask.get()), continuation(1, HEAD, &large_line("x-a"))]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.10/5",
            "CONTINUATION behind one that was the last",
            |ask| {
                let line = large_line("x-a");
                send([
                    headers(1, LAST, &ask.get()),
                    continuation(1, HEAD, &line),
                    continuation(1, HEAD, &line),
                ])
            },
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/6.10/6",
            "DATA behind HEADERS that are not the last",
            |ask| {
                let line = large_line("x-a");
                send([
                    headers(1, 0, &ask.post()),
                    data(1, LAST, b"test"),
                    continuation(1, 0, &line),
                    continuation(0, HEAD, &line),
                ])
            },
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
    ]
}
