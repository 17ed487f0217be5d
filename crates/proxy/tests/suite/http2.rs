//! Applications that speak HTTP/2 or TLS, gRPC above all.

mod bounds;
mod to_http1;

use crate::support::{Directory, Origin, Ruled, Running, eventually};
use apron_model::routes::{AccessLog, AppProtocol, RoutePolicy};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const HOST: &str = "app.localhost";
const PATIENCE: Duration = crate::support::PATIENCE;

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn h2c() -> RoutePolicy {
    RoutePolicy { app_protocol: AppProtocol::H2c, ..RoutePolicy::default() }
}

fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

/// A body whose parts come from a channel; the end of that is its end.
fn streamed(parts: mpsc::Receiver<Frame<Bytes>>) -> Body {
    let stream = futures_util::stream::unfold(parts, |mut parts| async {
        parts.recv().await.map(|frame| (Ok::<_, Infallible>(frame), parts))
    });
    StreamBody::new(stream).boxed_unsync()
}

fn grpc_status(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))])
}

/// An application with the four kinds of calls, by their paths.
async fn call(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.uri().authority().unwrap(), HOST);
    let trailers = async { Some(Ok(grpc_status("0"))) };
    let path = request.uri().path().to_owned();
    let body = match path.as_str() {
        "/unary" => {
            assert_eq!(request.headers()["te"], "trailers");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            whole(body).with_trailers(trailers).boxed_unsync()
        }
        // Answers each message before the next one is there.
        "/both" => {
            let (sender, parts) = mpsc::channel(1);
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    if sender.send(frame).await.is_err() {
                        return;
                    }
                }
            });
            streamed(parts).with_trailers(trailers).boxed_unsync()
        }
        "/three" => {
            let (sender, parts) = mpsc::channel(1);
            tokio::spawn(async move {
                for text in ["a", "b", "c"] {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let _ = sender.send(Frame::data(Bytes::from_static(text.as_bytes()))).await;
                }
            });
            streamed(parts).with_trailers(trailers).boxed_unsync()
        }
        "/refused" => {
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.headers_mut() = grpc_status("7");
            return Ok(response);
        }
        "/silent" => std::future::pending().await,
        _ => whole(path),
    };
    Ok(Response::new(body))
}

/// The application; counts its connections.
async fn application() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(call)));
        }
    });
    (address, connections)
}

async fn client(address: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn grpc(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://{HOST}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// The whole answer: status, text, and what gRPC says in the end.
async fn ask(
    sender: &mut SendRequest<Body>,
    request: Request<Body>,
) -> (StatusCode, String, Option<HeaderValue>) {
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let status = response.status();
    let head = response.headers().get("grpc-status").cloned();
    let body = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
    let trailer = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
    (status, String::from_utf8(body.to_bytes().into()).unwrap(), head.or(trailer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_passes_with_its_trailers() {
    let (address, connections) = application().await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let mut sender = client(world.proxy.address).await;
    let zero = Some(HeaderValue::from_static("0"));
    for _ in 0..3 {
        let answer = ask(&mut sender, grpc("/unary", whole("hello"))).await;
        assert_eq!(answer, (StatusCode::OK, "hello".to_owned(), zero.clone()));
    }
    let answer = ask(&mut sender, grpc("/three", whole("go"))).await;
    assert_eq!(answer, (StatusCode::OK, "abc".to_owned(), zero.clone()));
    // Several messages of the client, in pieces, are one body.
    let (parts, body) = mpsc::channel(1);
    let send = async {
        for text in ["x", "y", "z"] {
            parts.send(Frame::data(Bytes::from_static(text.as_bytes()))).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(parts);
    };
    let (answer, ()) = tokio::join!(ask(&mut sender, grpc("/unary", streamed(body))), send);
    assert_eq!(answer, (StatusCode::OK, "xyz".to_owned(), zero));
    // What the application says in place of a head is passed on as that.
    let answer = ask(&mut sender, grpc("/refused", whole("x"))).await;
    assert_eq!(answer, (StatusCode::OK, String::new(), Some(HeaderValue::from_static("7"))));
    assert_eq!(connections.load(Ordering::SeqCst), 1, "one connection carries them all");
    eventually("no place is lost", || world.proxy.in_flight() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_stream_speak_in_turns() {
    let (address, _) = application().await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let mut sender = client(world.proxy.address).await;
    let (parts, body) = mpsc::channel(1);
    parts.send(Frame::data(Bytes::from_static(b"0"))).await.unwrap();
    let answer = sender.send_request(grpc("/both", streamed(body)));
    let mut answer = timeout(PATIENCE, answer).await.unwrap().unwrap().into_body();
    for number in 0..5 {
        let frame = timeout(PATIENCE, answer.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), number.to_string());
        assert_eq!(world.proxy.in_flight(), 1);
        if number < 4 {
            let next = Bytes::from((number + 1).to_string());
            parts.send(Frame::data(next)).await.unwrap();
        }
    }
    drop(parts);
    let end = timeout(PATIENCE, answer.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(end.into_trailers().unwrap()["grpc-status"], "0");
    eventually("the place is free", || world.proxy.in_flight() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_grpc_has_only_an_idle_limit() {
    let (address, _) = application().await;
    let policy = RoutePolicy {
        request_timeout_s: 1,
        request_timeout_total: true,
        idle_timeout_s: 2,
        access_log: AccessLog::Sampled,
        ..h2c()
    };
    let directory = Directory::new();
    let log = directory.file("access.log");
    let world = Ruled::new(HOST, &[address], policy, |config| config.access_log = Some(log.clone()));
    let mut sender = client(world.proxy.address).await;
    let (parts, body) = mpsc::channel(1);
    parts.send(Frame::data(Bytes::from_static(b"x"))).await.unwrap();
    let answer = sender.send_request(grpc("/both", streamed(body)));
    let mut answer = timeout(PATIENCE, answer).await.unwrap().unwrap().into_body();
    // Longer than the time-out in all, and each pause longer than it.
    for _ in 0..2 {
        assert!(answer.frame().await.unwrap().unwrap().is_data());
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        parts.send(Frame::data(Bytes::from_static(b"x"))).await.unwrap();
    }
    assert!(answer.frame().await.unwrap().unwrap().is_data());
    let since = Instant::now();
    assert!(timeout(PATIENCE, answer.frame()).await.unwrap().unwrap().is_err());
    assert!(since.elapsed() > Duration::from_millis(1_500), "{:?}", since.elapsed());
    // Both directions wait for one another: it is neither's time-out.
    eventually("it is said", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains(r#""cause":"stream_idle""#))
    });
    // Any other request to the same application has the time-out, here in the form of gRPC's own.
    let mut plain = grpc("/silent", whole("x"));
    plain.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    let since = Instant::now();
    assert_eq!(ask(&mut sender, plain).await.0, StatusCode::GATEWAY_TIMEOUT);
    assert!(since.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_1_client_reaches_an_application_of_http_2() {
    let (address, _) = application().await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let mut wire = world.proxy.client();
    assert_eq!(wire.get(HOST, "/some?x=y").1, "/some");
    wire.send(&format!(
        "POST /unary HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nContent-Length: 2\r\n\r\nhi"
    ));
    let head = wire.head().unwrap();
    assert_eq!((head.status(), wire.body(&head)), (200, b"hi".to_vec()));
    wire.send(&format!(
        "POST /unary HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    ));
    let head = wire.head().unwrap();
    assert_eq!((head.status(), wire.body(&head)), (200, b"hi".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_share_few_connections() {
    let (address, connections) = application().await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let sender = client(world.proxy.address).await;
    let calls = (0..100).map(|number| {
        let mut sender = sender.clone();
        async move { ask(&mut sender, grpc("/unary", whole(number.to_string()))).await.1 }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().enumerate().all(|(number, text)| *text == number.to_string()), "{answers:?}");
    assert!(connections.load(Ordering::SeqCst) <= 2, "{connections:?}");
}

/// What an application by hand does with a stream.
#[derive(Clone, Copy)]
enum Does {
    Serves,
    Refuses,
    /// Serves it and says that it takes no more on this connection.
    ServesLast,
}

/// It does with the n-th stream of all what the function says, and counts them.
async fn by_hand(does: fn(usize) -> Does) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, streams) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = streams.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let does = does(count.fetch_add(1, Ordering::SeqCst));
                    match does {
                        Does::Serves => {}
                        Does::ServesLast => connection.graceful_shutdown(),
                        Does::Refuses => {
                            // Late enough for the body to be under way.
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            respond.send_reset(h2::Reason::REFUSED_STREAM);
                            continue;
                        }
                    }
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let mut text = Vec::new();
                        while let Some(Ok(bytes)) = body.data().await {
                            let _ = body.flow_control().release_capacity(bytes.len());
                            text.extend_from_slice(&bytes);
                        }
                        let mut sender = respond.send_response(Response::new(()), false).unwrap();
                        sender.send_data(text.into(), true).unwrap();
                    });
                }
            });
        }
    });
    (address, streams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_stream_is_sent_again_with_its_body() {
    for body in ["", "small", &"large".repeat(5_000)] {
        let (address, streams) =
            by_hand(|number| if number == 0 { Does::Refuses } else { Does::Serves }).await;
        let world = Ruled::new(HOST, &[address], h2c(), |_| {});
        let mut sender = client(world.proxy.address).await;
        let answer = ask(&mut sender, grpc("/", whole(body.to_owned()))).await;
        assert_eq!((answer.0, answer.1.as_str()), (StatusCode::OK, body));
        assert_eq!(streams.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_refused_twice_and_then_it_is_said() {
    let (address, streams) = by_hand(|_| Does::Refuses).await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let mut sender = client(world.proxy.address).await;
    let response = timeout(PATIENCE, sender.send_request(grpc("/", whole("x")))).await.unwrap().unwrap();
    assert_eq!(response.headers()["x-apron-cause"], "closed_before_response");
    assert_eq!(streams.load(Ordering::SeqCst), 2);
}

/// Each connection takes one request and then sends GOAWAY, which meets the next request at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_leaves_loses_nothing() {
    let (address, _) = by_hand(|_| Does::ServesLast).await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let mut sender = client(world.proxy.address).await;
    for number in 0..100_usize {
        let answer = ask(&mut sender, grpc("/", whole(number.to_string()))).await;
        assert_eq!((answer.0, answer.1), (StatusCode::OK, number.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_to_keep_is_not_sent_again() {
    let (address, streams) = by_hand(|_| Does::Refuses).await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let mut sender = client(world.proxy.address).await;
    let body = whole(vec![b'x'; 200_000]);
    let response = timeout(PATIENCE, sender.send_request(grpc("/", body))).await.unwrap().unwrap();
    assert_eq!(response.headers()["x-apron-cause"], "closed_before_response");
    assert_eq!(streams.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_without_http_2_is_said_to_answer_badly() {
    let origin = Origin::start(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let world = Ruled::new(HOST, &[origin.address], h2c(), |_| {});
    let (head, _) = world.proxy.client().get(HOST, "/");
    let cause = head.get("x-apron-cause").unwrap_or_default().to_owned();
    assert_eq!(head.status(), 502);
    assert!(["bad_response", "closed_before_response"].contains(&cause.as_str()), "{cause}");
    let mut sender = client(world.proxy.address).await;
    let answer = ask(&mut sender, grpc("/", whole("x"))).await;
    assert_eq!((answer.0, answer.2), (StatusCode::OK, Some(HeaderValue::from_static("14"))));
}

/// Its certificate is signed by itself, as those that images bring along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_may_want_tls() {
    let made = rcgen::generate_simple_self_signed(["app".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let stream = acceptor.accept(stream).await.unwrap();
            let answer = service_fn(|request: Request<Incoming>| async move {
                assert_eq!(request.version(), Version::HTTP_11);
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(connection);
        }
    });
    let policy = RoutePolicy { app_protocol: AppProtocol::Https, ..RoutePolicy::default() };
    let world = Ruled::new(HOST, &[address], policy, |_| {});
    let mut wire = world.proxy.client();
    for _ in 0..3 {
        wire.send(&format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 6\r\n\r\nsecret"));
        let head = wire.head().unwrap();
        assert_eq!((head.status(), wire.body(&head)), (200, b"secret".to_vec()));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "the connection is used again");
}

/// The application may be closing it at this moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_idle_takes_no_request_that_cannot_be_sent_again() {
    let (address, connections) = application().await;
    let world = Ruled::new(HOST, &[address], h2c(), |_| {});
    let mut sender = client(world.proxy.address).await;
    let idle = Duration::from_millis(1_200);
    assert_eq!(ask(&mut sender, grpc("/unary", whole("x"))).await.1, "x");
    tokio::time::sleep(idle).await;
    let get = Request::get(format!("http://{HOST}/again")).body(whole("")).unwrap();
    assert_eq!(ask(&mut sender, get).await.1, "/again");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    tokio::time::sleep(idle).await;
    assert_eq!(ask(&mut sender, grpc("/unary", whole("y"))).await.1, "y");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert_eq!(ask(&mut sender, grpc("/unary", whole("z"))).await.1, "z");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// Told by GOAWAY, a client ends what it has and begins nothing; what is under way comes whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_streams_finish() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::answering(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        wait.lock().unwrap().recv().unwrap();
        wire.send("6\r\nsecond\r\n0\r\n\r\n");
    });
    let mut proxy = Running::with(&[(HOST, &[origin.address])], |config| config.drain_ms = 8_000);
    let mut sender = client(proxy.address).await;
    let request = Request::get(format!("http://{HOST}/")).body(whole("")).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let stopping = proxy.proxy.take().unwrap();
    let stopped = tokio::task::spawn_blocking(move || stopping.stop());
    // GOAWAY comes when the time to be polite is over.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let late = Request::get(format!("http://{HOST}/")).body(whole("")).unwrap();
    assert!(timeout(PATIENCE, sender.send_request(late)).await.unwrap().is_err());
    go.send(()).unwrap();
    let body = timeout(PATIENCE, answer.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(body.to_bytes(), "firstsecond");
    timeout(PATIENCE, stopped).await.unwrap().unwrap();
}
