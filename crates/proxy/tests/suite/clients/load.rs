//! Programs that measure servers, as witnesses: none of many requests may fail, on any kind of connection.

use super::{HOST, Program, World, both, mirror};
use crate::support::{Directory, Origin};

/// The number behind `name:` in what was written.
fn number(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name))
        .unwrap_or_else(|| panic!("{name} {text}"));
    line.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{name} {text}"))
}

/// HTTP/1.0: one request on each connection, and with keep-alive many.
#[test]
fn ab_fails_at_nothing() {
    let origin = mirror();
    let world = World::plain(&origin);
    let (host, url) = (format!("Host: {HOST}"), format!("http://{}/", world.front.http));
    let files = Directory::new();
    let body = files.file("body");
    std::fs::write(&body, vec![b'x'; 20_000]).unwrap();
    for (flags, kept) in [
        (&[][..], false),
        (&["-k"], true),
        (&["-k", "-i"], true),
        (&["-k", "-p", body.to_str().unwrap(), "-T", "text/plain"], true),
    ] {
        let text = Program::debian("ab", "apache2-utils")
            .args(&["-q", "-n", "400", "-c", "8", "-H", &host])
            .args(flags)
            .args(&[&url])
            .well();
        assert_eq!(number(&text, "Complete requests:"), 400, "{flags:?}: {text}");
        assert_eq!(number(&text, "Failed requests:"), 0, "{flags:?}: {text}");
        assert!(!text.contains("Non-2xx"), "{flags:?}: {text}");
        if kept {
            assert_eq!(number(&text, "Keep-Alive requests:"), 400, "{flags:?}: {text}");
        }
    }
}

#[test]
fn wrk_fails_at_nothing() {
    let origin = Origin::named("served");
    let world = World::plain(&origin);
    for (address, scheme) in [(world.front.http, "http"), (world.front.https, "https")] {
        let (host, url) = (format!("Host: {HOST}"), format!("{scheme}://{address}/"));
        let arguments = ["-t1", "-c16", "-d1s", "-H", &host, &url];
        let text = Program::debian("wrk", "wrk").args(&arguments).well();
        assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
        let line = text.lines().find(|line| line.contains(" requests in ")).expect("a count");
        assert!(number(line, "") > 100, "{text}");
    }
}

#[test]
#[ignore = "long: needs the package nghttp2-client"]
fn h2load_fails_at_nothing() {
    let origin = Origin::named("served");
    let world = World::plain(&origin);
    let (http, https) = (world.front.http, world.front.https);
    // `--h1` with more than one request at a time is pipelining.
    for (address, scheme, flags) in [
        (http, "http", &["--h1", "-m", "1"][..]),
        (http, "http", &["--h1", "-m", "10"]),
        (http, "http", &["-m", "10"]),
        (https, "https", &["--h1", "-m", "10"]),
        (https, "https", &["-m", "1"]),
        (https, "https", &["-m", "100"]),
    ] {
        let to = format!("--connect-to={address}");
        let url = format!("{scheme}://{HOST}/");
        let arguments = ["-n", "3000", "-c", "8", &to];
        let text =
            Program::debian("h2load", "nghttp2-client").args(&arguments).args(flags).args(&[&url]).well();
        let all = "3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(text.contains(all), "{scheme} {flags:?}: {text}");
        assert!(text.contains("status codes: 3000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{scheme} {flags:?}: {text}");
    }
}

/// It checks what a server sends frame by frame, and says so.
#[test]
#[ignore = "long: needs the package nghttp2-client"]
fn nghttp_finds_no_fault() {
    let origin = mirror();
    let world = World::plain(&origin);
    let files = Directory::new();
    let body = files.file("body");
    std::fs::write(&body, vec![b'x'; 200_000]).unwrap();
    let authority = format!(":authority: {HOST}");
    let file = body.to_str().unwrap();
    for (scheme, address) in [("http", world.front.http), ("https", world.front.https)] {
        let url = format!("{scheme}://{address}/a?b");
        // Its flow control, its padding and the trailers that it sends do not get in anybody's way.
        for flags in [
            &[][..],
            &["-m", "20"],
            &["-d", file],
            &["-d", file, "--expect-continue"],
            &["-d", file, "--trailer", "x-sum: 7", "-b", "200"],
            &["-w", "10", "-W", "12"],
            &["-H", ":method: HEAD"],
            &["-H", ":method: OPTIONS"],
        ] {
            let output = Program::debian("nghttp", "nghttp2-client")
                .args(&["-v", "--no-dep", "-y", "-H", &authority])
                .args(flags)
                .args(&[&url])
                .run();
            let text = both(&output);
            assert!(output.status.success(), "{scheme} {flags:?}: {text}");
            let answers = text.matches(":status: 200").count();
            let asked = if flags.contains(&"-m") { 20 } else { 1 };
            assert_eq!(answers, asked, "{scheme} {flags:?}: {text:.4000}");
            for wrong in ["RST_STREAM", "[ERROR]", "[INVALID", "Some requests were not processed"] {
                assert!(!text.contains(wrong), "{scheme} {flags:?}: {text:.4000}");
            }
            if flags.contains(&"-d") {
                assert!(text.contains("POST /a?b HTTP/1.1"), "{scheme} {flags:?}: {text:.4000}");
            }
        }
    }
}

/// The upgrade of HTTP/1.1 to HTTP/2 was taken out of the standard (RFC 9113 §3.1), and is passed over here.
#[test]
#[ignore = "long: needs the package nghttp2-client"]
fn nghttp_gets_no_upgrade() {
    let origin = mirror();
    let world = World::plain(&origin);
    let (authority, url) = (format!(":authority: {HOST}"), format!("http://{}/", world.front.http));
    let output =
        Program::debian("nghttp", "nghttp2-client").args(&["-v", "-u", "-H", &authority, &url]).run();
    let text = both(&output);
    assert!(text.contains("HTTP Upgrade failed") && !text.contains("101 Switching"), "{text}");
}
