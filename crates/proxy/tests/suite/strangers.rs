//! Who asks: the PROXY protocol, whose word is believed, and what one address may take.

use crate::support::{Head, Origin, Ruled, Running, Wire, eventually};
use apron_model::routes::{HttpsPolicy, RoutePolicy};
use apron_proxy::Config;
use std::io::Write;
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";
const GET: &str = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

/// Answers with the request head as it arrived, one line each.
fn mirror() -> Origin {
    Origin::answering(|head, wire| {
        wire.body(head);
        let lines = head.headers.iter().map(|(name, value)| format!("{}: {value}\n", name.to_lowercase()));
        wire.ok(&lines.collect::<String>());
    })
}

/// What the instance saw of a header, each time that it saw it.
fn seen(client: &mut Wire, name: &str) -> Vec<String> {
    let head = client.head().expect("an answer");
    assert_eq!(head.status(), 200);
    let text = String::from_utf8(client.body(&head)).unwrap();
    let start = format!("{name}: ");
    text.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

fn cause(head: &Head) -> (u16, &str) {
    (head.status(), head.get("x-apron-cause").unwrap_or(""))
}

fn introduced(config: &mut Config) {
    config.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
}

fn believed(config: &mut Config) {
    config.trusted = vec!["127.0.0.0/8".parse().unwrap()];
}

#[test]
fn a_balancer_says_whose_connection_it_is() {
    let origin = mirror();
    let proxy = Running::with(&[(HOST, &[origin.address])], introduced);
    let version_2 = |command: u8, family: u8, rest: &[u8]| {
        let length = (rest.len() as u16).to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
    };
    let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0, 1, 0, 2]].concat();
    for (header, expect) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(0x21, 0x11, &[192, 0, 2, 8, 10, 0, 0, 1, 0, 1, 0, 80]), "192.0.2.8"),
        (version_2(0x21, 0x21, &six), "2001:db8::7"),
        (version_2(0x20, 0, &[]), "127.0.0.1"),
        (Vec::new(), "127.0.0.1"),
    ] {
        let mut client = proxy.client();
        // In two pieces, of which the first ends inside the header.
        let half = header.len() / 2;
        client.write.write_all(&header[..half]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        client.write.write_all(&header[half..]).unwrap();
        client.send(GET);
        assert_eq!(seen(&mut client, "x-forwarded-for"), [expect], "{header:02x?}");
        // It is said once, for all requests of the connection.
        client.send(GET);
        assert_eq!(seen(&mut client, "x-forwarded-for"), [expect]);
    }
}

#[test]
fn a_wrong_introduction_ends_the_connection_and_one_unasked_is_no_request() {
    let origin = mirror();
    let proxy = Running::with(&[(HOST, &[origin.address])], introduced);
    for wrong in
        ["PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", &"PROXY UNKNOWN ".repeat(10)]
    {
        let mut client = proxy.client();
        let _ = client.write.write_all(format!("{wrong}{GET}").as_bytes());
        assert!(client.head().is_none(), "{wrong}");
    }
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    client.send(&format!("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n{GET}"));
    assert_eq!(client.head().unwrap().status(), 400);
}

#[test]
fn who_is_not_believed_says_nothing_of_others() {
    let origin = mirror();
    let lies = format!(
        "GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Port: 443\r\nX-Forwarded-Host: other\r\n\r\n"
    );
    let fixed = Running::fixed(&[(HOST, &[origin.address])]);
    let port = fixed.address.port().to_string();
    let trusting = Running::with(&[(HOST, &[origin.address])], believed);
    for (name, own, given) in [
        ("x-forwarded-for", "127.0.0.1", "192.0.2.7, 127.0.0.1"),
        ("x-forwarded-proto", "http", "https"),
        ("x-forwarded-port", port.as_str(), "443"),
        ("x-forwarded-host", HOST, "other"),
    ] {
        for (proxy, expect) in [(&fixed, own), (&trusting, given)] {
            let mut client = proxy.client();
            client.send(&lies);
            assert_eq!(seen(&mut client, name), [expect], "{name}");
        }
    }
    // Who is believed and says nothing is told about like anybody.
    let mut client = trusting.client();
    client.send(GET);
    assert_eq!(seen(&mut client, "x-forwarded-proto"), ["http"]);
}

/// What frameworks believe beside the four headers that the proxy writes; on both ways.
#[test]
fn nobody_says_by_another_header_where_a_request_came_from() {
    let origin = mirror();
    let lies = "Forwarded: for=192.0.2.7;proto=https\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-Ssl: on\r\n\
                X_Forwarded_For: 192.0.2.7\r\nX-Forwarded-For: 192.0.2.7\r\n";
    for affinity in [false, true] {
        let policy = || RoutePolicy { affinity, ..RoutePolicy::default() };
        let strict = Ruled::new(HOST, &[origin.address], policy(), |_| {});
        let trusting = Ruled::new(HOST, &[origin.address], policy(), believed);
        for (world, believed, list) in
            [(&strict, false, "127.0.0.1"), (&trusting, true, "192.0.2.7, 127.0.0.1")]
        {
            let mut client = world.proxy.client();
            // Nor can who stands behind a balancer take off what that says, should it pass his Connection on.
            let connection = "Connection: Forwarded, X-Real-IP, X-Forwarded-For, X-Forwarded-Ssl\r\n";
            client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{lies}{connection}\r\n"));
            let head = client.head().unwrap();
            let text = String::from_utf8(client.body(&head)).unwrap();
            let check = |name: &str, expect: Option<&str>| {
                let start = format!("{name}: ");
                let value = text.lines().find_map(|line| line.strip_prefix(&start));
                assert_eq!(value, expect, "{affinity} {believed} {name}");
            };
            check("forwarded", Some("for=192.0.2.7;proto=https").filter(|_| believed));
            check("x-real-ip", Some("192.0.2.7").filter(|_| believed));
            check("x-forwarded-ssl", Some("on").filter(|_| believed));
            check("x-forwarded-for", Some(list));
            check("x_forwarded_for", None);
        }
    }
}

/// TLS may end at a balancer, which then is the one to say so.
#[test]
fn a_balancer_that_is_believed_says_how_its_client_came() {
    let origin = Origin::named("a");
    for (hsts, affinity) in [(false, false), (true, false), (false, true), (true, true)] {
        let policy =
            || RoutePolicy { https: HttpsPolicy::Redirect, hsts, affinity, ..RoutePolicy::default() };
        let world = |trusts: bool| {
            Ruled::new(HOST, &[origin.address], policy(), |config| {
                config.https_port = Some(443);
                if trusts {
                    believed(config);
                }
            })
        };
        let (trusting, strict) = (world(true), world(false));
        for (world, said, expect) in [
            (&trusting, "X-Forwarded-Proto: https\r\n", 200),
            (&trusting, "X-Forwarded-Proto: HTTPS, http\r\nX-Forwarded-Proto: http\r\n", 200),
            (&trusting, "X-Forwarded-Proto: http\r\n", 308),
            (&trusting, "", 308),
            (&strict, "X-Forwarded-Proto: https\r\n", 308),
        ] {
            let mut client = world.proxy.client();
            client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{said}\r\n"));
            let head = client.head().unwrap();
            let served = expect == 200;
            assert_eq!(head.status(), expect, "{said}");
            assert_eq!(head.get("strict-transport-security").is_some(), served && hsts, "{said}");
            let cookie = head.get("set-cookie").unwrap_or_default();
            assert_eq!(cookie.contains("; Secure"), served && affinity, "{cookie}");
        }
    }
}

#[test]
fn traces_are_begun_or_go_on() {
    let origin = mirror();
    let proxy = Running::fixed(&[(HOST, &[origin.address])]);
    let mut client = proxy.client();
    let ask = |client: &mut Wire, headers: &str, name: &str| {
        client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n"));
        let mut values = seen(client, name);
        assert_eq!(values.len(), 1, "{name}");
        values.remove(0)
    };
    let root = ask(&mut client, "", "x-amzn-trace-id");
    assert!(root.starts_with("Root=1-") && root.len() == 40, "{root}");
    let parent = ask(&mut client, "", "traceparent");
    assert!(parent.starts_with("00-") && parent.ends_with("-01") && parent.len() == 55, "{parent}");
    assert_ne!(ask(&mut client, "", "traceparent"), parent);
    let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert_eq!(ask(&mut client, &format!("traceparent: {given}\r\n"), "traceparent"), given);
    let given = "Root=1-67891233-abcdef012345678912345678;Sampled=1";
    assert_eq!(ask(&mut client, &format!("X-Amzn-Trace-Id: {given}\r\n"), "x-amzn-trace-id"), given);
}

#[test]
fn via_is_said_where_it_is_wanted() {
    let origin = mirror();
    let with = Running::with(&[(HOST, &[origin.address])], |config| config.via = Some("edge".to_owned()));
    let without = Running::fixed(&[(HOST, &[origin.address])]);
    for (proxy, expect) in [(&with, Some("1.1 edge")), (&without, None)] {
        let (head, body) = proxy.client().get(HOST, "/");
        assert_eq!(head.get("via"), expect);
        assert_eq!(body.lines().find_map(|line| line.strip_prefix("via: ")), expect);
    }
}

#[test]
fn a_body_is_not_longer_than_the_service_takes() {
    let origin = mirror();
    let policy = RoutePolicy { body_bytes_max: Some(1_000), ..RoutePolicy::default() };
    let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
    for length in [1_000, 1_001] {
        let body = "x".repeat(length);
        let fits = length == 1_000;
        let expect = if fits { (200, "") } else { (413, "body_too_large") };
        let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n");
        let mut client = world.proxy.client();
        client.send(&format!("{head}Content-Length: {length}\r\n\r\n{body}"));
        assert_eq!(cause(&client.head().unwrap()), expect);
        let parts = body.as_bytes().chunks(500).map(|part| std::str::from_utf8(part).unwrap());
        let chunks: String = parts.map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
        let mut client = world.proxy.client();
        client.send(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"));
        assert_eq!(cause(&client.head().unwrap()), expect);
    }
    eventually("no place is lost", || world.proxy.in_flight() == 0);
}

#[test]
fn addresses_are_let_in_by_lists() {
    let origin = mirror();
    let status = |allow: &[&str], deny: &[&str], change: fn(&mut Config), headers: &str| {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let policy = RoutePolicy { allow: list(allow), deny: list(deny), ..RoutePolicy::default() };
        let world = Ruled::new(HOST, &[origin.address], policy, change);
        let mut client = world.proxy.client();
        client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n"));
        let head = client.head().unwrap();
        assert!(head.status() == 200 || cause(&head) == (403, "address_refused"), "{head:?}");
        head.status()
    };
    let nothing: fn(&mut Config) = |_| {};
    assert_eq!(status(&["127.0.0.0/8"], &[], nothing, ""), 200);
    assert_eq!(status(&["10.0.0.0/8"], &[], nothing, ""), 403);
    assert_eq!(status(&[], &["127.0.0.1"], nothing, ""), 403);
    // Behind one who is believed it is the stranger's address that counts, and nobody else can claim one.
    let stranger = "X-Forwarded-For: 192.0.2.7\r\n";
    assert_eq!(status(&["192.0.2.0/24"], &[], believed, stranger), 200);
    assert_eq!(status(&["192.0.2.0/24"], &[], nothing, stranger), 403);
    assert_eq!(status(&[], &["192.0.2.0/24"], believed, stranger), 403);
}

#[test]
fn an_address_asks_as_often_as_it_may() {
    let origin = mirror();
    let policy = RoutePolicy { requests_per_second_max: Some(5), ..RoutePolicy::default() };
    let world = Ruled::new(HOST, &[origin.address], policy, believed);
    let ask = |stranger: &str| {
        let mut client = world.proxy.client();
        client.send(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {stranger}\r\n\r\n"));
        client.head().unwrap()
    };
    let start = Instant::now();
    let heads: Vec<Head> = (0..30).map(|_| ask("192.0.2.7")).collect();
    let gained = start.elapsed().as_secs() as usize * 5 + 5;
    let served = heads.iter().filter(|head| head.status() == 200).count();
    assert!((5..=5 + gained).contains(&served), "{served}");
    let refused = heads.iter().find(|head| head.status() != 200).expect("not all of 30 at once");
    assert_eq!(cause(refused), (429, "rate_limited"));
    assert!(refused.get("retry-after").is_some());
    assert_eq!(ask("192.0.2.8").status(), 200, "another address has its own");
    eventually("it may ask again", || ask("192.0.2.7").status() == 200);
}

#[test]
fn an_address_has_as_many_connections_as_it_may() {
    let origin = Origin::named("a");
    let few = |config: &mut Config| config.connections_per_address_max = 3;
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), few);
    let mut open: Vec<Wire> = (0..3).map(|_| world.proxy.client()).collect();
    for client in &mut open {
        assert_eq!(client.get(HOST, "/").1, "a");
    }
    let mut fourth = world.proxy.client();
    let _ = fourth.write.write_all(GET.as_bytes());
    assert!(fourth.closed(), "the fourth");
    assert_eq!(open[0].get(HOST, "/").1, "a", "the others go on");
    open.pop();
    eventually("there is room again", || {
        let mut client = world.proxy.client();
        let _ = client.write.write_all(GET.as_bytes());
        client.head().is_some_and(|head| head.status() == 200)
    });
    // Who is believed stands for many.
    let trusted = |config: &mut Config| {
        believed(config);
        few(config);
    };
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), trusted);
    let mut open: Vec<Wire> = (0..10).map(|_| world.proxy.client()).collect();
    assert!(open.iter_mut().all(|client| client.get(HOST, "/").1 == "a"));
}

/// A WebSocket is a connection all the same.
#[test]
fn a_connection_that_became_a_tunnel_is_counted() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        wire.closed();
    });
    let few = |config: &mut Config| config.connections_per_address_max = 3;
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), few);
    let tunnel = || {
        let mut client = world.proxy.client();
        let _ = client.write.write_all(
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                .as_bytes(),
        );
        let head = client.head();
        (client, head.map(|head| head.status()))
    };
    let mut open: Vec<Wire> = Vec::new();
    for _ in 0..3 {
        let (client, status) = tunnel();
        assert_eq!(status, Some(101));
        open.push(client);
    }
    assert_eq!(tunnel().1, None, "the fourth");
    open.pop();
    eventually("there is room again", || tunnel().1 == Some(101));
}

#[test]
fn connections_are_counted_by_whom_a_balancer_names() {
    let origin = mirror();
    let change = |config: &mut Config| {
        introduced(config);
        config.connections_per_address_max = 1;
    };
    let world = Ruled::new(HOST, &[origin.address], RoutePolicy::default(), change);
    let come = |stranger: &str| {
        let mut client = world.proxy.client();
        client.send(&format!("PROXY TCP4 {stranger} 10.0.0.1 4711 80\r\n"));
        let _ = client.write.write_all(GET.as_bytes());
        let head = client.head();
        (client, head.map(|head| head.status()))
    };
    let (_first, status) = come("192.0.2.7");
    assert_eq!(status, Some(200));
    assert_eq!(come("192.0.2.7").1, None, "a second one of the same");
    assert_eq!(come("192.0.2.8").1, Some(200));
}

#[test]
fn a_request_may_have_its_time_in_all() {
    let origin = Origin::answering(|_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Never silent for long, and never at its end.
        while wire.write.write_all(b"1\r\nx\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    for (total, expect) in [(true, true), (false, false)] {
        let policy =
            RoutePolicy { request_timeout_s: 1, request_timeout_total: total, ..RoutePolicy::default() };
        let world = Ruled::new(HOST, &[origin.address], policy, |_| {});
        let mut client = world.proxy.client();
        client.send(GET);
        assert_eq!(client.head().unwrap().status(), 200);
        let start = Instant::now();
        let mut byte = [0];
        let mut cut = false;
        while start.elapsed() < Duration::from_secs(3) && !cut {
            cut = !matches!(std::io::Read::read(&mut client.read, &mut byte), Ok(1));
        }
        assert_eq!(cut, expect);
    }
}
