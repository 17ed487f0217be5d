//! Sections 7 and 8: codes that nobody knows, and requests that are none.

use super::Wanted::{Answer, ConnectionError, PongOrEnd, StreamError};
use super::wire::{
    HEAD, LAST, PROTOCOL_ERROR, PUSH_PROMISE, WHOLE, block, data, frame, goaway, headers, ping, reset,
};
use super::{Ask, Case, HOST, MARK, Step, case, send};

/// A code that no specification gives a meaning.
const UNKNOWN_CODE: u32 = 0xff;

pub(super) fn cases() -> Vec<Case> {
    [codes(), bodies(), lines(), pseudo_lines(), smuggled(), push()].into_iter().flatten().collect()
}

fn codes() -> Vec<Case> {
    vec![
        case(
            "http2/7/1",
            "GOAWAY with an unknown code",
            |_| send([goaway(UNKNOWN_CODE), ping(MARK)]),
            PongOrEnd(MARK),
        ),
        case(
            "http2/7/2",
            "RST_STREAM with an unknown code",
            |ask| send([headers(1, HEAD, &ask.post()), reset(1, UNKNOWN_CODE), ping(MARK)]),
            PongOrEnd(MARK),
        ),
    ]
}

/// What is wrong comes behind the head, which may be on its way by then.
fn bodies() -> Vec<Case> {
    vec![
        broken("http2/8.1/1", "trailers that are not the end", |ask| trailers(ask, &[("x-test", "ok")])),
        broken("http2/8.1.2.1/3", "a pseudo-header in trailers", |ask| trailers(ask, &[(":method", "POST")])),
        // Not h2spec's, whose trailers are wrong by not being the end, too.
        broken("more/8.1.2.1", "a pseudo-header in trailers that are the end", |ask| {
            let trailers = block(&[(":method", "POST")]);
            send([headers(1, HEAD, &ask.post()), data(1, 0, b"test"), headers(1, WHOLE, &trailers)])
        })
        .differs("h2 drops it, so that nobody behind it reads it", Answer(1)),
        broken("http2/8.1.2.6/1", "more bytes than content-length says", |ask| {
            send([headers(1, HEAD, &of_one_byte(ask)), data(1, LAST, b"test")])
        }),
        broken("http2/8.1.2.6/2", "more bytes than content-length says, in two frames", |ask| {
            send([headers(1, HEAD, &of_one_byte(ask)), data(1, 0, b"test"), data(1, LAST, b"test")])
        }),
    ]
}

fn broken(name: &'static str, what: &'static str, steps: fn(&Ask) -> Vec<Step>) -> Case {
    case(name, what, steps, StreamError(1, &[PROTOCOL_ERROR]))
}

/// A second head that does not end the stream.
fn trailers(ask: &Ask, lines: &[(&str, &str)]) -> Vec<Step> {
    send([headers(1, HEAD, &ask.post()), data(1, 0, b"test"), headers(1, HEAD, &block(lines))])
}

fn of_one_byte(ask: &Ask) -> Vec<u8> {
    ask.with("POST", &[("content-length", "1")])
}

/// A head that is wrong by itself: the application never hears of it.
fn wrong(name: &'static str, what: &'static str, steps: fn(&Ask) -> Vec<Step>) -> Case {
    case(name, what, steps, StreamError(1, &[PROTOCOL_ERROR])).refused()
}

fn get(block: &[u8]) -> Vec<Step> {
    send([headers(1, WHOLE, block)])
}

fn lines() -> Vec<Case> {
    vec![
        wrong("http2/8.1.2/1", "a name with capitals", |ask| get(&ask.with("GET", &[("X-TEST", "ok")]))),
        wrong("http2/8.1.2.1/1", "an unknown pseudo-header", |ask| get(&ask.with("GET", &[(":test", "ok")]))),
        wrong("http2/8.1.2.1/2", "a pseudo-header of answers", |ask| {
            get(&ask.with("GET", &[(":status", "200")]))
        }),
        wrong("http2/8.1.2.1/4", "a line before the pseudo-headers", |ask| {
            get(&[block(&[("x-test", "ok")]), ask.get()].concat())
        }),
        wrong("http2/8.1.2.2/1", "a line about the connection", |ask| {
            get(&ask.with("GET", &[("connection", "keep-alive")]))
        }),
        wrong("http2/8.1.2.2/2", "TE with more than trailers", |ask| {
            get(&ask.with("GET", &[("trailers", "test"), ("te", "trailers, deflate")]))
        }),
    ]
}

fn pseudo_lines() -> Vec<Case> {
    vec![
        wrong("http2/8.1.2.3/1", "an empty path", |_| {
            get(&block(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", HOST)]))
        }),
        wrong("http2/8.1.2.3/2", "no method", |ask| get(&ask.without(":method"))),
        wrong("http2/8.1.2.3/3", "no scheme", |ask| get(&ask.without(":scheme"))),
        wrong("http2/8.1.2.3/4", "no path", |ask| get(&ask.without(":path"))),
        wrong("http2/8.1.2.3/5", "two methods", |ask| get(&ask.with("GET", &[(":method", "GET")]))),
        wrong("http2/8.1.2.3/6", "two schemes", |ask| get(&ask.with("GET", &[(":scheme", "http")]))),
        wrong("http2/8.1.2.3/7", "two paths", |ask| get(&ask.with("GET", &[(":path", "/second")]))),
    ]
}

/// What a head of HTTP/1 could not say in one line, or would say twice. Not h2spec's.
fn smuggled() -> Vec<Case> {
    vec![
        wrong("more/8.2.1/1", "a value with CR and LF", |ask| {
            get(&ask.with("GET", &[("x-test", "a\r\nx-request-id: b")]))
        }),
        wrong("more/8.2.1/2", "a value with LF", |ask| get(&ask.with("GET", &[("x-test", "a\nb: c")]))),
        wrong("more/8.2.1/3", "a value with NUL", |ask| get(&ask.with("GET", &[("x-test", "a\0b")]))),
        wrong("more/8.2.1/4", "a name with CR and LF", |ask| get(&ask.with("GET", &[("x\r\ny", "z")]))),
        wrong("more/8.2.1/5", "a name with a colon", |ask| get(&ask.with("GET", &[("x: y", "z")]))),
        wrong("more/8.3.1/1", "a path with CR and LF", |_| get(&of("/\r\nx: y", HOST))),
        wrong("more/8.3.1/2", "a path with a space", |_| get(&of("/a HTTP/1.1", HOST))),
        wrong("more/8.3.1/3", "an authority with CR and LF", |_| get(&of("/", "app.localhost\r\nx: y"))),
        wrong("more/8.2.2", "a transfer coding", |ask| {
            send([
                headers(1, HEAD, &ask.with("POST", &[("transfer-encoding", "chunked")])),
                data(1, LAST, b"0\r\n\r\n"),
            ])
        }),
        wrong("more/8.1.1", "a length without a body", |ask| {
            get(&ask.with("POST", &[("content-length", "5")]))
        }),
    ]
}

fn of(path: &str, authority: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", authority)])
}

fn push() -> Vec<Case> {
    vec![
        case(
            "http2/8.2/1",
            "PUSH_PROMISE",
            |ask| {
                let promised = [&3_u32.to_be_bytes()[..], &ask.get()].concat();
                send([frame(PUSH_PROMISE, HEAD, 1, &promised)])
            },
            ConnectionError(&[PROTOCOL_ERROR]),
        )
        .refused(),
    ]
}
