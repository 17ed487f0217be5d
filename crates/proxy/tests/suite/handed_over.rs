//! Requests that hyper carries are judged as those of the common path: what could be read in two ways ends the
//! connection, also behind requests that were fine, and what leaves HTTP does so only where both sides agreed to it.

use crate::support::{Origin, Ruled, Wire};
use apron_model::routes::RoutePolicy;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};

const HOST: &str = "app.localhost";
const GET: &str = "GET /first HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

/// A proxy before an instance that remembers the targets of whole requests. With affinity, all of them go by hyper's
/// way.
fn world() -> (Ruled, Arc<Mutex<Vec<String>>>, Origin) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let remember = seen.clone();
    let origin = Origin::start(move |mut wire: Wire| {
        while let Some(head) = wire.head() {
            // A body that breaks off is no request.
            if head.get("transfer-encoding").is_some() {
                let mut rest = Vec::new();
                let mut byte = [0];
                while !rest.ends_with(b"0\r\n\r\n") {
                    if wire.read.read_exact(&mut byte).is_err() {
                        return;
                    }
                    rest.push(byte[0]);
                }
            } else {
                wire.body(&head);
            }
            remember.lock().unwrap().push(head.target().to_owned());
            wire.ok("served");
        }
    });
    let policy = RoutePolicy { affinity: true, ..RoutePolicy::default() };
    (Ruled::new(HOST, &[origin.address], policy, |_| {}), seen, origin)
}

#[test]
fn what_hides_a_request_is_refused_also_behind_others() {
    let (ruled, seen, _origin) = world();
    let post = |headers: &str, body: &str| {
        format!("POST /wrong HTTP/1.1\r\nHost: app.localhost\r\n{headers}\r\n{body}")
    };
    for (wrong, status, cause) in [
        ("GET /wrong HTTP/1.1\nHost: app.localhost\n\n".to_owned(), 400, "bad_request"),
        ("GET /wrong HTTP/1.1\r\nHost: app.localhost\r\nX: a\nY: b\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET /wrong#a HTTP/1.1\r\nHost: app.localhost\r\n\r\n".to_owned(), 400, "bad_request"),
        // hyper's own limit.
        ("GET /wrong<a HTTP/1.1\r\nHost: app.localhost\r\n\r\n".to_owned(), 400, "bad_request"),
        (post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400, "bad_request"),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "bad_request"),
        (post("Transfer-Encoding: gzip\r\n", ""), 501, "not_supported"),
        (post("Transfer-Encoding: chunked\r\n", "3 \r\nabc\r\n0\r\n\r\n"), 400, "bad_request"),
        (post("Transfer-Encoding: chunked\r\n", "3\nabc\r\n0\r\n\r\n"), 400, "bad_request"),
    ] {
        for pipelined in [true, false] {
            seen.lock().unwrap().clear();
            let mut client = ruled.proxy.client();
            let (first, second) = if pipelined {
                (GET.to_owned() + &wrong + HIDDEN, None)
            } else {
                (GET.to_owned(), Some(wrong.clone() + HIDDEN))
            };
            client.send(&first);
            let head = client.head().unwrap();
            assert_eq!((head.status(), client.body(&head)), (200, b"served".to_vec()));
            if let Some(second) = second {
                // A proxy that has read enough closes.
                let _ = client.write.write_all(second.as_bytes());
            }
            let head = client.head().unwrap();
            assert_eq!((head.status(), head.get("x-apron-cause")), (status, Some(cause)), "{wrong:?}");
            client.body(&head);
            assert!(client.closed(), "{wrong:?}");
            assert_eq!(*seen.lock().unwrap(), ["/first"], "{wrong:?}");
        }
    }
}

#[test]
fn who_ends_its_direction_hears_the_refusal_too() {
    let (ruled, _seen, _origin) = world();
    let mut client = ruled.proxy.client();
    client.send(&[GET, "GET /wrong HTTP/1.1\nHost: app.localhost\n\n"].concat());
    client.write.shutdown(Shutdown::Write).unwrap();
    for status in [200, 400] {
        let head = client.head().unwrap();
        assert_eq!(head.status(), status);
        client.body(&head);
    }
    assert!(client.closed());
}

#[test]
fn connections_stay_open_for_what_is_well_said() {
    let (ruled, seen, _origin) = world();
    let mut client = ruled.proxy.client();
    for path in ["/1", "/2"] {
        assert_eq!(client.get(HOST, path).1, "served");
        client.send(&format!(
            "POST {path}/chunks HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
             3\r\nabc\r\n0\r\n\r\n"
        ));
        let head = client.head().unwrap();
        assert_eq!((head.status(), client.body(&head)), (200, b"served".to_vec()));
    }
    assert_eq!(*seen.lock().unwrap(), ["/1", "/1/chunks", "/2", "/2/chunks"]);
}

/// What lies behind the wish to leave HTTP is not read as a request, whether the wish comes true or not.
#[test]
fn a_wish_to_leave_http_that_is_not_granted_ends_the_connection() {
    let (ruled, seen, _origin) = world();
    let mut client = ruled.proxy.client();
    client.send(GET);
    let head = client.head().unwrap();
    client.body(&head);
    client.send(&format!(
        "GET /wish HTTP/1.1\r\nHost: app.localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{HIDDEN}"
    ));
    client.write.shutdown(Shutdown::Write).unwrap();
    if let Some(head) = client.head() {
        assert_eq!((head.status(), head.get("connection")), (200, Some("close")));
        assert_eq!(client.body(&head), b"served");
    }
    assert!(client.closed());
    assert!(!seen.lock().unwrap().iter().any(|target| target == "/hidden"));
}
