//! Requests and answers that try to be read in two ways: what one reader takes as the end of a message and another
//! as its middle lets a stranger speak in another client's name. Bytes by hand, because no client library sends them.

use crate::support::{Head, Origin, Ruled, Running};
use apron_model::routes::RoutePolicy;
use std::io::Write;
use std::sync::{Arc, Mutex};

const HOST: &str = "app.localhost";

/// What the instance made of what it was sent.
#[derive(Clone)]
struct Seen {
    first: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }
}

/// A proxy before an instance that remembers.
struct World {
    proxy: Running,
    seen: Arc<Mutex<Vec<Seen>>>,
    _origin: Origin,
}

impl World {
    fn new() -> World {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let remember = seen.clone();
        let origin = Origin::answering(move |head, wire| {
            let body = String::from_utf8(wire.body(head)).unwrap();
            let (first, headers) = (head.first.clone(), head.headers.clone());
            remember.lock().unwrap().push(Seen { first, headers, body });
            wire.ok("served");
        });
        World { proxy: Running::fixed(&[(HOST, &[origin.address])]), seen, _origin: origin }
    }

    /// Sends bytes on a connection of their own; the first answer, if there is one, and what the instance saw.
    fn send(&self, bytes: impl AsRef<[u8]>) -> (Option<Head>, Vec<Seen>) {
        self.seen.lock().unwrap().clear();
        let mut client = self.proxy.client();
        // A proxy that has read enough closes.
        let _ = client.write.write_all(bytes.as_ref());
        let head = client.head();
        if let Some(head) = &head {
            client.body(head);
        }
        (head, self.seen.lock().unwrap().clone())
    }

    fn refused(&self, bytes: impl AsRef<[u8]>, status: u16) {
        let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        let (head, seen) = self.send(bytes);
        assert_eq!(head.map(|head| head.status()), Some(status), "{text:.200}");
        assert!(seen.is_empty(), "the instance saw {text:.200}");
    }

    /// The one request that the instance saw, which was answered.
    fn served(&self, bytes: impl AsRef<[u8]>) -> Seen {
        let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
        let (head, seen) = self.send(bytes);
        assert_eq!((head.map(|head| head.status()), seen.len()), (Some(200), 1), "{text:.200}");
        seen[0].clone()
    }
}

/// A head with the service's Host; the empty line and the body follow in `rest`.
fn post(headers: &str, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n{rest}")
}

#[test]
fn a_body_has_one_length() {
    let world = World::new();
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let both = ["Transfer-Encoding: chunked\r\n", &format!("Content-Length: {}\r\n", 5 + HIDDEN.len())];
    for headers in [both.concat(), [both[1], both[0]].concat()] {
        world.refused(post(&headers, &format!("0\r\n\r\n{HIDDEN}")), 400);
    }
    for lengths in [
        "3\r\nContent-Length: 4",
        "+3",
        "0x3",
        "3,4",
        "3 3",
        "",
        "99999999999999999999",
        "3\r\nContent-Length: x",
        "3\r\nContent-Length: 3",
    ] {
        world.refused(post(&format!("Content-Length: {lengths}\r\n"), "abc"), 400);
    }
}

#[test]
fn only_plain_chunks_are_a_transfer_coding() {
    let world = World::new();
    for unknown in ["gzip", "xchunked", "identity"] {
        world.refused(post(&format!("Transfer-Encoding: {unknown}\r\n"), "0\r\n\r\n"), 501);
    }
    for coding in
        ["chunked, identity", "gzip, chunked", "\"chunked\"", "chunked\r\nTransfer-Encoding: chunked"]
    {
        world.refused(post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n"), 400);
    }
    world.refused(
        "POST / HTTP/1.0\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    world.refused(post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400);
    world.refused(post("Transfer-Encoding: chunked\r\n x: y\r\n", "0\r\n\r\n"), 400);
    let seen = world.served(post("Transfer-Encoding: Chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"));
    assert_eq!((seen.all("transfer-encoding"), seen.body.as_str()), (vec!["chunked"], "abc"));
}

#[test]
fn chunks_are_written_anew() {
    let world = World::new();
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let seen = world.served(chunked("3;a=b;c=\"d\"\r\nabc\r\n0;e\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n"));
    assert_eq!((seen.body.as_str(), seen.all("x-forwarded-for")), ("abc", vec!["127.0.0.1"]));
    for body in [
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
    ] {
        let (head, seen) = world.send(chunked(body));
        assert!(head.as_ref().is_none_or(|head| head.status() >= 400), "{body:?}: {head:?}");
        assert!(seen.is_empty(), "the instance took {body:?} as a whole body");
    }
    assert_eq!(world.proxy.client().get(HOST, "/").1, "served");
}

#[test]
fn a_head_is_lines_of_one_kind() {
    let world = World::new();
    for headers in
        ["X: a\r\n b\r\n", "X: a\rb\r\n", "X: a\0b\r\n", "X\0: a\r\n", "X y: a\r\n", ": a\r\n", "X\r\n"]
    {
        world.refused(post(headers, ""), 400);
    }
    world.refused("GET /a\0b HTTP/1.1\r\nHost: app.localhost\r\n\r\n", 400);
    world.refused("GET /a b HTTP/1.1\r\nHost: app.localhost\r\n\r\n", 400);
    world.refused(" GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n", 400);
    world.refused(post(&"X: y\r\n".repeat(101), ""), 431);
    let long = "y".repeat(200_000);
    world.refused(post(&format!("X: {long}\r\n"), ""), 431);
    world.refused(format!("GET /{long} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 414);
    // A reader may take a line feed alone as the end of a line (RFC 9112 §2.2), and another may not.
    world.refused(format!("GET /x HTTP/1.1\nHost: {HOST}\nX-Kept: a\n\n"), 400);
    world.refused(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nX: a\nY: b\r\n\r\n"), 400);
}

#[test]
fn the_host_is_one_and_the_same_for_all() {
    let world = World::new();
    world.refused("GET / HTTP/1.1\r\n\r\n", 400);
    world.refused("GET / HTTP/1.0\r\n\r\n", 404);
    world.refused(post("Host: app.localhost\r\n", ""), 400);
    world.refused("GET / HTTP/1.1\r\nHost: app.localhost, other\r\n\r\n", 400);
    world.refused("GET http://user@app.localhost/ HTTP/1.1\r\nHost: app.localhost\r\n\r\n", 400);
    world.refused("GET http://other/ HTTP/1.1\r\nHost: app.localhost\r\n\r\n", 404);
    let seen =
        world.served("GET http://app.localhost/x HTTP/1.1\r\nHost: other\r\nX-Forwarded-Host: other\r\n\r\n");
    assert_eq!((seen.first.as_str(), seen.all("host")), ("GET /x HTTP/1.1", vec![HOST]));
    assert_eq!(seen.all("x-forwarded-host"), [HOST]);
}

#[test]
fn connection_takes_off_nothing_that_the_proxy_says() {
    let world = World::new();
    let seen = world.served(post(
        "Connection: close, host, content-length, x-forwarded-for, x-forwarded-proto, x-forwarded-host, \
         x-forwarded-port, x-request-id, x-mine\r\nX-Mine: 1\r\nContent-Length: 3\r\n",
        "abc",
    ));
    assert_eq!((seen.all("host"), seen.body.as_str()), (vec![HOST], "abc"));
    for name in
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id"]
    {
        assert_eq!(seen.all(name).len(), 1, "{name} in {:?}", seen.headers);
    }
    assert!(seen.all("x-mine").is_empty() && seen.all("connection").is_empty());
}

#[test]
fn what_the_proxy_says_cannot_be_said_by_a_client() {
    let world = World::new();
    let seen = world.served(post(
        "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: a\r\nX-Forwarded-For: 1.1.1.1\r\n\
         X_Forwarded_For: 2.2.2.2\r\nX-Forwarded_Proto: https\r\nX_FORWARDED_HOST: b\r\nX_Request_Id: c\r\n\
         Content-Length: 0\r\n",
        "",
    ));
    let port = world.proxy.address.port().to_string();
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-port"), [port.as_str()]);
    assert_eq!(seen.all("x-forwarded-host"), [HOST]);
    // What a stranger says about where it comes from is hearsay.
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert!(!seen.headers.iter().any(|(name, _)| name.contains('_')), "{:?}", seen.headers);
}

#[test]
fn no_protocol_but_websocket_leaves_http() {
    let world = World::new();
    for protocol in ["h2c", "websocket, h2c", "h2c\r\nUpgrade: websocket", "TLS/1.0"] {
        let seen = world.served(format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
             HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(seen.all(name).is_empty(), "{name} of {protocol}");
        }
    }
    // With a body it is no WebSocket either.
    let seen =
        world.served(post("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", "abc"));
    assert!(seen.all("upgrade").is_empty() && seen.body == "abc");
}

#[test]
fn an_answer_has_one_length() {
    // With affinity it goes by hyper's way.
    let answer = |text: &'static str, affinity: bool| {
        let origin = Origin::answering(move |_, wire| wire.send(text));
        let policy = RoutePolicy { affinity, ..RoutePolicy::default() };
        let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
        let mut client = world.proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
        let head = client.head().unwrap();
        let body = client.body(&head);
        (head, String::from_utf8(body).unwrap())
    };
    for wrong in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        for affinity in [false, true] {
            let (head, _) = answer(wrong, affinity);
            let seen = (head.status(), head.get("x-apron-cause"));
            assert_eq!(seen, (502, Some("bad_response")), "{affinity} {wrong:?}");
        }
    }
}

#[test]
fn an_instance_switches_to_websocket_or_not_at_all() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("x-apron-cause")), (502, Some("bad_response")));
}
