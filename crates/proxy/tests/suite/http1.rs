//! The path of the common request, byte for byte: what an instance gets of what a client sent, what a client gets of
//! what an instance answered, and who hears what when one of both does something unusual.

use crate::support::{Control, Directory, Origin, PATIENCE, Running, Wire, eventually, start, table};
use apron_model::routes::{RoutePolicy, RouteState};
use apron_proxy::Config;
use std::io::{BufRead, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

/// One request as it came: head, and body with its framing.
fn raw_request(wire: &mut Wire) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let line = |wire: &mut Wire, bytes: &mut Vec<u8>| {
        let before = bytes.len();
        wire.read.read_until(b'\n', bytes).ok().filter(|count| *count > 0)?;
        Some(String::from_utf8_lossy(&bytes[before..]).into_owned())
    };
    while line(wire, &mut bytes)? != "\r\n" {}
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        let start = bytes.len();
        bytes.resize(start + length.trim().parse::<usize>().unwrap(), 0);
        wire.read.read_exact(&mut bytes[start..]).ok()?;
    } else if head.contains("transfer-encoding: chunked") {
        loop {
            let size = usize::from_str_radix(line(wire, &mut bytes)?.trim(), 16).unwrap();
            if size == 0 {
                while line(wire, &mut bytes)? != "\r\n" {}
                break;
            }
            let start = bytes.len();
            bytes.resize(start + size + 2, 0);
            wire.read.read_exact(&mut bytes[start..]).ok()?;
        }
    }
    Some(bytes)
}

/// Without the lines that the proxy adds to every request.
fn plain(request: &[u8]) -> String {
    let ours = |line: &str| {
        let names = ["x-forwarded-", "x-request-id: ", "x-amzn-trace-id: ", "traceparent: "];
        names.iter().any(|name| line.starts_with(name))
    };
    let text = String::from_utf8_lossy(request).into_owned();
    text.split_inclusive("\r\n").filter(|line| !ours(line)).collect()
}

/// A proxy before an instance that remembers what came, and answers each request with its number.
struct World {
    proxy: Running,
    seen: Arc<Mutex<Vec<String>>>,
    _origin: Origin,
}

impl World {
    fn new() -> World {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let remember = seen.clone();
        let origin = Origin::start(move |mut wire| {
            while let Some(request) = raw_request(&mut wire) {
                let number = {
                    let mut seen = remember.lock().unwrap();
                    seen.push(plain(&request));
                    seen.len()
                };
                match request.starts_with(b"HEAD") {
                    true => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"),
                    false => wire.ok(&number.to_string()),
                }
            }
        });
        World { proxy: Running::fixed(&[(HOST, &[origin.address])]), seen, _origin: origin }
    }

    /// Sends bytes on a connection of their own and reads until the proxy closes it.
    fn send(&self, bytes: &[u8]) -> (String, Vec<String>) {
        self.seen.lock().unwrap().clear();
        let mut client = self.proxy.client();
        let _ = client.write.write_all(bytes);
        let _ = client.write.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.read.read_to_end(&mut answer);
        (String::from_utf8_lossy(&answer).into_owned(), self.seen.lock().unwrap().clone())
    }
}

#[test]
fn an_instance_gets_what_was_sent_and_nothing_else() {
    let world = World::new();
    for (sent, gets) in [
        (
            "GET /a?b=c%20d HTTP/1.1\r\nHost: app.localhost\r\nAccept:  */*  \r\n\r\n",
            vec!["GET /a?b=c%20d HTTP/1.1\r\nHost: app.localhost\r\nAccept:  */*  \r\n\r\n"],
        ),
        (
            "get / HTTP/1.1\r\nhOST: APP.localhost:80\r\nConnection: x-a , close\r\nx-A: 1\r\nX-B: 2\r\n\r\n",
            vec!["get / HTTP/1.1\r\nhOST: APP.localhost:80\r\nX-B: 2\r\n\r\n"],
        ),
        (
            "\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
            vec!["OPTIONS * HTTP/1.1\r\nHost: app.localhost\r\n\r\n"],
        ),
        (
            "OPTIONS http://app.localhost HTTP/1.1\r\nHost: b\r\n\r\n",
            vec!["OPTIONS * HTTP/1.1\r\nhost: app.localhost\r\n\r\n"],
        ),
        (
            "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 3\r\n\r\nabcGET /next HTTP/1.1\r\n\
             Host: app.localhost\r\n\r\n",
            vec![
                "POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 3\r\n\r\nabc",
                "GET /next HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
            ],
        ),
        (
            "POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n\
             3;a=\"b\"\r\nabc\r\n00000\r\nX-Sum: 1\r\nContent-Length: 9\r\nX_Forwarded_For: 1\r\n\r\n\
             HEAD /next HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
            vec![
                "POST / HTTP/1.1\r\nHost: app.localhost\r\ntransfer-encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
                "HEAD /next HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
            ],
        ),
        (
            "PUT / HTTP/1.0\r\nHost: app.localhost\r\nContent-Length: 0\r\n\r\n",
            vec!["PUT / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 0\r\n\r\n"],
        ),
    ] {
        let (answer, seen) = world.send(sent.as_bytes());
        assert_eq!(seen, gets, "{sent:?} was answered {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), gets.len(), "{answer:?}");
    }
}

/// Whatever is read in two ways by two readers ends the connection, and what lies behind it is nobody's request.
#[test]
fn what_hides_a_request_is_refused_whole() {
    let world = World::new();
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let post = |headers: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: app.localhost\r\n{headers}\r\n{body}{HIDDEN}")
    };
    for (sent, status) in [
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n", "abc"), 501),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n"), 400),
        (post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400),
        (post("X: y\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("Content-Length: 3\r\nContent-Length: 0\r\n", "abc"), 400),
        (post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400),
        (post("Content-Length: 3,3\r\n", "abc"), 400),
        (post("Content-Length: +3\r\n", "abc"), 400),
        (post("Content-Length: \r\n", ""), 400),
        (post("Content-Length\r\n", ""), 400),
        (post("Transfer-Encoding: chunked\r\n", "3 \r\nabc\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n", "3\nabc\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n", "3\r\nabc0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n", "0x3\r\nabc\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\n", "0\r\nX: a\nHost: b\r\n\r\n"), 400),
        (
            format!("POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
            400,
        ),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\n\r\n{HIDDEN}"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: b\r\n\r\n{HIDDEN}"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}:x\r\n\r\n{HIDDEN}"), 400),
        (format!("\r\n\r\n\r\n{HIDDEN}"), 400),
        (format!("\n{HIDDEN}"), 400),
        (format!("GET /#a HTTP/1.1\r\nHost: {HOST}\r\n\r\n{HIDDEN}"), 400),
    ] {
        let (answer, seen) = world.send(sent.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{sent:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{sent:?}: {answer:?}");
        assert!(seen.is_empty(), "{sent:?}: {seen:?}");
    }
    assert_eq!(world.proxy.client().get(HOST, "/").0.status(), 200);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let world = World::new();
    let mut client = world.proxy.client();
    let text =
        "POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..2 {
        for byte in text.as_bytes() {
            client.write.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        let head = client.head().unwrap();
        client.body(&head);
        assert_eq!(head.status(), 200);
    }
}

#[test]
fn an_answer_is_framed_for_its_client() {
    let answers = |answer: &'static str, request: &str| {
        let origin = Origin::start(move |mut wire| {
            if wire.head().is_some() {
                wire.send(answer);
            }
        });
        let proxy = Running::fixed(&[(HOST, &[origin.address])]);
        let mut client = proxy.client();
        client.send(request);
        let mut text = String::new();
        client.write.shutdown(Shutdown::Write).unwrap();
        client.read.read_to_string(&mut text).unwrap();
        text
    };
    let new = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let old = "GET / HTTP/1.0\r\nHost: app.localhost\r\n\r\n";
    let kept = "GET / HTTP/1.0\r\nHost: app.localhost\r\nConnection: keep-alive\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let until_close = "HTTP/1.1 200 Fine indeed\r\nX: y\r\n\r\nabc";
    let sized = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    for (request, answer, expect) in [
        (
            new,
            chunked,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        (old, chunked, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"),
        (head, chunked, "HTTP/1.1 200 OK\r\n\r\n"),
        (
            new,
            until_close,
            "HTTP/1.1 200 Fine indeed\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (kept, until_close, "HTTP/1.1 200 Fine indeed\r\nX: y\r\nconnection: close\r\n\r\nabc"),
        (new, sized, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        (kept, sized, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nconnection: keep-alive\r\n\r\nabc"),
        (old, sized, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nconnection: close\r\n\r\nabc"),
        (new, "HTTP/1.1 204 None\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 204 None\r\n\r\n"),
        (
            new,
            "HTTP/1.1 304 Same\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 304 Same\r\nContent-Length: 3\r\n\r\n",
        ),
        (
            new,
            "HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 103 Hints\r\nLink: l\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 103 Hints\r\nLink: l\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            old,
            "HTTP/1.1 103 Hints\r\nLink: l\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection: close\r\n\r\n",
        ),
    ] {
        assert_eq!(answers(answer, request), expect, "{request:?} answered {answer:?}");
    }
}

#[test]
fn what_an_instance_says_behind_its_answer_is_nobody_s_answer() {
    let origin = Origin::answering(|head, wire| match head.target() {
        "/first" => {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n")
        }
        _ => wire.ok("second"),
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    assert_eq!(client.get(HOST, "/first").1, "first");
    let (head, body) = client.get(HOST, "/second");
    assert_eq!((head.get("x-evil"), body.as_str()), (None, "second"));
    assert_eq!(origin.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn an_early_answer_passes_and_ends_the_connection() {
    let origin = Origin::start(|mut wire| {
        if wire.head().is_some() {
            wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
            // Reads nothing more, and closes when the proxy does.
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 1000000000\r\n\r\n");
    let ended = Arc::new(AtomicBool::new(false));
    let (mut write, done) = (client.write.try_clone().unwrap(), ended.clone());
    let upload = std::thread::spawn(move || {
        let part = vec![b'x'; 1 << 16];
        let start = Instant::now();
        while start.elapsed() < PATIENCE && write.write_all(&part).is_ok() {}
        done.store(true, Ordering::SeqCst);
    });
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("connection")), (413, Some("close")));
    assert_eq!(client.body(&head), b"no");
    assert!(client.closed());
    eventually("the upload ends", || ended.load(Ordering::SeqCst));
    upload.join().unwrap();
    eventually("the place is free", || proxy.in_flight() == 0);
}

#[test]
fn an_upload_that_breaks_off_breaks_off_at_the_instance() {
    let outcome = Arc::new(Mutex::new(None));
    let seen = outcome.clone();
    let origin = Origin::start(move |mut wire| {
        let mut rest = Vec::new();
        let _ = wire.read.read_to_end(&mut rest);
        *seen.lock().unwrap() = Some(String::from_utf8(rest).unwrap());
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    for (framing, part) in [("Content-Length: 10", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")] {
        let mut client = proxy.client();
        client.send(&format!("POST / HTTP/1.1\r\nHost: app.localhost\r\n{framing}\r\n\r\n{part}"));
        eventually("the request is under way", || proxy.in_flight() == 1);
        client.write.shutdown(Shutdown::Write).unwrap();
        assert!(client.closed());
        eventually("the instance hears of it", || outcome.lock().unwrap().is_some());
        let text = outcome.lock().unwrap().take().unwrap();
        assert!(text.ends_with(part), "{text:?}");
        eventually("the place is free", || proxy.in_flight() == 0);
    }
}

#[test]
fn a_client_that_ends_its_direction_still_gets_its_answers() {
    let origin = Origin::answering(|head, wire| {
        std::thread::sleep(Duration::from_millis(300));
        wire.ok(head.target());
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    for path in ["/1", "/2"] {
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: app.localhost\r\n\r\n"));
    }
    client.write.shutdown(Shutdown::Write).unwrap();
    for path in ["/1", "/2"] {
        let head = client.head().unwrap();
        assert_eq!(client.body(&head), path.as_bytes());
    }
    assert!(client.closed());
}

#[test]
fn a_body_of_many_pieces_passes_whole_in_both_directions() {
    const PIECES: usize = 3_000;
    let origin = Origin::answering(|head, wire| {
        let body = wire.body(head);
        let mut text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in body.chunks(7_001) {
            text.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            text.extend_from_slice(piece);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\n\r\n");
        wire.write.write_all(&text).unwrap();
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    let piece: Vec<u8> = (0..=255u8).cycle().take(5_003).collect();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (mut write, piece) = (client.write.try_clone().unwrap(), piece.clone());
        let upload = std::thread::spawn(move || {
            for _ in 0..PIECES {
                write.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
                write.write_all(&piece).unwrap();
                write.write_all(b"\r\n").unwrap();
            }
            write.write_all(b"0\r\n\r\n").unwrap();
        });
        let head = client.head().unwrap();
        let body = client.body(&head);
        upload.join().unwrap();
        assert_eq!(body.len(), PIECES * 5_003);
        assert!(body.chunks(5_003).all(|part| part.iter().zip(0..=255u8).all(|(a, b)| *a == b)));
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1, "the connection is used again");
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let origin = Origin::start(|mut wire| {
        let head = wire.head().unwrap();
        wire.send(match head.target() {
            "/length" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
        });
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    for path in ["/length", "/chunk"] {
        let mut client = proxy.client();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: app.localhost\r\n\r\n"));
        let mut text = String::new();
        let _ = client.read.read_to_string(&mut text);
        assert!(text.contains("abc") && !text.ends_with("0\r\n\r\n"), "{text:?}");
    }
    // What is wrong before anything was passed on can still be told.
    let (head, _) = proxy.client().get(HOST, "/nonsense");
    assert_eq!((head.status(), head.get("x-apron-cause")), (502, Some("bad_response")));
    eventually("no place is lost", || proxy.in_flight() == 0);
}

#[test]
fn one_client_s_requests_use_one_connection_and_another_s_the_same() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let origin = Origin::answering(move |head, wire| {
        let _ = wire.body(head);
        count.fetch_add(1, Ordering::SeqCst);
        wire.ok("ok");
    });
    let proxy = Running::with(&[(HOST, &[origin.address])], |_| {});
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get(HOST, "/").1, "ok");
        client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\n\r\nhi");
        let head = client.head().unwrap();
        assert_eq!(client.body(&head), b"ok");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 100);
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

/// A proxy whose one service has this policy.
fn with_policy(origin: &Origin, policy: RoutePolicy) -> (Running, Directory) {
    let directory = Directory::new();
    let control = Control::listen(&directory.file("control.sock"));
    let config = Config::control(directory.file("control.sock"), directory.file("routes.json"), None, 1_000);
    let (proxy, address) = start(config, 1);
    let mut link = control.accept();
    let mut table = table(1, &[(HOST, RouteState::Serving, &[origin.address])]);
    table.services[0].policy = policy;
    link.publish(table);
    (Running { proxy, address }, directory)
}

#[test]
fn a_body_that_is_larger_than_the_service_takes_is_refused() {
    let origin = Origin::answering(|head, wire| {
        let body = wire.body(head);
        wire.ok(&body.len().to_string());
    });
    let policy = RoutePolicy { body_bytes_max: Some(5), ..RoutePolicy::default() };
    let (proxy, _directory) = with_policy(&origin, policy);
    for (framing, body, status) in [
        ("Content-Length: 5", "abcde", 200),
        ("Content-Length: 6", "abcdef", 413),
        ("Transfer-Encoding: chunked", "5\r\nabcde\r\n0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked", "5\r\nabcde\r\n1\r\nf\r\n0\r\n\r\n", 413),
    ] {
        let mut client = proxy.client();
        client.send(&format!("POST / HTTP/1.1\r\nHost: app.localhost\r\n{framing}\r\n\r\n{body}"));
        let head = client.head().unwrap();
        let cause = (status == 413).then_some("body_too_large");
        assert_eq!((head.status(), head.get("x-apron-cause")), (status, cause), "{framing} {body:?}");
    }
}

#[test]
fn an_address_that_the_service_does_not_admit_is_refused() {
    let origin = Origin::named("a");
    let policy = RoutePolicy { deny: vec!["127.0.0.0/8".parse().unwrap()], ..RoutePolicy::default() };
    let (proxy, _directory) = with_policy(&origin, policy);
    let (head, _) = proxy.client().get(HOST, "/");
    assert_eq!((head.status(), head.get("x-apron-cause")), (403, Some("address_refused")));
    assert_eq!(origin.connections.load(Ordering::SeqCst), 0);
}

#[test]
fn a_request_that_may_take_so_long_in_all_is_ended_then() {
    let origin = Origin::answering(|head, wire| {
        if head.target() != "/stream" {
            // Until the proxy gives up on this connection.
            wire.closed();
            return;
        }
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while wire.write.write_all(b"1\r\nx\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let policy = RoutePolicy { request_timeout_s: 1, request_timeout_total: true, ..RoutePolicy::default() };
    let (proxy, _directory) = with_policy(&origin, policy);
    let start = Instant::now();
    let (head, _) = proxy.client().get(HOST, "/");
    assert_eq!((head.status(), head.get("x-apron-cause")), (504, Some("total_timed_out")));
    let mut client = proxy.client();
    client.send("GET /stream HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 200);
    let mut rest = Vec::new();
    let _ = client.read.read_to_end(&mut rest);
    assert!(!rest.is_empty() && !rest.ends_with(b"0\r\n\r\n"));
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < PATIENCE);
}
