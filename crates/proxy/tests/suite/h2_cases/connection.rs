//! Sections 3 to 5: how a connection begins, frames, and the states of streams.

use super::Step::{Send, Until};
use super::Wanted::{Answer, AnswerEnds, ConnectionError, End, Http1, Pong, Settings, StreamError};
use super::wire::{
    CANCEL, COMPRESSION_ERROR, DEPENDS, FRAME_BYTES_MAX, FRAME_SIZE_ERROR, HEAD, INITIAL_WINDOW_SIZE, LAST,
    PING, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, UNKNOWN, WHOLE, WINDOW, continuation, data,
    dependency, frame, headers, ping, priority, reset, settings, window_update,
};
use super::{Ask, Case, MARK, NOT_BY_STREAM, ONE_CODE, Step, case, large_line, send};

const NOT_GREATER: &str =
    "h2 sees a number that is not greater than the last one, of which RFC 9113 §5.1.1 says PROTOCOL_ERROR";
/// Flags of which PING knows none.
const UNDEFINED_FLAGS: u8 = 0x16;
/// The bit of a stream's number that has no meaning.
const RESERVED: u32 = 1 << 31;

pub(super) fn cases() -> Vec<Case> {
    [starting(), frames(), streams(), ended(), numbers(), dependencies(), errors()]
        .into_iter()
        .flatten()
        .collect()
}

fn starting() -> Vec<Case> {
    vec![
        case(
            "http2/3.5/1",
            "a preface",
            |_| send([PREFACE.to_vec(), settings(&[(INITIAL_WINDOW_SIZE, WINDOW)])]),
            Settings,
        )
        .ungreeted(),
        // To which GOAWAY may be left out: it may be no HTTP/2 at all.
        case(
            "http2/3.5/2",
            "what is no preface is a request of HTTP/1, and a bad one",
            |_| send([b"NOT THE PREFACE\r\n\r\n".to_vec()]),
            Http1(400),
        )
        .ungreeted(),
    ]
}

fn frames() -> Vec<Case> {
    vec![
        case(
            "http2/4.1/1",
            "a frame of an unknown type",
            |_| send([frame(UNKNOWN, 0, 0, &[0; 8]), ping(MARK)]),
            Pong(MARK),
        ),
        case(
            "http2/4.1/2",
            "flags that have no meaning",
            |_| send([frame(PING, UNDEFINED_FLAGS, 0, &MARK)]),
            Pong(MARK),
        ),
        case(
            "http2/4.1/3",
            "the reserved bit",
            |_| send([frame(PING, UNDEFINED_FLAGS, RESERVED, &MARK)]),
            Pong(MARK),
        ),
        case(
            "http2/4.2/1",
            "DATA as large as may be",
            |ask| send([headers(1, HEAD, &ask.post()), data(1, LAST, &[b'x'; FRAME_BYTES_MAX])]),
            Answer(1),
        ),
        case(
            "http2/4.2/2",
            "DATA larger than that",
            |ask| send([headers(1, HEAD, &ask.post()), data(1, LAST, &[b'x'; FRAME_BYTES_MAX + 1])]),
            StreamError(1, &[FRAME_SIZE_ERROR]),
        ),
        case(
            "http2/4.2/3",
            "HEADERS larger than that",
            |ask| {
                let lines = ["x-a", "x-b", "x-c", "x-d", "x-e"].map(large_line).concat();
                send([headers(1, WHOLE, &ask.and(&lines))])
            },
            ConnectionError(&[FRAME_SIZE_ERROR]),
        )
        .refused(),
        case(
            "http2/4.3/1",
            "a line without a name and an end",
            |_| send([headers(1, WHOLE, &[0x40])]),
            ConnectionError(&[COMPRESSION_ERROR]),
        )
        .differs(ONE_CODE, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/4.3/2",
            "PRIORITY within a head",
            |ask| {
                send([headers(1, 0, &ask.get()), priority(1, 0), continuation(1, HEAD, &large_line("x-a"))])
            },
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
        case("http2/4.3/3", "HEADERS of another stream within a head", another_head, ANOTHER_HEAD).refused(),
    ]
}

/// h2spec asks this twice, for 4.3 and for 6.2.
pub(super) fn another_head(ask: &Ask) -> Vec<Step> {
    send([
        headers(1, 0, &ask.get()),
        headers(3, WHOLE, &ask.get()),
        continuation(1, HEAD, &large_line("x-a")),
    ])
}

pub(super) const ANOTHER_HEAD: super::Wanted = ConnectionError(&[PROTOCOL_ERROR]);

fn streams() -> Vec<Case> {
    vec![
        case(
            "http2/5.1/1",
            "idle: DATA",
            |_| send([data(1, LAST, b"test")]),
            StreamError(1, &[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case(
            "http2/5.1/2",
            "idle: RST_STREAM",
            |_| send([reset(1, CANCEL)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/5.1/3",
            "idle: WINDOW_UPDATE",
            |_| send([window_update(1, 100)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/5.1/4",
            "idle: CONTINUATION",
            |ask| send([continuation(1, HEAD, &ask.get())]),
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
        case(
            "http2/5.1/5",
            "half closed: DATA",
            |ask| send([headers(1, WHOLE, &ask.get()), data(1, LAST, b"test")]),
            StreamError(1, &[STREAM_CLOSED]),
        )
        .differs(NOT_BY_STREAM, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/5.1/6",
            "half closed: HEADERS",
            |ask| send([headers(1, WHOLE, &ask.get()), headers(1, WHOLE, &ask.get())]),
            StreamError(1, &[STREAM_CLOSED]),
        )
        .differs(NOT_BY_STREAM, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/5.1/7",
            "half closed: CONTINUATION",
            |ask| send([headers(1, WHOLE, &ask.get()), continuation(1, HEAD, &ask.get())]),
            StreamError(1, &[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
    ]
}

/// Streams that the client or the answer has ended.
fn ended() -> Vec<Case> {
    vec![
        case(
            "http2/5.1/8",
            "closed by RST_STREAM: DATA",
            |ask| send([headers(1, HEAD, &ask.get()), reset(1, CANCEL), data(1, LAST, b"test")]),
            StreamError(1, &[STREAM_CLOSED]),
        ),
        case(
            "http2/5.1/9",
            "closed by RST_STREAM: HEADERS",
            |ask| send([headers(1, HEAD, &ask.get()), reset(1, CANCEL), headers(1, WHOLE, &ask.get())]),
            StreamError(1, &[STREAM_CLOSED]),
        )
        .differs(NOT_GREATER, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/5.1/10",
            "closed by RST_STREAM: CONTINUATION",
            |ask| {
                let block = large_line("x-a");
                send([headers(1, HEAD, &ask.get()), reset(1, CANCEL), continuation(1, HEAD, &block)])
            },
            StreamError(1, &[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        case(
            "http2/5.1/11",
            "closed: DATA",
            |ask| answered(ask, data(1, LAST, b"test")),
            StreamError(1, &[STREAM_CLOSED]),
        ),
        case(
            "http2/5.1/12",
            "closed: HEADERS",
            |ask| answered(ask, headers(1, WHOLE, &ask.get())),
            ConnectionError(&[STREAM_CLOSED]),
        )
        .differs(NOT_GREATER, ConnectionError(&[PROTOCOL_ERROR])),
        case(
            "http2/5.1/13",
            "closed: CONTINUATION",
            |ask| answered(ask, continuation(1, HEAD, &large_line("x-a"))),
            ConnectionError(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
    ]
}

/// A request and its whole answer, then this frame.
fn answered(ask: &Ask, bytes: Vec<u8>) -> Vec<Step> {
    vec![Send(headers(1, WHOLE, &ask.get())), Until(AnswerEnds(1)), Send(bytes)]
}

fn numbers() -> Vec<Case> {
    vec![
        case(
            "http2/5.1.1/1",
            "a stream with an even number",
            |ask| send([headers(2, WHOLE, &ask.get())]),
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
        case(
            "http2/5.1.1/2",
            "a stream with a smaller number than the last one",
            |ask| send([headers(5, WHOLE, &ask.get()), headers(3, WHOLE, &ask.get())]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        // The streams get numbers from 1 on, of which the last is refused; none ends while its window is empty.
        case(
            "http2/5.1.2/1",
            "one stream more than SETTINGS allow",
            |ask| {
                let streams = (0..=ask.streams_max).flat_map(|n| headers(2 * n + 1, WHOLE, &ask.get()));
                send([settings(&[(INITIAL_WINDOW_SIZE, 0)]), streams.collect()])
            },
            StreamError(STREAM_TOO_MANY, &[PROTOCOL_ERROR, REFUSED_STREAM]),
        ),
    ]
}

/// The proxy says 128.
const STREAM_TOO_MANY: u32 = 2 * 128 + 1;

fn dependencies() -> Vec<Case> {
    vec![
        case(
            "http2/5.3.1/1",
            "HEADERS of a stream that depends on itself",
            |ask| {
                let block = [dependency(1, false, 255), ask.get()].concat();
                send([headers(1, WHOLE | DEPENDS, &block)])
            },
            StreamError(1, &[PROTOCOL_ERROR]),
        )
        .refused(),
        case(
            "http2/5.3.1/2",
            "PRIORITY of a stream that depends on itself",
            |_| send([priority(1, 1)]),
            StreamError(1, &[PROTOCOL_ERROR]),
        ),
    ]
}

fn errors() -> Vec<Case> {
    vec![
        case("http2/5.4.1/1", "PING of a stream, and the end", |_| send([frame(PING, 0, 3, &MARK)]), End),
        case(
            "http2/5.4.1/2",
            "PING of a stream, and why it ends",
            |_| send([frame(PING, 0, 3, &MARK)]),
            ConnectionError(&[PROTOCOL_ERROR]),
        ),
        case(
            "http2/5.5/1",
            "an unknown extension",
            |_| send([frame(UNKNOWN, 0, 0, &[0; 8]), ping(MARK)]),
            Pong(MARK),
        ),
        case(
            "http2/5.5/2",
            "an unknown extension within a head",
            |ask| send([headers(1, LAST, &ask.get()), frame(UNKNOWN, 0, 0, &[0; 8])]),
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
    ]
}
