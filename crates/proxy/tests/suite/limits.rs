//! What ends, when, and what is passed on unchanged: idle connections, clients that go away, half-closed tunnels,
//! answers without a body.

use crate::support::{Directory, Origin, PATIENCE, Ruled, Running, Wire, eventually};
use crate::tls;
use apron_model::routes::RoutePolicy;
use apron_proxy::{Config, OpeningTimeouts};
use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

#[test]
fn a_connection_that_sleeps_or_never_ends_its_head_is_closed() {
    let origin = Origin::named("a");
    let proxy = Running::with(&[(HOST, &[origin.address])], |config| config.idle_timeout_ms = 300);
    let (mut idle, mut silent, mut half) = (proxy.client(), proxy.client(), proxy.client());
    let start = Instant::now();
    assert_eq!(idle.get(HOST, "/").1, "a");
    half.send("GET / HTTP/1.1\r\nHost: app.lo");
    assert!(idle.closed() && silent.closed());
    assert!(start.elapsed() < Duration::from_secs(4), "the sweep comes each second");
    assert!(half.closed());
    assert!(start.elapsed() >= Duration::from_millis(300));
}

/// However slowly it trickles: a byte is a sign of life, and of nothing else.
#[test]
fn what_comes_before_a_request_has_its_time() {
    let origin = Origin::named("a");
    let hurried = |config: &mut Config| {
        config.opening = OpeningTimeouts { introduction_ms: 500, handshake_ms: 500, request_head_ms: 500 };
    };
    let get = format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "a".repeat(500));
    let own = Running::with(&[(HOST, &[origin.address])], hurried);
    trickle("a head", own.client(), get.as_bytes());
    let mut second = own.client();
    assert_eq!(second.get(HOST, "/").1, "a");
    trickle("a second head", second, get.as_bytes());
    // With affinity, hyper serves it.
    let policy = RoutePolicy { affinity: true, ..RoutePolicy::default() };
    let handed_over = Ruled::new(HOST, &[origin.address], policy, hurried);
    let mut second = handed_over.proxy.client();
    assert_eq!(second.get(HOST, "/").1, "a");
    trickle("a head by hyper's way", second, get.as_bytes());
    let introduced = Running::with(&[(HOST, &[origin.address])], |config| {
        hurried(config);
        config.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
    });
    trickle("an introduction", introduced.client(), b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n");
    let directory = Directory::new();
    let mut config = Config::fixed(vec![format!("{HOST}={}", origin.address).parse().unwrap()]);
    config.certificates = tls::one_pair(&directory);
    hurried(&mut config);
    let secure = tls::Front::start(config);
    // The record of a ClientHello of 512 bytes, of which not all come.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 32]].concat();
    trickle("a handshake", Wire::connect(secure.https), &hello);
}

/// A byte of these, but the last, twenty times a second, until the peer ends the connection.
fn trickle(what: &str, mut client: Wire, bytes: &[u8]) {
    let start = Instant::now();
    client.read.get_ref().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    for byte in bytes[..bytes.len() - 1].iter().cycle() {
        if client.write.write_all(&[*byte]).is_err() || client.closed() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{what} goes on");
    }
    // The sweep comes each second.
    let time = start.elapsed();
    assert!((Duration::from_millis(450)..Duration::from_secs(6)).contains(&time), "{what}: {time:?}");
}

#[test]
fn a_request_that_is_answered_slowly_is_not_idle() {
    let origin = Origin::answering(|_, wire| {
        std::thread::sleep(Duration::from_secs(2));
        wire.ok("late");
    });
    let proxy = Running::with(&[(HOST, &[origin.address])], |config| config.idle_timeout_ms = 300);
    assert_eq!(proxy.client().get(HOST, "/").1, "late");
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_the_instance() {
    let (began, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (seen, gone) = (began.clone(), ended.clone());
    let origin = Origin::answering(move |_, wire| {
        seen.store(true, Ordering::SeqCst);
        // Not a byte of an answer: only the end of the connection ends this.
        gone.store(wire.closed(), Ordering::SeqCst);
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    eventually("the instance works", || began.load(Ordering::SeqCst));
    drop(client);
    eventually("the instance hears that nobody waits", || ended.load(Ordering::SeqCst));
    eventually("the place is free", || proxy.in_flight() == 0);
}

#[test]
fn a_tunnel_passes_the_end_of_one_direction_on() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        assert_eq!(wire.bytes(3), b"bye");
        assert!(wire.closed(), "the client's end arrives");
        wire.send("one last word");
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    client.send("bye");
    client.write.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.bytes(13), b"one last word");
    assert!(client.closed());
    eventually("the tunnel is gone", || proxy.in_flight() == 0);
}

#[test]
fn answers_without_a_body_keep_the_connection() {
    let origin = Origin::answering(|head, wire| match head.target() {
        "/204" => wire.send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => wire.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n"),
        "/hints" => wire.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        "/chunked" => wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ => wire.ok("whole"),
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    let mut ask = |method: &str, path: &str| {
        client.send(&format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        client.head().unwrap()
    };
    assert_eq!(ask("GET", "/204").status(), 204);
    let head = ask("GET", "/304");
    assert_eq!((head.status(), head.get("etag")), (304, Some("\"x\"")));
    assert_eq!(ask("HEAD", "/chunked").status(), 200);
    let hints = ask("GET", "/hints");
    assert_eq!((hints.status(), hints.get("link")), (103, Some("</a>")));
    // 100 is the proxy's to say, and the client did not ask for it.
    assert_eq!(client.head().unwrap().status(), 200);
    assert_eq!(client.get(HOST, "/").1, "whole");
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn events_and_answers_that_end_with_their_connection_come_at_once() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::start(move |mut wire| {
        wire.head();
        wire.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n",
        );
        wait.lock().unwrap().recv().unwrap();
        wire.send("data: 2\n\n");
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    assert_eq!(client.head().unwrap().get("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk(), b"data: 1\n\n");
    go.send(()).unwrap();
    assert_eq!(client.chunk(), b"data: 2\n\n");
    assert_eq!(client.chunk(), b"");
}

#[test]
fn no_request_is_sent_more_than_twice_and_none_with_a_body_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    // The first answer is good; from then on every request is read and never answered.
    let origin = Origin::start(move |mut wire| {
        while let Some(head) = wire.head() {
            wire.body(&head);
            match seen.fetch_add(1, Ordering::SeqCst) {
                0 => wire.ok("first"),
                _ => return,
            }
        }
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    assert_eq!(client.get(HOST, "/").1, "first");
    // On the kept connection, where the end may have crossed the request, then once on a new one.
    assert_eq!(client.get(HOST, "/").0.get("x-apron-cause"), Some("closed_before_response"));
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    client.send("DELETE / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.head().unwrap().get("x-apron-cause"), Some("closed_before_response"));
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}

#[test]
fn an_answer_s_head_is_bounded() {
    let origin = Origin::answering(|_, wire| {
        let _ = std::io::Write::write_all(
            &mut wire.write,
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(200_000)).as_bytes(),
        );
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let head = proxy.client().get(HOST, "/").0;
    assert_eq!((head.status(), head.get("x-apron-cause")), (502, Some("bad_response")));
}
