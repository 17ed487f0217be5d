//! Clients of HTTP/2 before applications of HTTP/1: requests without a body, which take HTTP/1's own connections.

use super::*;
use crate::support::{Wire, nobody};
use http::{Method, response};

const LARGE: usize = 300_000;

/// Answers in each way that HTTP/1 has.
fn answer(target: &str, wire: &mut Wire) {
    match target {
        "/chunked" => {
            wire.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Own\r\nX-Own: 1\r\n\r\n",
            );
            wire.send("3\r\nabc\r\n2;x=y\r\nde\r");
            std::thread::sleep(Duration::from_millis(20));
            wire.send("\n0\r\nX-Sum: 5\r\nContent-Type: text/evil\r\n\r\n");
        }
        "/hinted" => wire.send(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        ),
        "/none" => wire.send("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        "/same" => wire.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"e\"\r\n\r\n"),
        "/large" => wire.ok(&"x".repeat(LARGE)),
        "/head" => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        "/parts" => {
            for part in [
                "HTTP/1.1 200 O",
                "K\r\nSet-Cookie: a\r\nSet-Coo",
                "kie: b\r\nContent-Length: 4\r",
                "\n\r\nwh",
            ] {
                wire.send(part);
                std::thread::sleep(Duration::from_millis(5));
            }
            wire.send("ol");
        }
        "/close" => {
            wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
            let _ = wire.write.shutdown(std::net::Shutdown::Both);
        }
        _ => wire.ok(target),
    }
}

async fn get(
    sender: &mut SendRequest<Body>,
    method: Method,
    path: &str,
) -> (response::Parts, String, Option<HeaderMap>) {
    let request = Request::builder().method(method).uri(format!("http://{HOST}{path}"));
    let request = request.body(Empty::new().boxed_unsync()).unwrap();
    let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    let (parts, body) = response.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    let trailers = body.trailers().cloned();
    (parts, String::from_utf8(body.to_bytes().into()).unwrap(), trailers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_answer_comes_whole() {
    let origin = Origin::answering(|head, wire| answer(head.target(), wire));
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
    let mut sender = client(world.proxy.address).await;
    for (method, path, status, expect) in [
        (Method::GET, "/chunked", 200, "abcde"),
        (Method::GET, "/hinted", 200, "hi"),
        (Method::GET, "/none", 204, ""),
        (Method::GET, "/same", 304, ""),
        (Method::HEAD, "/head", 200, ""),
        (Method::GET, "/parts", 200, "whol"),
        (Method::DELETE, "/usual?q=1", 200, "/usual?q=1"),
        (Method::GET, "/large", 200, "large"),
        (Method::GET, "/close", 200, "until the end"),
        (Method::GET, "/after", 200, "/after"),
    ] {
        let (parts, body, trailers) = get(&mut sender, method, path).await;
        assert_eq!(parts.status.as_u16(), status, "{path}");
        match path {
            "/large" => assert!(body.len() == LARGE && body.bytes().all(|byte| byte == b'x')),
            _ => assert_eq!(body, expect, "{path}"),
        }
        let said = |name: &str| {
            let values = parts.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>()
        };
        match path {
            "/chunked" => {
                let trailers = trailers.expect("trailers");
                assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("5")));
                assert!(said("x-own").is_empty() && said("transfer-encoding").is_empty());
            }
            "/none" => assert!(said("content-length").is_empty()),
            "/same" => assert_eq!((said("content-length"), said("etag")), (vec!["7"], vec!["\"e\""])),
            "/head" => assert_eq!(said("content-length"), ["9"]),
            "/parts" => assert_eq!(said("set-cookie"), ["a", "b"]),
            _ => assert!(trailers.is_none()),
        }
    }
    assert_eq!(
        origin.connections.load(Ordering::SeqCst),
        2,
        "one until the answer that ended its connection"
    );
    eventually("no place is lost", || world.proxy.in_flight() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instance_gets_a_head_of_http_1() {
    let origin = Origin::answering(|head, wire| {
        let lines: Vec<String> =
            head.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        wire.ok(&format!("{}\n{}", head.first, lines.concat()));
    });
    let lines = async |trusted: bool| {
        let networks = if trusted { vec!["127.0.0.0/8".parse().unwrap()] } else { Vec::new() };
        let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |config| {
            config.trusted = networks;
            config.via = Some("edge".to_owned());
        });
        let mut sender = client(world.proxy.address).await;
        let request = Request::post(format!("http://{HOST}/a?b"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "https")
            .header("x_forwarded_for", "203.0.113.8")
            .header("x-request-id", "mine")
            .header("x-request-id", "other")
            .header("x-any", "1")
            .body(Empty::new().boxed_unsync())
            .unwrap();
        let (status, text, _) = ask(&mut sender, request).await;
        assert_eq!(status, StatusCode::OK);
        text
    };
    for trusted in [false, true] {
        let text = lines(trusted).await;
        let said = |name: &str| -> Vec<&str> {
            text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
        };
        assert_eq!(text.lines().next(), Some("POST /a?b HTTP/1.1"));
        assert_eq!((said("host"), said("cookie"), said("x-any")), (vec![HOST], vec!["a=1; b=2"], vec!["1"]));
        assert_eq!((said("content-length"), said("via")), (vec!["0"], vec!["2 edge"]));
        assert_eq!((said("x-request-id"), said("x-forwarded-host")), (vec!["mine"], vec![HOST]));
        assert_eq!((said("traceparent").len(), said("x-amzn-trace-id").len()), (1, 1));
        assert!(said("te").is_empty() && said("x_forwarded_for").is_empty());
        let (forwarded, scheme) = match trusted {
            true => ("203.0.113.9, 127.0.0.1", "https"),
            false => ("127.0.0.1", "http"),
        };
        assert_eq!((said("x-forwarded-for"), said("x-forwarded-proto")), (vec![forwarded], vec![scheme]));
    }
}

/// The connection closes while the second request is on its way to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_sent_again_is_sent_once_more() {
    let origin = Origin::start(|mut wire| {
        wire.head();
        wire.ok("first");
        wire.head();
    });
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
    let mut sender = client(world.proxy.address).await;
    for (method, status) in [(Method::GET, 200), (Method::GET, 200), (Method::POST, 502)] {
        let (parts, body, _) = get(&mut sender, method.clone(), "/").await;
        assert_eq!(parts.status.as_u16(), status, "{method} {body}");
        if status == 502 {
            assert_eq!(parts.headers["x-apron-cause"], "closed_before_response");
        }
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_fails_is_said_to() {
    for (speak, status, cause) in [
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 502, "bad_response"),
        ("SSH-2.0-x\r\n\r\n", 502, "bad_response"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502, "bad_response"),
        ("HTTP/1.1 200 OK\r\nContent-Le", 502, "closed_before_response"),
        ("", 502, "closed_before_response"),
    ] {
        let origin = Origin::start(move |mut wire| {
            wire.head();
            wire.send(speak);
        });
        let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
        let (parts, ..) = get(&mut client(world.proxy.address).await, Method::GET, "/").await;
        let said = &parts.headers["x-apron-cause"];
        assert_eq!((parts.status.as_u16(), said.to_str().unwrap()), (status, cause), "{speak}");
    }
    let refused = Ruled::new(HOST, &[nobody()], RoutePolicy::default(), |_| {});
    let (parts, body, _) = get(&mut client(refused.proxy.address).await, Method::HEAD, "/").await;
    assert_eq!((parts.status.as_u16(), body.as_str()), (502, ""));
    assert!(parts.headers.contains_key("date") && parts.headers["content-length"] != "0");
    let silent = Origin::answering(|_, wire| while !wire.closed() {});
    for (total, cause) in [(false, "timed_out"), (true, "total_timed_out")] {
        let policy =
            RoutePolicy { request_timeout_s: 1, request_timeout_total: total, ..RoutePolicy::default() };
        let world = Ruled::new(HOST, &[silent.address], policy, |_| {});
        let (parts, ..) = get(&mut client(world.proxy.address).await, Method::GET, "/").await;
        assert_eq!(
            (parts.status.as_u16(), &parts.headers["x-apron-cause"]),
            (504, &HeaderValue::from_static(cause))
        );
        eventually("the place is free", || world.proxy.in_flight() == 0);
    }
    let origin = Origin::named("there");
    let world = Ruled::new(HOST, &[nobody(), origin.address], RoutePolicy::default(), |_| {});
    let mut sender = client(world.proxy.address).await;
    for _ in 0..4 {
        assert_eq!(get(&mut sender, Method::POST, "/").await.1, "there");
    }
}

/// The client hears that it is not all, by the end of its stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_ends_its_stream() {
    for speak in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n",
    ] {
        let origin = Origin::start(move |mut wire| {
            wire.head();
            wire.send(speak);
        });
        let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |_| {});
        let mut sender = client(world.proxy.address).await;
        let request = Request::get(format!("http://{HOST}/")).body(whole("")).unwrap();
        let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap();
        // Where all of it comes at once the reset may overtake the head.
        if let Ok(response) = response {
            assert!(timeout(PATIENCE, response.into_body().collect()).await.unwrap().is_err(), "{speak}");
        }
        eventually("no place is lost", || world.proxy.in_flight() == 0);
    }
}
