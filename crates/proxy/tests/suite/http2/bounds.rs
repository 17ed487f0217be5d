//! HTTP/2 clients that do more than they may, or less than they must.

use super::*;

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
        body.send_data(Bytes::from_static(b"abc"), true).unwrap();
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
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
    let request =
        Request::get(format!("http://{HOST}/")).header("x", "y".repeat(70_000)).body(whole("")).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap();
    assert!(answer.is_err() || answer.unwrap().status().as_u16() == 431);
    assert_eq!(proxy.client().get(HOST, "/").1, "a");
}
