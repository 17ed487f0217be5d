//! WebSockets over HTTP/2 (RFC 8441), and how all of them end with their proxy.

use crate::support::{Origin, PATIENCE, Ruled, Running, Wire, eventually};
use apron_model::routes::{AppProtocol, RoutePolicy};
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const HOST: &str = "app.localhost";
/// A server's close frame with code 1001.
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

/// An application that speaks WebSocket by the book until the handshake is made, and then says everything back.
fn echo() -> Origin {
    Origin::answering(|head, wire| {
        assert_eq!((head.get("upgrade"), head.get("connection")), (Some("websocket"), Some("upgrade")));
        assert_eq!((head.first.as_str(), head.get("host")), ("GET /chat?x HTTP/1.1", Some(HOST)));
        assert_eq!(head.get("sec-websocket-version"), Some("13"));
        let key = head.get("sec-websocket-key").unwrap();
        wire.send(&format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accept(key)
        ));
        let mut byte = [0];
        while matches!(std::io::Read::read(&mut wire.read, &mut byte), Ok(1)) {
            if std::io::Write::write_all(&mut wire.write, &byte).is_err() {
                return;
            }
        }
    })
}

async fn client(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // With its answer the client has heard that the server knows RFC 8441.
    let first = Request::get("http://nobody.localhost/").body(Empty::new()).unwrap();
    assert_eq!(timeout(PATIENCE, sender.send_request(first)).await.unwrap().unwrap().status(), 404);
    sender
}

async fn connect(sender: &mut SendRequest<Empty<Bytes>>, protocol: &'static str) -> Response<Incoming> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{HOST}/chat?x"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(Empty::new())
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_becomes_a_websocket() {
    let origin = echo();
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut sender = client(proxy.address).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let response = connect(&mut sender, "websocket").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        for name in ["sec-websocket-accept", "upgrade", "connection"] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        let upgraded = timeout(PATIENCE, hyper::upgrade::on(response)).await.unwrap().unwrap();
        open.push(TokioIo::new(upgraded));
    }
    for (number, stream) in open.iter_mut().enumerate() {
        let said = format!("hello {number}");
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = vec![0; said.len()];
        timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(heard, said.as_bytes());
    }
    assert_eq!(proxy.in_flight(), 3);
    drop(open);
    eventually("the places are free", || proxy.in_flight() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_websocket_is_refused() {
    let origin = echo();
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut sender = client(proxy.address).await;
    let response = connect(&mut sender, "webtransport").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-apron-cause"]),
        (501, &"not_supported".parse().unwrap())
    );
    let plain =
        Request::builder().method(Method::CONNECT).uri("app.localhost:80").body(Empty::new()).unwrap();
    let response = timeout(PATIENCE, sender.send_request(plain)).await.unwrap().unwrap();
    assert_eq!(response.status(), 400);
    // To an application of HTTP/2 there is no way yet.
    let policy = RoutePolicy { app_protocol: AppProtocol::H2c, ..RoutePolicy::default() };
    let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
    let mut sender = client(world.proxy.address).await;
    assert_eq!(connect(&mut sender, "websocket").await.status(), 501);
    assert_eq!(origin.connections.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_agrees_to_a_websocket_or_it_is_none() {
    for (answer, status) in [
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", 302),
    ] {
        let origin = Origin::answering(move |_, wire| wire.send(answer));
        let proxy = Running::fixed(&[(HOST, &[origin.address])]);
        let mut sender = client(proxy.address).await;
        assert_eq!(connect(&mut sender, "websocket").await.status(), status, "{answer}");
        eventually("the place is free", || proxy.in_flight() == 0);
    }
}

/// To the instance it is a GET, which would take what comes next on its connection for a body of this length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_has_no_body() {
    let origin = echo();
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = async |sender: &mut h2::client::SendRequest<Bytes>, request: Request<()>| {
        *sender = sender.clone().ready().await.unwrap();
        let (answer, stream) = sender.send_request(request, false).unwrap();
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        drop(stream);
        answer
    };
    // With its answer the client has heard that the server knows RFC 8441.
    let first = Request::get("http://nobody.localhost/").body(()).unwrap();
    assert_eq!(ask(&mut sender, first).await.status(), 404);
    let connect = Request::builder().method(Method::CONNECT).uri(format!("http://{HOST}/chat?x"));
    let mut request = connect.header("content-length", "5").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let answer = ask(&mut sender, request).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-apron-cause"]),
        (400, &"bad_request".parse().unwrap())
    );
    assert_eq!(origin.connections.load(Ordering::SeqCst), 0);
}

/// What a connection may turn into is not known before its answer: it carries no other request, whatever that is.
#[test]
fn a_connection_that_might_have_become_a_websocket_is_used_once() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    // With affinity both go by the same way.
    let policy = RoutePolicy { affinity: true, ..RoutePolicy::default() };
    let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
    for connections in [1, 2] {
        let mut client = world.proxy.client();
        client.send(&format!(
            "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ));
        assert_eq!(client.head().unwrap().status(), 404);
        assert_eq!(world.proxy.client().get(HOST, "/").0.status(), 404);
        // The one for what cannot become anything else is kept.
        assert_eq!(origin.connections.load(Ordering::SeqCst), connections + 1);
    }
}

/// The client is told between two frames if it was not, and then has a few seconds.
#[test]
fn an_instance_that_ends_a_websocket_gets_its_place_back() {
    for (says, hears) in [
        (&[0x81, 2, b'h', b'i'][..], &GOING_AWAY[..]),
        (&[0x81, 2, b'h', b'i', 0x88, 0], &[]),
        (&[0x81, 5, b'h', b'i'], &[]),
    ] {
        let origin = Origin::start(move |mut wire| {
            wire.head();
            wire.send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            );
            std::io::Write::write_all(&mut wire.write, says).unwrap();
        });
        let proxy = Running::fixed(&[(HOST, &[origin.address])]);
        let mut client = proxy.client();
        client.send(
            "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        assert_eq!(client.head().unwrap().status(), 101);
        assert_eq!(client.bytes(says.len() + hears.len()), [says, hears].concat());
        assert!(client.closed(), "nothing more after {says:?}");
        // It says nothing and does not close.
        eventually("the place is free", || proxy.in_flight() == 0);
    }
}

/// A client over HTTP/1 in a tunnel; what the instance says in it comes through `says`.
fn tunnel(says: &'static [u8]) -> (Running, Wire, Origin) {
    let origin = Origin::answering(move |_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        std::io::Write::write_all(&mut wire.write, says).unwrap();
        wire.closed();
    });
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    assert_eq!(client.bytes(says.len()), says);
    (proxy, client, origin)
}

#[test]
fn the_end_of_the_proxy_is_said_between_two_frames() {
    let (mut proxy, mut client, _origin) = tunnel(&[0x81, 2, b'h', b'i']);
    let proxy = proxy.proxy.take().unwrap();
    let stopped = std::thread::spawn(move || proxy.stop());
    assert_eq!(client.bytes(4), GOING_AWAY);
    assert!(client.closed());
    stopped.join().unwrap();
}

/// To the application it is the proxy that speaks as a client.
#[test]
fn an_application_is_told_as_well() {
    let (heard, hear) = std::sync::mpsc::channel();
    let origin = Origin::answering(move |_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        heard.send(wire.bytes(8)).unwrap();
    });
    let mut proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 101);
    proxy.proxy.take().unwrap().stop();
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);
    assert_eq!(client.bytes(4), GOING_AWAY);
}

#[test]
fn the_end_of_the_proxy_is_not_said_inside_a_frame() {
    let (mut proxy, mut client, _origin) = tunnel(&[0x81, 5, b'h', b'i']);
    let proxy = proxy.proxy.take().unwrap();
    let stopped = std::thread::spawn(move || proxy.stop());
    assert!(client.closed(), "not a byte more");
    stopped.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_in_which_nobody_speaks_is_closed() {
    let origin = echo();
    let policy = RoutePolicy {
        idle_timeout_s: 1,
        request_timeout_s: 1,
        request_timeout_total: true,
        ..RoutePolicy::default()
    };
    let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
    let mut sender = client(world.proxy.address).await;
    let response = connect(&mut sender, "websocket").await;
    let upgraded = timeout(PATIENCE, hyper::upgrade::on(response)).await.unwrap().unwrap();
    let mut stream = TokioIo::new(upgraded);
    // A ping without a mask is none, but whole frames are what is looked for.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        stream.write_all(&[0x89, 0]).await.unwrap();
        let mut heard = [0; 2];
        timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    }
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, GOING_AWAY);
    eventually("the place is free", || world.proxy.in_flight() == 0);
}
