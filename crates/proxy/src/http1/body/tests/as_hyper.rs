//! Requests as hyper reads them: what an instance gets of us, and what the client sent. Where one of both refuses what
//! the other reads, the reason stands here.

mod stricter;

use super::through;
use crate::http1::body::Framing;
use crate::http1::buffer::BUFFER_BYTES;
use crate::http1::head::{self, Peer};
use crate::http1::parse::{self, EMPTY_LINES_MAX, Target};
use crate::request_id::RequestIds;
use crate::route::Host;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Method, path, and body of a request.
type Meaning = (String, String, Vec<u8>);

/// What hyper makes of bytes.
struct ByHyper {
    read: Vec<Meaning>,
    /// Behind those came what is no request, or it is a part of one.
    refused: bool,
}

async fn by_hyper(bytes: &[u8]) -> ByHyper {
    let (mut near, far) = tokio::io::duplex(1 << 20);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let (read, refused) = (RefCell::new(Vec::new()), RefCell::new(false));
    let is_refusal = |error: &hyper::Error| !error.is_incomplete_message();
    let service = service_fn(|request: http::Request<Incoming>| {
        let (read, refused) = (&read, &refused);
        async move {
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let body = request.into_body().collect().await;
            let body = body.inspect_err(|error| *refused.borrow_mut() |= is_refusal(error))?;
            read.borrow_mut().push((method, path, body.to_bytes().to_vec()));
            Ok::<_, hyper::Error>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let ended = builder.half_close(true).serve_connection(TokioIo::new(far), service).await;
    let refused = refused.into_inner() || ended.is_err_and(|error| !error.is_user() && is_refusal(&error));
    ByHyper { read: read.into_inner(), refused }
}

/// What we make of the first request.
enum ByUs {
    /// What it means, and what an instance gets of it.
    Whole(Meaning, Vec<u8>),
    Unfinished,
    RefusedHead,
    /// Of this body.
    RefusedBody(Vec<u8>),
}

fn by_us(mut bytes: &[u8]) -> ByUs {
    for _ in 0..EMPTY_LINES_MAX {
        bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    }
    let mut room = parse::room();
    let request = match parse::request(bytes, &mut room) {
        Ok(Some(request)) if request.head.len() <= BUFFER_BYTES => request,
        Ok(None) if bytes.len() < BUFFER_BYTES => return ByUs::Unfinished,
        Ok(_) | Err(_) => return ByUs::RefusedHead,
    };
    let Some(host) = request.host.filter(|host| Host::parse(host).is_ok()) else { return ByUs::RefusedHead };
    let ids = RequestIds::new(Duration::ZERO).unwrap();
    let peer = Peer { address: b"9.9.9.9", scheme: b"http", port: b"80", trusted: false, ids: &ids };
    let mut out = Vec::new();
    head::write_request(&request, host, &peer, &peer.lines(), &mut out);
    let rest = &bytes[request.head.len()..];
    let (plain, chunks) = (false, request.framing == Framing::Chunked);
    let (Ok((body, ended)), Ok((written, _))) = (
        through(rest, usize::MAX, request.framing, plain),
        through(rest, usize::MAX, request.framing, chunks),
    ) else {
        return ByUs::RefusedBody(rest.to_vec());
    };
    out.extend_from_slice(&written);
    // RFC 9112 §3.2.4: asked of the server as a whole, through a proxy.
    let asterisk = request.method == "OPTIONS" && matches!(request.target, Target::Absolute { rest: "", .. });
    let path = if asterisk { "*" } else { request.path() };
    match ended {
        true => ByUs::Whole((request.method.to_owned(), path.to_owned(), body), out),
        false => ByUs::Unfinished,
    }
}

/// What an instance gets is one request to another reader too, and the one that we read; and that reader finds none
/// other in what the client sent, nor any where we find none.
async fn agree(bytes: &[u8]) {
    let sent = by_hyper(bytes).await;
    match (by_us(bytes), sent.read.first()) {
        (ByUs::Whole(meaning, out), sent) => {
            let given = by_hyper(&out).await;
            let reason = wider(&out);
            match reason {
                Some(_) => {
                    assert!(given.read.is_empty() && given.refused, "{meaning:?} became {:?}", given.read)
                }
                None => assert!(
                    given.read == [meaning.clone()] && !given.refused,
                    "{meaning:?}: {:?}",
                    given.read
                ),
            }
            match sent {
                // Where it is asked so, hyper does not tell the asterisk from a path.
                Some((method, path, body)) if meaning.1 == "*" && path == "/" => {
                    assert_eq!((method, body), (&meaning.0, &meaning.2));
                }
                Some(sent) => assert_eq!(*sent, meaning),
                None => assert!(reason.is_some(), "{meaning:?} is refused by hyper"),
            }
        }
        (ByUs::RefusedHead, Some(read)) => {
            assert!(stricter::head(bytes).is_some(), "the head of {read:?} is refused");
        }
        (ByUs::RefusedBody(body), Some(read)) => {
            assert!(stricter::body(&body).is_some(), "the body of {read:?} is refused: {body:?}");
        }
        (ByUs::Unfinished, Some(read)) => panic!("{read:?} has not ended"),
        (ByUs::Unfinished | ByUs::RefusedHead | ByUs::RefusedBody(_), None) => {}
    }
}

/// Why hyper refuses what an instance gets.
fn wider(out: &[u8]) -> Option<&'static str> {
    let target = out.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_at(target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()));
    let head = out.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(out.len());
    // One stands before each header.
    let headers = out[..head].windows(2).filter(|pair| pair == b"\r\n").count();
    let reasons = [
        (path.iter().any(|byte| b"<>`".contains(byte)), "its paths have no such characters"),
        (query.iter().any(|byte| b"<>\"".contains(byte)), "nor have its queries these"),
        (headers > parse::HEADERS_MAX, "we add lines to as many as it takes"),
    ];
    reasons.into_iter().find(|(is, _)| *is).map(|(_, reason)| reason)
}

const REQUESTS: [&str; 9] = [
    "GET /a?b HTTP/1.1\r\nHost: a.localhost\r\nAccept: text/html\r\nCookie: a=1\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close, x-a\r\nX-A: 1\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://b:80/x?y HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n",
    "DELETE / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\n\r\n",
    "\r\nGET /\"{}|^ HTTP/1.1\r\nHost: a\r\n\r\n",
];

#[tokio::test]
async fn requests_mean_the_same_to_hyper() {
    for text in REQUESTS {
        let ByUs::Whole(meaning, out) = by_us(text.as_bytes()) else { panic!("{text:?}") };
        assert_eq!(by_hyper(&out).await.read, [meaning], "{text:?}");
        agree(text.as_bytes()).await;
    }
}

#[test]
#[ignore = "long: the long list runs it"]
fn requests_changed_by_dice_mean_the_same_to_hyper() {
    let words = [
        "\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\t",
        ":",
        ",",
        ";",
        "+",
        "0",
        "#",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "chunked",
        "HTTP/1.0",
        "\r\n\r\n",
        "0\r\n\r\n",
        "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    crate::mutate::fuzz(&REQUESTS.map(str::as_bytes), &words, |bytes| runtime.block_on(agree(bytes)));
}
