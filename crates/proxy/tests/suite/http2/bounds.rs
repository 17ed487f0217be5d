//! HTTP/2 clients that do more than they may, or less than they must.

use super::*;
use std::io::Write;

/// A client that opens streams and resets them at once (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_its_requests_back_is_cut() {
    let origin = Origin::answering(|head, wire| match head.target() {
        "/slow" => {
            wire.closed();
        }
        _ => wire.ok("served"),
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let attack = async {
        let mut sender = sender;
        for _ in 0..10_000 {
            sender = match sender.ready().await {
                Ok(sender) => sender,
                Err(_) => return true,
            };
            let request = Request::get(format!("http://{HOST}/slow")).body(()).unwrap();
            match sender.send_request(request, true) {
                Ok((answer, _)) => drop(answer),
                Err(_) => return true,
            }
            tokio::task::yield_now().await;
        }
        false
    };
    assert!(timeout(PATIENCE, attack).await.unwrap(), "10,000 requests were taken back");
    assert!(timeout(PATIENCE, ended).await.is_ok(), "the connection is closed");
    assert_eq!(proxy.client().get(HOST, "/").1, "served");
    eventually("no place is lost", || proxy.in_flight() == 0);
}

/// The same where each request is at work at the instance by then: what that costs the instance is bounded too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_back_what_instances_work_at_is_cut() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let origin = Origin::answering(move |head, wire| {
        if head.target() != "/slow" {
            return wire.ok("served");
        }
        count.fetch_add(1, Ordering::SeqCst);
        wire.closed();
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let attack = async {
        let mut sender = sender;
        for number in 1.. {
            sender = match sender.ready().await {
                Ok(sender) => sender,
                Err(_) => return,
            };
            let request = Request::get(format!("http://{HOST}/slow")).body(()).unwrap();
            let Ok((answer, _)) = sender.send_request(request, true) else { return };
            while asked.load(Ordering::SeqCst) < number && !ended.is_finished() {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            drop(answer);
        }
    };
    timeout(PATIENCE, attack).await.expect("it is cut");
    let error = timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.is_go_away(), error.reason()), (true, Some(h2::Reason::ENHANCE_YOUR_CALM)), "{error}");
    // 200 a second, and a connection to the instance for each.
    assert!((150..1_000).contains(&asked.load(Ordering::SeqCst)), "{asked:?}");
    assert_eq!(proxy.client().get(HOST, "/").1, "served");
    eventually("no place is lost", || proxy.in_flight() == 0);
}

/// Frames to which the protocol wants an answer, from a client that reads none; and a head that never ends. The proxy stops
/// reading, or ends the connection; it does not collect.
#[test]
fn floods_of_frames_are_held_up() {
    const TAKEN_MAX: usize = 64 * 1024 * 1024;
    let origin = Origin::named("served");
    // One loop: the flood has it to itself if it can.
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let (settings, ping) = (frame(4, 0, 0, &[]), frame(6, 0, 0, b"a mark.."));
    // A literal that is not indexed, of an HEADERS frame that says neither its own end nor the request's.
    let (head, more) = (frame(1, 0, 1, b"\x00\x01a\x01b"), frame(9, 0, 1, b"\x00\x01a\x01b"));
    let empty = frame(9, 0, 1, b"");
    let data = frame(0, 0, 0, b"");
    for (what, before, flood) in [
        ("SETTINGS", &[][..], &settings),
        ("PING", &[][..], &ping),
        ("CONTINUATION", &head, &more),
        ("CONTINUATION of nothing", &head, &empty),
        ("DATA of no stream", &[][..], &data),
    ] {
        let mut flooder = std::net::TcpStream::connect(world.proxy.address).unwrap();
        flooder.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        flooder.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], before].concat()).unwrap();
        let part = flood.repeat(64 * 1024 / flood.len());
        let mut taken = 0;
        while let Ok(count) = flooder.write(&part) {
            taken += count;
            assert!(taken < TAKEN_MAX, "{what}: {taken} bytes were taken");
        }
        assert_eq!(world.proxy.client().get(HOST, "/").1, "served", "{what}");
    }
}

/// With a window of nothing, a client takes no byte of its answers; others on the same loop do not mind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_holds_up_nobody() {
    const LENGTH: usize = 4 * 1024 * 1024;
    let origin = Origin::answering(|_, wire| {
        wire.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        let _ = std::io::Write::write_all(&mut wire.write, &vec![b'x'; LENGTH]);
    });
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
    let stream = TcpStream::connect(world.proxy.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..20 {
        let request = Request::get(format!("http://{HOST}/")).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        held.push(timeout(PATIENCE, answer).await.unwrap().unwrap());
    }
    let mut other = client(world.proxy.address).await;
    let request = Request::get(format!("http://{HOST}/")).body(whole("")).unwrap();
    assert_eq!(ask(&mut other, request).await.1.len(), LENGTH);
    drop((held, sender));
    eventually("no place is lost", || world.proxy.in_flight() == 0);
}

/// Its time in all does not wait for the client, not even for one that asks for no byte from the beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_keeps_no_place_for_longer_than_a_request_may_take() {
    let origin = Origin::answering(|_, wire| wire.ok("some"));
    for window in [0, 2] {
        let policy =
            RoutePolicy { request_timeout_s: 1, request_timeout_total: true, ..RoutePolicy::default() };
        let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
        let stream = TcpStream::connect(world.proxy.address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
        tokio::spawn(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = Request::get(format!("http://{HOST}/")).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let _held = timeout(PATIENCE, answer).await.unwrap().unwrap();
        eventually("the place is free", || world.proxy.in_flight() == 0);
    }
}

/// A byte now and then is a sign of life, and not of a client that wants its request answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_a_byte_now_and_then_keeps_no_place() {
    let origin = Origin::answering(|_, wire| while !wire.closed() {});
    let policy = RoutePolicy { request_timeout_s: 1, ..RoutePolicy::default() };
    let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
    let mut sender = client(world.proxy.address).await;
    let (parts, body) = mpsc::channel(1);
    tokio::spawn(async move {
        while parts.send(Frame::data(Bytes::from_static(b"x"))).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let request = Request::post(format!("http://{HOST}/")).body(streamed(body)).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-apron-cause"]),
        (408, &"body_timed_out".parse().unwrap())
    );
    eventually("the place is free", || world.proxy.in_flight() == 0);
}

/// What our own path refuses is not let in by another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_http_1_could_not_say_is_refused() {
    let origin = Origin::named("a");
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let address = proxy.address;
    let ask = |request: Request<()>| async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let (answer, mut body) = sender.ready().await.unwrap().send_request(request, false).unwrap();
        // What is refused may have its answer by now, and its stream its end.
        let sent = body.send_data(Bytes::from_static(b"abc"), true);
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert!(sent.is_ok() || answer.status() != 200);
        let cause = answer.headers().get("x-apron-cause").map(|cause| cause.to_str().unwrap().to_owned());
        (answer.status().as_u16(), cause.unwrap_or_default())
    };
    let post = |path: &str| Request::post(format!("http://{HOST}{path}"));
    let once = post("/").header("content-length", "3");
    assert_eq!(ask(once.body(()).unwrap()).await, (200, String::new()));
    let twice = post("/").header("content-length", "3").header("content-length", "3");
    assert_eq!(ask(twice.body(()).unwrap()).await, (400, "bad_request".to_owned()));
    assert_eq!(ask(post("/\u{e4}").body(()).unwrap()).await, (400, "bad_request".to_owned()));
    let long = post(&format!("/{}", "a".repeat(20_000)));
    assert_eq!(ask(long.body(()).unwrap()).await, (414, "uri_too_long".to_owned()));
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_http_2_is_bounded() {
    let origin = Origin::named("a");
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut sender = client(proxy.address).await;
    // Cookies come apart and become one line.
    for (name, count, status) in [("x", 100, 200), ("x", 101, 431), ("cookie", 300, 200)] {
        let mut request = Request::get(format!("http://{HOST}/"));
        for _ in 0..count {
            request = request.header(name, "y");
        }
        assert_eq!(ask(&mut sender, request.body(whole("")).unwrap()).await.0, status, "{count} {name}");
    }
    let request =
        Request::get(format!("http://{HOST}/")).header("x", "y".repeat(70_000)).body(whole("")).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap();
    assert!(answer.is_err() || answer.unwrap().status().as_u16() == 431);
    assert_eq!(proxy.client().get(HOST, "/").1, "a");
}
