//! curl: each version of HTTP, each way to send a body, and what it says of answers.

use super::{HOST, Program, World, both, mirror};
use crate::support::{Directory, Origin, listeners};
use apron_model::routes::{HttpsPolicy, RoutePolicy};
use apron_proxy::{Config, Listeners, Proxy, StaticRoute};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc;

const PLAIN: &str = "http://app.apron.localhost";
const SECURE: &str = "https://app.apron.localhost";

/// Whatever host it is to ask, it asks at this address.
fn curl(address: SocketAddr) -> Program {
    let to = match address {
        SocketAddr::V4(_) => format!("::127.0.0.1:{}", address.port()),
        SocketAddr::V6(_) => format!("::[::1]:{}", address.port()),
    };
    Program::debian("curl", "curl").args(&["-q", "-sS", "--max-time", "20", "--connect-to", &to])
}

#[test]
fn every_version_is_spoken_in_the_clear() {
    let origin = mirror();
    let world = World::plain(&origin);
    // What is answered to HTTP/1.0 says that more is known; an upgrade to HTTP/2 is passed over, as it may be.
    for (flag, version) in
        [("--http1.0", "1.1"), ("--http1.1", "1.1"), ("--http2", "1.1"), ("--http2-prior-knowledge", "2")]
    {
        let url = format!("{PLAIN}/a?b=c");
        let text =
            curl(world.front.http).args(&[flag, "-w", "%{http_version} %{response_code}", &url]).well();
        assert!(text.starts_with("GET /a?b=c HTTP/1.1\n"), "{flag}: {text}");
        for line in ["host: app.apron.localhost\n", "accept: */*\n", "x-forwarded-proto: http\n"] {
            assert!(text.contains(line), "{flag}: {text}");
        }
        assert!(!text.contains("upgrade:") && !text.contains("http2-settings:"), "{flag}: {text}");
        assert!(text.ends_with(&format!("\n{version} 200")), "{flag}: {text}");
    }
}

#[test]
fn http_1_0_without_a_host_names_no_service() {
    let origin = mirror();
    let world = World::plain(&origin);
    let text = curl(world.front.http).args(&["--http1.0", "-i", "-H", "Host:", PLAIN]).well();
    assert!(text.starts_with("HTTP/1.1 404 ") && text.contains("x-apron-cause: no_route"), "{text}");
}

#[test]
fn every_version_is_spoken_over_tls() {
    let origin = mirror();
    let world = World::plain(&origin);
    for (flags, version) in [
        (&["--http2"][..], "2"),
        (&["--http2", "--tls-max", "1.2"], "2"),
        (&["--http1.1"], "1.1"),
        (&["--no-alpn"], "1.1"),
        (&["--http1.0", "--tlsv1.3"], "1.1"),
    ] {
        let text = curl(world.front.https)
            .args(&["--cacert", world.authority(), "-w", "%{http_version} %{ssl_verify_result}", SECURE])
            .args(flags)
            .well();
        assert!(text.contains("\nx-forwarded-proto: https\n"), "{flags:?}: {text}");
        assert!(text.ends_with(&format!("\n{version} 0")), "{flags:?}: {text}");
    }
    // The certificate is for one label in front of the domain.
    let output =
        curl(world.front.https).args(&["--cacert", world.authority(), "https://a.b.c.localhost"]).run();
    assert_eq!(output.status.code(), Some(60), "{}", both(&output));
}

#[test]
fn a_connection_is_kept() {
    let origin = mirror();
    let world = World::plain(&origin);
    let (http, https) = (world.front.http, world.front.https);
    // Not with prior knowledge of HTTP/2: curl 7.88 cannot use such a connection again, of nginx neither.
    for (address, flag, url) in
        [(http, "--http1.1", PLAIN), (https, "--http1.1", SECURE), (https, "--http2", SECURE)]
    {
        let urls = format!("{url}/[1-5]");
        let text = curl(address)
            .args(&["--cacert", world.authority(), flag, "-o", "/dev/null", "-w", "%{num_connects}", &urls])
            .well();
        assert_eq!(text, "10000", "{flag} {url}");
    }
    // Many at once over HTTP/2.
    let urls = format!("{SECURE}/[1-40]");
    let text = curl(https).args(&["--cacert", world.authority(), "--http2", "-Z", &urls]).well();
    for number in 1..=40 {
        assert_eq!(text.matches(&format!("GET /{number} HTTP/1.1\n")).count(), 1, "{number}");
    }
}

/// With a length, in chunks, from a pipe, and as a form; as large as buffers are many.
#[test]
fn bodies_pass_whole_however_they_are_sent() {
    let origin = mirror();
    let world = World::plain(&origin);
    let files = Directory::new();
    let (sent, got) = (files.file("sent"), files.file("got"));
    let body: Vec<u8> = (0..=250u8).cycle().take(3_000_001).collect();
    std::fs::write(&sent, &body).unwrap();
    let file = sent.to_str().unwrap();
    let (data, chunked) = (format!("@{file}"), "Transfer-Encoding: chunked");
    for (version, how, expect) in [
        ("--http1.1", &["-T", file][..], Some("content-length: 3000001\n")),
        ("--http1.1", &["-T", file, "-H", chunked], Some("transfer-encoding: chunked\n")),
        ("--http1.1", &["--data-binary", &data], Some("content-length: 3000001\n")),
        ("--http1.1", &["--data-binary", &data, "-H", chunked], Some("transfer-encoding: chunked\n")),
        ("--http1.0", &["--data-binary", &data], Some("content-length: 3000001\n")),
        ("--http2-prior-knowledge", &["-T", file], None),
    ] {
        let url = format!("{PLAIN}/up");
        curl(world.front.http).args(&[version, "-o", got.to_str().unwrap()]).args(how).args(&[&url]).well();
        let text = std::fs::read(&got).unwrap();
        let end = text.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
        let head = String::from_utf8_lossy(&text[..end]);
        assert!(text[end..] == body, "{version} {how:?}: {} bytes after {head}", text.len() - end);
        assert!(expect.is_none_or(|line| head.contains(line)), "{version} {how:?}: {head}");
        assert!(!head.contains("expect:"), "{version} {how:?}: {head}");
    }
    let form = format!("file=@{file};filename=a.bin");
    let text =
        curl(world.front.http).args(&["-F", &form, "-o", "/dev/null", "-w", "%{size_download}", PLAIN]);
    assert!(text.well().parse::<u64>().unwrap() > 3_000_001);
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let origin = mirror();
    let world = World::plain(&origin);
    let ask = ["-i", "-H", "Expect: 100-continue", "-d", "hi", "-w", "%{time_total}", PLAIN];
    for (version, start) in [
        ("--http1.1", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "),
        ("--http2-prior-knowledge", "HTTP/2 100 \r\n\r\nHTTP/2 200 "),
    ] {
        let text = curl(world.front.http).args(&[version, "--expect100-timeout", "15"]).args(&ask).well();
        assert!(text.starts_with(start), "{text}");
        let (_, time) = text.rsplit_once("\n\nhi").unwrap();
        assert!(time.parse::<f64>().unwrap() < 10.0, "it was waited for: {text}");
    }
}

#[test]
fn head_and_options_have_answers_without_surprises() {
    let origin = mirror();
    let world = World::plain(&origin);
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let got = curl(world.front.http)
            .args(&[version, "-o", "/dev/null", "-w", "%{size_download}", PLAIN])
            .well();
        let text = curl(world.front.http).args(&[version, "-I", PLAIN]).well().to_lowercase();
        let length: u64 = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap_or_else(|| panic!("{version}: {text}"))
            .trim()
            .parse()
            .unwrap();
        // The method is one letter longer.
        assert_eq!(length, got.parse::<u64>().unwrap() + 1, "{version}");
    }
    let text = curl(world.front.http).args(&["-X", "OPTIONS", "--request-target", "*", PLAIN]).well();
    assert!(text.starts_with("OPTIONS * HTTP/1.1\n"), "{text}");
    for method in ["PUT", "PATCH", "DELETE", "PROPFIND", "QUERY"] {
        let text = curl(world.front.http).args(&["-X", method, PLAIN]).well();
        assert!(text.starts_with(&format!("{method} / HTTP/1.1\n")), "{text}");
    }
}

#[test]
fn trailers_are_shown() {
    let origin = Origin::answering(|_, wire| {
        wire.send(
            "HTTP/1.1 200 OK\r\nServer: mine\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
        );
    });
    let world = World::plain(&origin);
    let directory = Directory::new();
    let body = directory.file("body");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let arguments = [version, "-H", "TE: trailers", "-D", "-", "-o", body.to_str().unwrap(), PLAIN];
        let text = curl(world.front.http).args(&arguments).well().to_lowercase();
        assert!(text.contains("server: mine\r\n"), "{version}: {text}");
        assert!(text.trim_end().ends_with("x-sum: 7"), "{version}: {text}");
        assert_eq!(std::fs::read(&body).unwrap(), b"abc", "{version}");
    }
}

/// To curl this proxy is one of its own, which is asked in absolute form; a tunnel is not to be had.
#[test]
fn it_may_be_asked_as_a_forward_proxy_is() {
    let origin = mirror();
    let world = World::plain(&origin);
    let proxy = format!("http://{}", world.front.http);
    let ask = || Program::debian("curl", "curl").args(&["-q", "-sS", "--max-time", "20", "--proxy", &proxy]);
    for version in ["--http1.0", "--http1.1"] {
        let url = format!("{PLAIN}:8080/a?b");
        let text = ask().args(&[version, "--proxy-user", "a:b", &url]).well();
        assert!(text.starts_with("GET /a?b HTTP/1.1\n"), "{text}");
        assert!(text.contains("\nhost: app.apron.localhost:8080\n") && !text.contains("\nproxy-"), "{text}");
    }
    let output = ask().args(&["--proxytunnel", PLAIN]).run();
    assert!(!output.status.success() && both(&output).contains("400"), "{}", both(&output));
}

#[test]
fn a_redirect_to_tls_is_followed_with_method_and_body() {
    let origin = mirror();
    let policy = RoutePolicy { https: HttpsPolicy::Redirect, ..RoutePolicy::default() };
    let world = World::new(&[(HOST, origin.address, policy)]);
    let url = format!("{PLAIN}:{}/form?a=b", world.front.http.port());
    let arguments = ["-q", "-sS", "-L", "--connect-to", "::127.0.0.1:", "--cacert", world.authority()];
    let text = Program::debian("curl", "curl")
        .args(&arguments)
        .args(&["-d", "hello", "-w", "\n%{num_redirects} %{url_effective}", &url])
        .well();
    assert!(text.starts_with("POST /form?a=b HTTP/1.1\n") && text.contains("\n\nhello\n"), "{text}");
    let end = format!("\n1 https://{HOST}:{}/form?a=b", world.front.https.port());
    assert!(text.ends_with(&end), "{text}");
}

#[test]
fn an_event_comes_before_the_next_is_there() {
    let (seen, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::answering(move |_, wire| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 1..=3 {
            wire.send(&format!("9\r\ndata: {number}\n\n\r\n"));
            wait.lock().unwrap().recv_timeout(crate::support::PATIENCE).expect("the client has it");
        }
        wire.send("0\r\n\r\n");
    });
    let world = World::plain(&origin);
    let (http, https) = (world.front.http, world.front.https);
    for (address, version, url) in
        [(http, "--http1.1", PLAIN), (http, "--http1.0", PLAIN), (https, "--http2", SECURE)]
    {
        let mut client = curl(address).args(&["-N", "--cacert", world.authority(), version, url]).start();
        for number in 1..=3 {
            assert_eq!(client.line(), format!("data: {number}"), "{version}");
            assert_eq!(client.line(), "");
            seen.send(()).unwrap();
        }
        assert!(client.lines.next().is_none());
    }
}

#[test]
fn ipv6_is_as_good_as_ipv4() {
    let origin = mirror();
    let (http, address) = listeners("::1", 1);
    let route: StaticRoute = format!("{HOST}={}", origin.address).parse().unwrap();
    let numeric: StaticRoute = format!("[::1]={}", origin.address).parse().unwrap();
    let config = Config::fixed(vec![route, numeric]);
    let proxy = Proxy::start(config, Listeners { http, https: Vec::new(), counts: None }).unwrap();
    for (version, url) in [
        ("--http1.1", PLAIN.to_owned()),
        ("--http2-prior-knowledge", PLAIN.to_owned()),
        ("--http1.1", format!("http://{address}/")),
    ] {
        let text = curl(address).args(&["-g", version, &url]).well();
        assert!(text.contains("\nx-forwarded-for: ::1\n"), "{version} {url}: {text}");
    }
    proxy.stop();
}
