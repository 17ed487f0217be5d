//! What reaches an instance, and what comes back: one test per promise about a single request.

use crate::support::{Origin, Running, Wire, eventually};
use apron_model::routes::Load;
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HOST: &str = "app.localhost";

fn one(origin: &Origin) -> Running {
    Running::fixed(&[(HOST, &[origin.address])])
}

/// Answers with the request head as it arrived, one line each.
fn mirror() -> Origin {
    Origin::answering(|head, wire| {
        let body = head.length().map(|length| wire.bytes(length));
        let mut text = format!("{}\n", head.first);
        for (name, value) in &head.headers {
            text += &format!("{}: {value}\n", name.to_lowercase());
        }
        text += &String::from_utf8(body.unwrap_or_default()).unwrap();
        wire.ok(&text);
    })
}

#[test]
fn a_host_finds_its_service() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Running::fixed(&[("a.localhost", &[a.address]), ("b.localhost", &[b.address])]);
    let mut client = proxy.client();
    for host in ["a.localhost", "A.LOCALHOST", "a.localhost:8080", "a.localhost.", "a.localhost.:1"] {
        assert_eq!(client.get(host, "/").1, "a", "{host}");
    }
    assert_eq!(client.get("b.localhost", "/").1, "b");
    let (head, body) = client.get("c.localhost", "/");
    assert_eq!((head.status(), head.get("x-apron-cause")), (404, Some("no_route")));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["cause"], "no_route");
}

#[test]
fn a_browser_gets_a_page() {
    let proxy = Running::fixed(&[]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(head.get("content-type"), Some("text/html; charset=utf-8"));
    assert!(String::from_utf8(client.body(&head)).unwrap().contains("no_route"));
}

#[test]
fn forwarded_headers_are_added_and_connection_headers_taken_off() {
    let origin = mirror();
    let proxy = one(&origin);
    let mut client = proxy.client();
    client.send(
        "GET /x?y=z HTTP/1.1\r\nHost: App.Localhost:81\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: gopher\r\n\
         Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nX-Kept: yes\r\n\r\n",
    );
    let head = client.head().unwrap();
    let text = String::from_utf8(client.body(&head)).unwrap();
    let port = proxy.address.port();
    for line in [
        "GET /x?y=z HTTP/1.1",
        "host: App.Localhost:81",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: App.Localhost:81",
        &format!("x-forwarded-port: {port}"),
        "x-kept: yes",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    for name in ["connection:", "x-secret:", "te:", "keep-alive:", "transfer-encoding:"] {
        assert!(!text.lines().any(|l| l.starts_with(name)), "{name} in {text}");
    }
    let id = |text: &str| text.lines().find_map(|l| l.strip_prefix("x-request-id: ")).unwrap().to_owned();
    assert_eq!(id(&text).len(), 32);
    let (_, second) = client.get(HOST, "/");
    assert_ne!(id(&text), id(&second));
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nX-Request-Id: mine\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(id(&String::from_utf8(client.body(&head)).unwrap()), "mine");
}

#[test]
fn an_answer_passes_with_its_own_server_header() {
    let origin = Origin::answering(|_, wire| {
        wire.send(
            "HTTP/1.1 201 Created\r\nServer: mine/1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 3\r\n\
             Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
        );
    });
    let (head, _) = one(&origin).client().get(HOST, "/");
    assert_eq!((head.status(), head.get("server")), (201, Some("mine/1")));
    assert_eq!(head.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("set-cookie")).count(), 2);
    assert!(head.get("x-hop").is_none() && head.get("keep-alive").is_none());
    assert!(!head.headers.iter().any(|(_, v)| v.to_lowercase().contains("apron")));
}

#[test]
fn http_1_0_and_absolute_targets_and_head() {
    let origin = mirror();
    let proxy = one(&origin);
    let mut old = proxy.client();
    old.send("GET /old HTTP/1.0\r\nHost: app.localhost\r\n\r\n");
    let head = old.head().unwrap();
    assert_eq!(head.status(), 200);
    assert!(String::from_utf8(old.body(&head)).unwrap().starts_with("GET /old HTTP/1.1"));
    assert!(old.closed());

    let mut client = proxy.client();
    client.send("GET http://app.localhost/abs?q HTTP/1.1\r\nHost: other\r\n\r\n");
    let head = client.head().unwrap();
    let text = String::from_utf8(client.body(&head)).unwrap();
    assert!(text.starts_with("GET /abs?q HTTP/1.1") && text.contains("host: app.localhost\n"), "{text}");

    client
        .send("HEAD / HTTP/1.1\r\nHost: app.localhost\r\n\r\nGET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    // The mirror sends a body to HEAD, which no server may; so ask one that does not.
    let silent = Origin::answering(|_, wire| wire.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"));
    let proxy = one(&silent);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
        assert_eq!(client.head().unwrap().length(), Some(7));
    }
    assert_eq!(silent.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::answering(|head, wire| {
        if head.target() == "/0" {
            std::thread::sleep(Duration::from_millis(50));
        }
        wire.ok(head.target());
    });
    let proxy = one(&origin);
    let mut client = proxy.client();
    let all: String = (0..5).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: app.localhost\r\n\r\n")).collect();
    client.send(&all);
    for n in 0..5 {
        let head = client.head().unwrap();
        assert_eq!(client.body(&head), format!("/{n}").into_bytes());
    }
}

#[test]
fn an_answer_is_streamed() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::answering(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        wait.lock().unwrap().recv().unwrap();
        wire.send("6\r\nsecond\r\n0\r\n\r\n");
    });
    let proxy = one(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    assert_eq!(client.head().unwrap().get("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk(), b"first");
    assert_eq!(proxy.in_flight(), 1, "a streaming answer holds its place");
    go.send(()).unwrap();
    assert_eq!(client.chunk(), b"second");
    assert_eq!(client.chunk(), b"");
    eventually("the place is free", || proxy.in_flight() == 0);
}

#[test]
fn an_upload_is_streamed_and_held_back() {
    let taken = Arc::new(AtomicUsize::new(0));
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (wait, seen) = (std::sync::Mutex::new(wait), taken.clone());
    const LENGTH: usize = 64 * 1024 * 1024;
    let origin = Origin::answering(move |head, wire| {
        assert_eq!(head.length(), Some(LENGTH));
        seen.fetch_add(wire.bytes(10).len(), Ordering::SeqCst);
        wait.lock().unwrap().recv().unwrap();
        let mut left = LENGTH - 10;
        while left > 0 {
            let part = left.min(1 << 20);
            seen.fetch_add(wire.bytes(part).len(), Ordering::SeqCst);
            left -= part;
        }
        wire.ok("done");
    });
    let proxy = one(&origin);
    let mut client = proxy.client();
    client.send(&format!("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: {LENGTH}\r\n\r\n"));
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut write, count) = (client.write.try_clone().unwrap(), sent.clone());
    let upload = std::thread::spawn(move || {
        let part = vec![b'x'; 1 << 16];
        while count.load(Ordering::SeqCst) < LENGTH {
            std::io::Write::write_all(&mut write, &part).unwrap();
            count.fetch_add(part.len(), Ordering::SeqCst);
        }
    });
    eventually("the first bytes arrive before the last are sent", || taken.load(Ordering::SeqCst) > 0);
    // The instance does not read: what was sent stands in socket buffers and two small buffers of the proxy.
    let mut last = 0;
    eventually("the upload stops", || {
        let now = sent.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut last, now) == now && now > 0
    });
    assert!(last < LENGTH / 2, "{last} bytes were taken from a client whose instance reads nothing");
    go.send(()).unwrap();
    let head = client.head().unwrap();
    assert_eq!(client.body(&head), b"done");
    upload.join().unwrap();
}

#[test]
fn chunked_uploads_pass_also_with_get() {
    let origin = Origin::answering(|head, wire| {
        assert_eq!(head.get("transfer-encoding"), Some("chunked"));
        let body = wire.body(head);
        wire.ok(&String::from_utf8(body).unwrap());
    });
    let proxy = one(&origin);
    let mut client = proxy.client();
    for method in ["POST", "GET"] {
        client.send(&format!(
            "{method} / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        client.send("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
        let head = client.head().unwrap();
        assert_eq!(client.body(&head), b"abcdef", "{method}");
    }
}

#[test]
fn a_client_that_expects_100_gets_it() {
    let origin = mirror();
    let proxy = one(&origin);
    let mut client = proxy.client();
    client
        .send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 100);
    client.send("body");
    let head = client.head().unwrap();
    let text = String::from_utf8(client.body(&head)).unwrap();
    assert!(text.ends_with("body") && !text.contains("expect"), "{text}");
}

#[test]
fn a_websocket_is_a_tunnel_that_holds_a_place() {
    let origin = Origin::answering(|head, wire| {
        assert_eq!((head.get("upgrade"), head.get("connection")), (Some("websocket"), Some("upgrade")));
        assert_eq!(head.get("sec-websocket-key"), Some("k"));
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: a\r\n\r\nhello",
        );
        let bytes = wire.bytes(4);
        wire.send(&String::from_utf8(bytes).unwrap().to_uppercase());
    });
    let proxy = one(&origin);
    let mut client = proxy.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: app.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: k\r\n\r\n",
    );
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("upgrade")), (101, Some("websocket")));
    assert_eq!(head.get("sec-websocket-accept"), Some("a"));
    assert_eq!(client.bytes(5), b"hello");
    assert_eq!(proxy.in_flight(), 1);
    let there = Load { arrived: 1, in_flight: 1, ..Load::default() };
    assert_eq!(proxy.load(), [there]);
    client.send("ping");
    assert_eq!(client.bytes(4), b"PING");
    drop(client);
    eventually("the tunnel ends with its client", || proxy.in_flight() == 0);
    let over = Load { arrived: 1, answered: 1, ..Load::default() };
    eventually("and is load until then", || proxy.load() == [over]);
}

#[test]
fn an_upgrade_may_be_refused() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno");
    });
    let proxy = one(&origin);
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let head = client.head().unwrap();
        assert_eq!((head.status(), client.body(&head)), (426, b"no".to_vec()));
        // What follows such a wish was not read as HTTP, so nothing else is asked on this connection.
        assert_eq!(head.get("connection"), Some("close"));
        assert!(client.closed());
    }
}

#[test]
fn malformed_requests_are_refused_and_the_proxy_lives() {
    let origin = mirror();
    let proxy = one(&origin);
    for (text, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: app.localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: app.localhost:99999999\r\n\r\n", 400),
        ("CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost app.localhost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : app.localhost\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: app.localhost\r\n\r\n", 400),
        ("\0\0\0\0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ] {
        let mut client = proxy.client();
        client.send(text);
        let head = client.head().unwrap_or_else(|| panic!("no answer to {:.80}", text));
        assert_eq!(head.status(), status, "{text:.80}");
    }
    assert_eq!(proxy.client().get(HOST, "/").0.status(), 200);
}

#[test]
fn half_a_request_and_an_aborted_answer_leave_nothing_behind() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        // Until the proxy gives up on this connection.
        wire.closed();
    });
    let proxy = one(&origin);
    let mut half = proxy.client();
    half.send("GET / HTTP/1.1\r\nHost: app.lo");
    drop(half);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    client.head().unwrap();
    assert_eq!(proxy.in_flight(), 1);
    drop(client);
    eventually("the abandoned request gives its place back", || proxy.in_flight() == 0);
}

/// An HTTP/2 client with prior knowledge.
#[tokio::test]
async fn http_2_streams_share_a_connection() {
    let origin = Origin::answering(|head, wire| {
        let body = wire.body(head);
        let cookie = head.get("cookie").unwrap_or_default();
        let text = format!(
            "{} {} {} {cookie}",
            head.target(),
            head.get("host").unwrap(),
            String::from_utf8(body).unwrap()
        );
        wire.ok(&text);
    });
    let proxy = one(&origin);
    let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let ask = |number: usize| {
        let mut sender = sender.clone();
        async move {
            let request = http::Request::post(format!("http://app.localhost:99/{number}"))
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .body(http_body_util::Full::new(bytes::Bytes::from(format!("body{number}"))))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("/{number} app.localhost:99 body{number} a=1; b=2"));
        }
    };
    futures_util::future::join_all((0..50).map(ask)).await;
    let over = Load { arrived: 50, answered: 50, ..Load::default() };
    eventually("each was load, and is none any more", || proxy.load() == [over]);
}

#[test]
fn load_is_spread_over_instances_and_connections_are_kept() {
    let origins: Vec<Origin> = ["a", "b", "c"].map(Origin::named).into();
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let proxy = Running::fixed(&[(HOST, &addresses)]);
    let mut client = proxy.client();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..30 {
        *seen.entry(client.get(HOST, "/").1).or_insert(0) += 1;
    }
    assert_eq!(seen.values().copied().collect::<Vec<i32>>(), [10, 10, 10]);
    assert!(origins.iter().all(|origin| origin.connections.load(Ordering::SeqCst) == 1));
    // A request is counted when it has ended, which is after its client has read it.
    eventually("all are counted", || proxy.load().iter().map(|load| load.answered).sum::<u64>() == 30);
}

#[test]
fn big_answers_pass_whole_and_a_slow_client_is_no_burden() {
    const LENGTH: usize = 32 * 1024 * 1024;
    let origin = Origin::answering(|_, wire| {
        wire.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let part: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for _ in 0..LENGTH >> 20 {
            if std::io::Write::write_all(&mut wire.write, &part).is_err() {
                return;
            }
        }
    });
    let proxy = one(&origin);
    let mut client: Wire = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
        let head = client.head().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let body = client.body(&head);
        assert_eq!(body.len(), LENGTH);
        assert!(body.iter().enumerate().all(|(place, byte)| *byte == place as u8));
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1, "the connection is used again");
}

#[test]
fn an_upload_goes_on_while_the_client_does_not_read_the_answer() {
    const LENGTH: usize = 16 * 1024 * 1024;
    let origin = Origin::answering(|head, wire| {
        assert_eq!(head.length(), Some(LENGTH));
        wire.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let mut write = wire.write.try_clone().unwrap();
        let answer = std::thread::spawn(move || {
            std::io::Write::write_all(&mut write, &vec![b'y'; LENGTH]).unwrap();
        });
        assert_eq!(wire.bytes(LENGTH).len(), LENGTH);
        answer.join().unwrap();
    });
    let proxy = one(&origin);
    let mut client = proxy.client();
    client.send(&format!("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: {LENGTH}\r\n\r\n"));
    std::io::Write::write_all(&mut client.write, &vec![b'x'; LENGTH]).unwrap();
    let head = client.head().unwrap();
    assert!(client.body(&head).iter().all(|byte| *byte == b'y'));
}
