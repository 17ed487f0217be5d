//! What is left of a request: its line in the access log, its counts at the admin socket.

use crate::support::{Control, Directory, Origin, Ruled, Running, eventually, nobody, start, table};
use apron_model::routes::{AccessLog, RoutePolicy, RouteState};
use apron_proxy::Config;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

const HOST: &str = "app.localhost";

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn metrics(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of the one line of this name that has all of these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<u64> {
    let wanted = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().find(wanted).and_then(|line| line.rsplit(' ').next()?.parse().ok())
}

#[test]
fn services_are_logged_as_they_ask_for_it() {
    let directory = Directory::new();
    let control = Control::listen(&directory.file("control.sock"));
    let mut config =
        Config::control(directory.file("control.sock"), directory.file("routes.json"), None, 1_000);
    let log = directory.file("access.log");
    config.access_log = Some(log.clone());
    let (mut proxy, address) = start(config, 2);
    let mut link = control.accept();
    let origin = Origin::answering(|head, wire| {
        let length = head.length().unwrap_or(0);
        wire.bytes(length);
        wire.ok("hello");
    });
    let serving = RouteState::Serving;
    let (at, gone) = ([origin.address], [nobody()]);
    let mut routes = table(
        1,
        &[(HOST, serving, &at), ("quiet.localhost", serving, &at), ("bad.localhost", serving, &gone)],
    );
    routes.services[0].policy.access_log = AccessLog::On;
    routes.services[2].policy.access_log = AccessLog::Sampled;
    link.publish(routes);

    let mut client = crate::support::Wire::connect(address);
    client.send(
        "POST /orders?token=secret HTTP/1.1\r\nHost: app.localhost\r\nX-Request-Id: r-1\r\nContent-Length: 3\r\n\r\nabc",
    );
    let head = client.head().unwrap();
    client.body(&head);
    assert_eq!(client.get("quiet.localhost", "/quiet").1, "hello");
    assert_eq!(client.get("bad.localhost", "/bad").0.status(), 502);
    assert_eq!(client.get("nobodys.localhost", "/none").0.status(), 404);
    eventually("both lines are written", || lines(&log).len() == 2);
    // Written to the end before the proxy is.
    assert_eq!(client.get(HOST, "/last").1, "hello");
    proxy.take().unwrap().stop();
    let lines = lines(&log);
    assert_eq!(
        lines.iter().map(|line| line["path"].as_str().unwrap()).collect::<Vec<_>>(),
        ["/orders", "/bad", "/last"]
    );
    let post = &lines[0];
    assert_eq!((&post["method"], &post["status"]), (&"POST".into(), &200.into()));
    assert_eq!((&post["received"], &post["sent"]), (&3.into(), &5.into()));
    assert_eq!((&post["service"], &post["service_id"]), (&HOST.into(), &"service-0".into()));
    assert_eq!((&post["revision"], &post["request_id"]), (&1.into(), &"r-1".into()));
    assert_eq!(post["client"], "127.0.0.1");
    assert!(post["instance"].as_str().unwrap().starts_with("instance-") && post["cause"].is_null());
    let total = post["total_ms"].as_f64().unwrap();
    let first = post["first_byte_ms"].as_f64().unwrap();
    assert!(0.0 < first && first <= total && post["connect_ms"].as_f64().unwrap() <= first, "{post}");
    assert_eq!((&lines[1]["status"], &lines[1]["cause"]), (&502.into(), &"connect_failed".into()));
}

#[test]
fn counts_at_the_admin_socket_are_those_of_the_clients() {
    let directory = Directory::new();
    let socket = directory.file("admin.sock");
    let origin = Origin::named("hello");
    let proxy = Running::with(&[(HOST, &[origin.address]), ("bad.localhost", &[nobody()])], |config| {
        config.admin = Some(socket.clone());
    });
    for _ in 0..4 {
        let mut client = proxy.client();
        for _ in 0..25 {
            assert_eq!(client.get(HOST, "/").0.status(), 200);
        }
    }
    let mut refused = 0;
    for _ in 0..3 {
        let (head, body) = proxy.client().get("bad.localhost", "/");
        assert_eq!(head.status(), 502);
        refused += body.len() as u64;
        assert_eq!(proxy.client().get("nobodys.localhost", "/").0.status(), 404);
    }
    let good = "service=\"app.localhost\"";
    eventually("all have ended", || {
        let text = metrics(&socket);
        value(&text, "apron_proxy_requests_total", &[good, "class=\"2xx\""]) == Some(100)
            && value(&text, "apron_proxy_requests_in_flight", &[good]) == Some(0)
    });
    let text = metrics(&socket);
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    assert_eq!(value(&text, "apron_proxy_services", &[]), Some(2));
    assert_eq!(value(&text, "apron_proxy_sent_bytes_total", &[good]), Some(500));
    assert_eq!(value(&text, "apron_proxy_request_seconds_count", &[good]), Some(100));
    let bad = "service=\"bad.localhost\"";
    assert_eq!(value(&text, "apron_proxy_failures_total", &[bad, "cause=\"connect_failed\""]), Some(3));
    assert_eq!(value(&text, "apron_proxy_requests_total", &[bad, "class=\"5xx\""]), Some(3));
    assert_eq!(value(&text, "apron_proxy_sent_bytes_total", &[bad]), Some(refused));
    assert_eq!(value(&text, "apron_proxy_unrouted_failures_total", &["cause=\"no_route\""]), Some(3));
    let load = proxy.proxy.as_ref().unwrap().load();
    let mut load: Vec<_> = load.values().map(|load| (load.arrived, load.answered)).collect();
    load.sort_unstable();
    assert_eq!(load, [(3, 3), (100, 100)], "what came to nothing has left its place too");
}

/// Our own path, and hyper's, which a cookie for each client needs.
const BOTH_WAYS: [bool; 2] = [false, true];

/// A service whose log is at this path, and whose requests take hyper's way or our own.
fn logged(origin: &Origin, affinity: bool, directory: &Directory) -> Ruled {
    let policy = RoutePolicy { affinity, access_log: AccessLog::On, ..RoutePolicy::default() };
    Ruled::new(HOST, &[origin.address], policy, |config| {
        config.access_log = Some(directory.file("access.log"));
        config.admin = Some(directory.file("admin.sock"));
        config.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    })
}

#[test]
fn both_ways_count_a_request_once_and_name_who_sent_it() {
    for affinity in BOTH_WAYS {
        let directory = Directory::new();
        let origin = Origin::answering(|head, wire| {
            wire.body(head);
            wire.ok("hello");
        });
        let world = logged(&origin, affinity, &directory);
        let mut client = world.proxy.client();
        client.send(&format!(
            "POST /a HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 192.0.2.7\r\nContent-Length: 3\r\n\r\nabc"
        ));
        let head = client.head().unwrap();
        assert_eq!((head.get("set-cookie").is_some(), client.body(&head)), (affinity, b"hello".to_vec()));
        let log = directory.file("access.log");
        eventually("the line is written", || lines(&log).len() == 1);
        let line = &lines(&log)[0];
        assert_eq!((&line["received"], &line["sent"]), (&3.into(), &5.into()), "{line}");
        assert_eq!((&line["client"], &line["status"]), (&"192.0.2.7".into(), &200.into()), "{line}");
        let text = metrics(&directory.file("admin.sock"));
        assert_eq!(value(&text, "apron_proxy_received_bytes_total", &[HOST]), Some(3));
        assert_eq!(value(&text, "apron_proxy_requests_total", &[HOST]), Some(1));
    }
}

#[test]
fn what_the_proxy_breaks_off_at_its_end_is_neither_its_client_s_nor_its_application_s_doing() {
    for affinity in BOTH_WAYS {
        let directory = Directory::new();
        let origin = Origin::answering(|head, wire| {
            wire.send(match head.target() {
                "/ws" => {
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            });
            wire.closed();
        });
        let mut world = logged(&origin, affinity, &directory);
        let mut half = world.proxy.client();
        half.send(&format!("GET /half HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert_eq!(half.head().unwrap().status(), 200);
        assert_eq!(half.bytes(4), b"half");
        let mut socket = world.proxy.client();
        socket.send(&format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ));
        assert_eq!(socket.head().unwrap().status(), 101);
        world.proxy.proxy.take().unwrap().stop();
        let lines = lines(&directory.file("access.log"));
        let mut seen: Vec<(&str, u64, &str)> = lines
            .iter()
            .map(|line| {
                let cause = line["cause"].as_str().unwrap_or_default();
                (line["path"].as_str().unwrap(), line["status"].as_u64().unwrap(), cause)
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [("/half", 200, "drained"), ("/ws", 101, "drained")], "{affinity}");
    }
}

#[test]
fn a_proxy_whose_socket_and_log_cannot_be_made_serves() {
    let directory = Directory::new();
    let origin = Origin::named("hello");
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), |config| {
        config.admin = Some(directory.file("missing/admin.sock"));
        config.access_log = Some(directory.file("missing/access.log"));
    });
    assert_eq!(world.proxy.client().get(HOST, "/").1, "hello");
}

#[test]
fn grpc_hears_of_a_failure_in_its_own_words() {
    let proxy = Running::fixed(&[(HOST, &[nobody()])]);
    let mut client = proxy.client();
    client.send(
        "POST /a.B/C HTTP/1.1\r\nHost: app.localhost\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n",
    );
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.get("grpc-status")), (200, Some("14")));
    assert_eq!(head.get("x-apron-cause"), Some("connect_failed"));
    assert_eq!(head.get("content-type"), Some("application/grpc"));
}
