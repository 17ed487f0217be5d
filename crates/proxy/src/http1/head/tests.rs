use super::*;
use crate::http1::parse;
use crate::reply::Cause;
use crate::route::Host;
use std::time::Duration;

/// What the instance gets; ids are shown as `*`.
fn written(text: &str, trusted: bool) -> String {
    let ids = RequestIds::new(Duration::ZERO).unwrap();
    let peer = Peer { address: b"9.9.9.9", scheme: b"http", port: b"80", trusted, ids: &ids };
    let out = rewrite(text.as_bytes(), &peer).unwrap().unwrap();
    let hide = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let id = matches!(name, "x-request-id" | "x-amzn-trace-id" | "traceparent");
        if id && value.len() >= 32 { format!("{name}: *") } else { line.to_owned() }
    };
    String::from_utf8(out).unwrap().split("\r\n").map(hide).collect::<Vec<_>>().join("\r\n")
}

fn rewrite(text: &[u8], peer: &Peer<'_>) -> Result<Option<Vec<u8>>, Cause> {
    let mut room = parse::room();
    let Some(head) = parse::request(text, &mut room)? else { return Ok(None) };
    let mut out = Vec::new();
    write_request(&head, head.host.unwrap_or_default(), peer, &peer.lines(), &mut out);
    Ok(Some(out))
}

const PEER: &str = "x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: http\r\nx-forwarded-port: 80\r\n";
const IDS: &str = "x-request-id: *\r\nx-amzn-trace-id: *\r\ntraceparent: *\r\n\r\n";

#[test]
fn what_passes_passes_as_it_came() {
    let expect = format!(
        "GET /a?b HTTP/1.1\r\nHost: A:81\r\nAccept:*/*\r\nX-Kept: 1\r\n{PEER}x-forwarded-host: A:81\r\n{IDS}"
    );
    let text = "GET /a?b HTTP/1.0\r\nHost: A:81\r\nAccept:*/*\r\nConnection: keep-alive, X-Private\r\n\
                x-private: 1\r\nX-Kept: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX_Forwarded_For: 1\r\n\r\n";
    assert_eq!(written(text, false), expect);
}

#[test]
fn absolute_targets_become_paths() {
    let check = |first: &str, expect: &str| {
        let text = format!("{first} HTTP/1.1\r\nHost: other\r\n\r\n");
        let expect = format!("{expect} HTTP/1.1\r\nhost: b:8\r\n{PEER}x-forwarded-host: b:8\r\n{IDS}");
        assert_eq!(written(&text, false), expect);
    };
    check("GET http://b:8/x?y", "GET /x?y");
    check("GET http://b:8", "GET /");
    check("GET http://b:8?y", "GET /?y");
    check("OPTIONS http://b:8", "OPTIONS *");
    check("OPTIONS http://b:8/", "OPTIONS /");
}

#[test]
fn bodies_keep_their_framing() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\nExpect: 100-continue\r\n\r\n";
    let expect = format!(
        "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n{PEER}x-forwarded-host: a\r\n{IDS}"
    );
    assert_eq!(written(chunked, false), expect);
    let named = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: host, content-length\r\n\r\n";
    let expect =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n{PEER}x-forwarded-host: a\r\n{IDS}");
    assert_eq!(written(named, false), expect);
}

#[test]
fn only_a_trusted_peer_says_where_a_request_came_from() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
                X-Forwarded-Prefix: /p\r\nConnection: x-forwarded-for, forwarded\r\n\r\n";
    let expect = format!("GET / HTTP/1.1\r\nHost: a\r\n{PEER}x-forwarded-host: a\r\n{IDS}");
    assert_eq!(written(text, false), expect);
    let expect = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n\
         Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Prefix: /p\r\n\
         x-forwarded-for: 1.1.1.1, 2.2.2.2, 9.9.9.9\r\nx-forwarded-port: 80\r\n{IDS}"
    );
    assert_eq!(written(text, true), expect);
    // A balancer may pass on what its client wants taken off.
    let asks = text
        .replace("\r\n\r\n", "\r\nConnection: X-Forwarded-For, x-forwarded-proto, x-forwarded-host\r\n\r\n");
    assert_eq!(written(&asks, true), expect);
}

#[test]
fn ids_are_kept_once() {
    let text =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nX-Request-Id: other\r\ntraceparent: t\r\n\r\n";
    let expect = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\ntraceparent: t\r\n{PEER}x-forwarded-host: a\r\n\
         x-amzn-trace-id: *\r\n\r\n"
    );
    assert_eq!(written(text, false), expect);
}

fn answered(text: &str, chunked: bool, length: bool, connection: Connection) -> String {
    let mut room = parse::room();
    let head = parse::response(text.as_bytes(), &mut room).unwrap().unwrap();
    let mut out = Vec::new();
    write_response(&head, chunked, length, connection, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_answer_s_head_is_written_for_its_client() {
    let text = "HTTP/1.0 201 Very Created\r\nServer: mine\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\
                Keep-Alive: 1\r\nDate: d\r\n\r\n";
    assert_eq!(
        answered(text, false, true, Connection::Stays),
        "HTTP/1.1 201 Very Created\r\nServer: mine\r\nContent-Length: 3\r\nDate: d\r\n\r\n"
    );
    assert_eq!(
        answered(text, false, false, Connection::KeepAlive),
        "HTTP/1.1 201 Very Created\r\nServer: mine\r\nDate: d\r\nconnection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        answered("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", true, true, Connection::Close),
        "HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
}

/// What is taken is written so that a second strict reader takes it for the same request: same method, same framing,
/// same host, one of each of the proxy's lines, and nothing that concerns a connection.
#[test]
#[ignore = "long: the long list runs it"]
fn heads_changed_by_dice() {
    let corpus = [
        "GET /a?b HTTP/1.1\r\nHost: a.localhost\r\nAccept: text/html\r\nCookie: a=1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close, x-a\r\nX-A: 1\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET http://b:80/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Request-Id: r\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
    ];
    let words = [
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\t",
        ":",
        ",",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "chunked",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding",
        "Content-Length",
        "X_Forwarded_For: 1\r\n",
        "Connection: host\r\n",
        "http://",
        "*",
        "+",
        "\u{b}",
        "GET",
        "HTTP/1.0",
        "\r\n\r\n",
        "_",
        "\u{e4}",
    ];
    let ids = RequestIds::new(Duration::ZERO).unwrap();
    let check = |text: &[u8], trusted: bool| {
        let peer = Peer { address: b"9.9.9.9", scheme: b"http", port: b"80", trusted, ids: &ids };
        let Ok(Some(out)) = rewrite(text, &peer) else { return };
        let (mut room, mut again) = (parse::room(), parse::room());
        let first = parse::request(text, &mut room).unwrap().unwrap();
        let Some(host) = first.host.and_then(|host| Host::parse(host).ok()) else { return };
        // There must be room for what is added, and OPTIONS turns an absolute target into an asterisk.
        if first.headers.len() + 10 > parse::HEADERS_MAX || first.method == "OPTIONS" {
            return;
        }
        let second = parse::request(&out, &mut again).unwrap().unwrap();
        assert_eq!(second.head.len(), out.len());
        assert_eq!((first.method, first.path()), (second.method, second.path()));
        assert_eq!(first.framing, second.framing);
        assert_eq!(Host::parse(second.host.unwrap()).unwrap().as_str(), host.as_str());
        assert!(!out.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'));
        let count = |name: &str| second.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).count();
        for name in ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"] {
            assert_eq!(count(name), 1, "{name}");
        }
        for name in ["x-request-id", "x-amzn-trace-id", "traceparent"] {
            assert_eq!(count(name), 1, "{name}");
        }
        for header in second.headers {
            let ours = match header.name {
                "transfer-encoding" => header.value == b"chunked",
                name => !crate::headers::concerns_connection(name) && !name.eq_ignore_ascii_case("expect"),
            };
            assert!(ours, "{}", header.name);
        }
    };
    crate::mutate::fuzz(&corpus.map(str::as_bytes), &words, |text| {
        check(text, false);
        check(text, true);
    });
}
