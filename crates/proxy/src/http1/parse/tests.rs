use super::*;

fn parse(text: &[u8]) -> Result<Option<(Framing, bool, bool)>, Cause> {
    let mut room = room();
    let head = request(text, &mut room)?;
    Ok(head.map(|head| (head.framing, head.keep_alive, head.websocket)))
}

/// A request with these header lines beside its Host.
fn with(headers: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes()
}

fn refused(text: impl AsRef<[u8]>, cause: Cause) {
    let shown = String::from_utf8_lossy(text.as_ref()).into_owned();
    assert_eq!(parse(text.as_ref()), Err(cause), "{shown:.200}");
}

#[test]
fn where_a_body_ends_is_said_once_or_refused() {
    let framing = |headers: &str| parse(&with(headers)).unwrap().unwrap().0;
    assert_eq!(framing(""), Framing::None);
    assert_eq!(framing("Content-Length: 0\r\n"), Framing::Length(0));
    assert_eq!(framing("content-length:42  \r\n"), Framing::Length(42));
    assert_eq!(framing("Content-Length: 0042\r\n"), Framing::Length(42));
    assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
    for wrong in [
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: 3 3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3.0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;x=y\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        refused(with(wrong), Cause::BadRequest);
    }
    for unknown in ["gzip", "xchunked", "identity", "chunked-not"] {
        refused(with(&format!("Transfer-Encoding: {unknown}\r\n")), Cause::NotSupported);
    }
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Cause::BadRequest);
}

#[test]
fn lines_are_of_one_kind() {
    for wrong in [
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        " X: a\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        "X: a\rb\r\n",
        "X: a\0b\r\n",
        "X: a\x7f\r\n",
        "X\0: a\r\n",
        "X y: a\r\n",
        "X(y): a\r\n",
        "\u{e4}: a\r\n",
        ": a\r\n",
        "X\r\n",
        "X: a\n",
        "X: a\nY: b\r\n",
        "X: a\r\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
    ] {
        refused(with(wrong), Cause::BadRequest);
    }
    for wrong in [
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        refused(wrong, Cause::BadRequest);
    }
    assert!(parse(&with("X:\r\nY: \t \r\nZ: \u{e4}\r\n")).unwrap().is_some());
}

#[test]
fn a_head_is_bounded() {
    assert!(parse(&with(&"X: y\r\n".repeat(HEADERS_MAX - 1))).unwrap().is_some());
    refused(with(&"X: y\r\n".repeat(HEADERS_MAX)), Cause::HeadTooLarge);
    let long = "y".repeat(REQUEST_LINE_BYTES_MAX);
    refused(format!("GET /{long}"), Cause::UriTooLong);
    refused(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), Cause::UriTooLong);
    refused(with(&format!("Connection: {}\r\n", "a,".repeat(CONNECTION_OPTIONS_MAX))), Cause::BadRequest);
    let line = format!("Connection: {}b\r\n", "a,".repeat(60));
    refused(with(&line.repeat(2)), Cause::BadRequest);
    for part in ["", "G", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        assert_eq!(parse(part.as_bytes()), Ok(None), "{part:?}");
    }
}

#[test]
fn the_host_is_one() {
    let host = |text: &'static str| {
        let mut room = room();
        request(text.as_bytes(), &mut room).map(|head| head.unwrap().host)
    };
    assert_eq!(host("GET / HTTP/1.1\r\nHost: a:80\r\n\r\n"), Ok(Some(&b"a:80"[..])));
    assert_eq!(host("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Some(&b"b"[..])));
    assert_eq!(host("GET HTTPS://b?x HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Some(&b"b"[..])));
    assert_eq!(host("GET / HTTP/1.0\r\n\r\n"), Ok(None));
    assert_eq!(host("GET / HTTP/1.1\r\n\r\n"), Err(Cause::BadRequest));
    assert_eq!(host("GET http://b/ HTTP/1.1\r\n\r\n"), Err(Cause::BadRequest));
    assert_eq!(host("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Err(Cause::BadRequest));
    assert_eq!(host("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), Err(Cause::BadRequest));
}

#[test]
fn a_target_is_of_a_known_form() {
    let check = |method: &str, target: &str, fine: bool| {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(parse(text.as_bytes()).is_ok(), fine, "{text}");
    };
    check("GET", "/", true);
    check("GET", "/a?b={c}|d", true);
    check("OPTIONS", "*", true);
    check("OPTIONS", "http://a", true);
    check("GET", "*", false);
    check("GET", "a", false);
    check("GET", "a/b", false);
    check("GET", "ftp://a/", false);
    check("GET", "//", true);
    check("GET", "/a#b", false);
    check("GET", "/\u{e4}", false);
    check("GET", "?a", false);
    check("CONNECT", "a:80", false);
    check("CONNECT", "/", false);
}

#[test]
fn connections_stay_by_the_rules_of_their_version() {
    let check = |version: &str, connection: &str, expect: bool| {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(parse(text.as_bytes()).unwrap().unwrap().1, expect, "{text}");
    };
    check("1.1", "", true);
    check("1.1", "Connection: close\r\n", false);
    check("1.1", "Connection: x, Close\r\n", false);
    check("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false);
    check("1.0", "", false);
    check("1.0", "Connection: Keep-Alive\r\n", true);
    check("1.0", "Connection: keep-alive, close\r\n", false);
}

#[test]
fn a_websocket_needs_both_headers_no_body_and_no_other_protocol() {
    let check = |text: &str, expect: bool| {
        assert_eq!(parse(text.as_bytes()).unwrap().unwrap().2, expect, "{text}");
    };
    let get = |headers: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    check(&get("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"), true);
    check(&get("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"), true);
    check(&get("Connection: keep-alive\r\nUpgrade: websocket\r\n"), false);
    check(&get("Connection: upgrade\r\n"), false);
    check(&get("Connection: upgrade\r\nUpgrade: h2c\r\n"), false);
    check(&get("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), false);
    check(&get("Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n"), false);
    check(&get("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n"), false);
    check(&get("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"), false);
    check("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false);
    check("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false);
}

#[test]
fn names_have_their_kind_in_any_case() {
    for (name, kind) in [
        ("Accept", Kind::Pass),
        ("HOST", Kind::Host),
        ("content-Length", Kind::Length),
        ("Keep-Alive", Kind::Drop),
        ("TE", Kind::Drop),
        ("Transfer-ENCODING", Kind::Drop),
        ("Expect", Kind::Drop),
        ("X-Forwarded-For", Kind::ForwardedFor),
        ("X-Forwarded-Port", Kind::ForwardedPort),
        ("X_Forwarded_For", Kind::Drop),
        ("x-forwarded_PROTO", Kind::Drop),
        ("X_Amzn-Trace-Id", Kind::Drop),
        ("X-Amzn-Trace-Id", Kind::AmznTraceId),
        ("X-Request-ID", Kind::RequestId),
        ("TraceParent", Kind::TraceParent),
        ("x_api_key", Kind::Pass),
        ("X-Forwarded-Fox", Kind::Hearsay),
        ("X-Forwarded_Fox", Kind::Drop),
        ("X-Real-IP", Kind::Hearsay),
        ("X_Real-IP", Kind::Drop),
        ("Forwarded", Kind::Hearsay),
        ("X-Forward", Kind::Pass),
        ("tracestate", Kind::Pass),
    ] {
        assert_eq!(request_kind(name), kind, "{name}");
    }
}

#[test]
fn an_answer_is_as_strict() {
    let answer = |text: &str| {
        let mut room = room();
        response(text.as_bytes(), &mut room)
            .map(|head| head.map(|head| (head.code, head.framing, head.keep_alive)))
    };
    let fine = |text: &str| answer(text).unwrap().unwrap();
    assert_eq!(fine("HTTP/1.1 200 OK\r\n\r\n"), (200, Framing::Close, true));
    assert_eq!(fine("HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n"), (200, Framing::Length(3), true));
    assert_eq!(fine("HTTP/1.0 404 Not Found\r\n\r\n"), (404, Framing::Close, false));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    assert_eq!(fine(chunked), (200, Framing::Chunked, false));
    for part in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nX: y\r\n"] {
        assert_eq!(answer(part), Ok(None), "{part:?}");
    }
    for wrong in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 20 Short\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(answer(wrong), Err(Cause::BadResponse), "{wrong:?}");
    }
}
