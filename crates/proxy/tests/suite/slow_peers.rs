//! Clients and applications that are slow, or leave before the end: what they can hold, and for how long.

use crate::support::{Origin, PATIENCE, Ruled, Running, Wire, eventually};
use apron_model::routes::RoutePolicy;
use apron_proxy::Config;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

fn impatient(config: &mut Config) {
    config.head_timeout_ms = 500;
}

#[test]
fn a_body_that_trickles_holds_no_place_for_ever() {
    let origin = Origin::answering(|head, wire| {
        wire.body(head);
        wire.ok("whole");
    });
    let proxy = Running::with(&[(HOST, &[origin.address])], impatient);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 1000\r\n\r\n");
    let mut write = client.write.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        for _ in 0..1_000 {
            if write.write_all(b"x").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("x-apron-cause")), (408, Some("body_timed_out")));
    eventually("the place is free", || proxy.in_flight() == 0);
    drop(client);
    trickle.join().unwrap();
}

#[test]
fn a_head_of_an_answer_that_trickles_is_late_all_the_same() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nX: ");
        let start = Instant::now();
        while start.elapsed() < PATIENCE / 2 && wire.write.write_all(b"y").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = wire.write.write_all(b"\r\nContent-Length: 0\r\n\r\n");
    });
    let proxy = Running::with(&[(HOST, &[origin.address])], impatient);
    let (head, _) = proxy.client().get(HOST, "/");
    assert_eq!((head.status(), head.get("x-apron-cause")), (504, Some("timed_out")));
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    let origin = Origin::answering(|_, wire| {
        let text = "HTTP/1.1 103 Hints\r\nLink: l\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n0\r\nX: y\r\n\r\n";
        for byte in text.as_bytes() {
            wire.write.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let ruled = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
    let proxy = &ruled.proxy;
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: app.localhost\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((client.head().unwrap().status(), client.bytes(3)), (200, b"abc".to_vec()));
        assert!(client.closed());
        client = proxy.client();
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

/// Answers that were read whole wait for their client at the proxy, and nobody's place with them.
#[test]
fn a_client_that_reads_nothing_holds_no_place() {
    const REQUESTS: usize = 1_500;
    const BODY: usize = 20_000;
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let body = "x".repeat(BODY);
    let origin = Origin::answering(move |_, wire| {
        wire.ok(&body);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    let mut write = client.write.try_clone().unwrap();
    let ask = std::thread::spawn(move || {
        for _ in 0..REQUESTS {
            write.write_all(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").unwrap();
        }
    });
    let mut before = 0;
    eventually("nothing moves, and the place is free", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = answered.load(Ordering::SeqCst);
        let stands = now > 0 && now == std::mem::replace(&mut before, now);
        stands && proxy.in_flight() == 0
    });
    assert!(before < REQUESTS, "the client's buffers took everything");
    for _ in 0..REQUESTS {
        let head = client.head().unwrap();
        assert_eq!(client.body(&head).len(), BODY);
    }
    ask.join().unwrap();
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

/// Whether the application reads the rest of the body as such, or as the next request, nobody knows.
#[test]
fn a_connection_on_which_the_answer_came_first_is_not_used_again() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut wire: Wire| {
        while let Some(head) = wire.head() {
            if head.target() != "/early" {
                wire.ok("next");
                continue;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
            wire.bytes(2);
            wait.lock().unwrap().recv().unwrap();
            wire.send("cd");
        }
    });
    let ruled = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
    let proxy = &ruled.proxy;
    let mut client = proxy.client();
    client.send("POST /early HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("connection")), (200, Some("close")));
    client.send("hi");
    go.send(()).unwrap();
    assert_eq!(client.body(&head), b"abcd");
    drop(client);
    eventually("the exchange ended", || proxy.in_flight() == 0);
    assert_eq!(proxy.client().get(HOST, "/").1, "next");
    assert_eq!(origin.connections.load(Ordering::SeqCst), 2);
}

/// A client of HTTP/1.0 knows the end of such a body by the end of the connection: it must not look like one.
#[test]
fn an_answer_that_breaks_off_is_not_whole_to_an_old_client_either() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |mut wire: Wire| {
        let Some(head) = wire.head() else { return };
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        wait.lock().unwrap().recv().unwrap();
        if head.target() == "/whole" {
            wire.send("0\r\n\r\n");
        }
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    for (target, whole) in [("/whole", true), ("/broken", false)] {
        let mut client = proxy.client();
        client.send(&format!("GET {target} HTTP/1.0\r\nHost: app.localhost\r\n\r\n"));
        client.head().unwrap();
        assert_eq!(client.bytes(3), b"abc");
        go.send(()).unwrap();
        let end = client.read.read(&mut [0]);
        assert_eq!(end.is_ok_and(|count| count == 0), whole, "{target}");
    }
}

/// An instance that takes no connection, and refuses none either, takes no more than the time of the whole request.
#[test]
fn a_connection_that_is_not_made_has_the_time_of_its_request() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        held.push(stream);
    }
    let policy = RoutePolicy { request_timeout_s: 1, request_timeout_total: true, ..RoutePolicy::default() };
    let ruled = Ruled::new(HOST, &[address], policy, |_| {});
    let start = Instant::now();
    let (head, _) = ruled.proxy.client().get(HOST, "/");
    assert_eq!((head.status(), head.get("x-apron-cause")), (504, Some("total_timed_out")));
    assert!(start.elapsed() < Duration::from_secs(4));
}

/// Who sends on while the proxy refuses it reads the refusal, and then the end.
#[test]
fn a_refusal_is_read_also_by_who_sends_on() {
    let origin = Origin::named("a");
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    for _ in 0..5 {
        let mut client = proxy.client();
        client
            .send("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\nContent-Length: x\r\n\r\n");
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(5));
            let _ = client.write.write_all(&[b'x'; 10_000]);
        }
        assert_eq!(client.head().unwrap().status(), 400);
    }
}
