//! Python: its own server of files as an application, which speaks HTTP/1.0 and closes; the library websockets on both
//! sides; and gRPC on both sides, whose C core is that of most languages.

use super::{HOST, Program, World};
use crate::support::{Directory, nobody};
use apron_model::routes::{AppProtocol, RoutePolicy};
use std::net::SocketAddr;

/// Asks for a path, and gives head and body apart.
fn ask(address: SocketAddr, arguments: &[&str], path: &str) -> (String, Vec<u8>) {
    let (to, url) = (format!("::{address}"), format!("http://{HOST}{path}"));
    let output = Program::debian("curl", "curl")
        .args(&["-q", "-sS", "-i", "--max-time", "20", "--connect-to", &to])
        .args(arguments)
        .args(&[&url])
        .run();
    assert!(output.status.success(), "{}", super::both(&output));
    let end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = output.stdout.split_at(end);
    (String::from_utf8(head.to_vec()).unwrap().to_lowercase(), body.to_vec())
}

#[test]
fn an_application_of_http_1_0_that_closes_is_served() {
    let files = Directory::new();
    let large: Vec<u8> = (0..=250u8).cycle().take(5_000_001).collect();
    std::fs::write(files.file("large.bin"), &large).unwrap();
    std::fs::write(files.file("a b.txt"), "text").unwrap();
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let mut server = Program::debian("python3", "python3")
            .args(&["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--protocol", version])
            .args(&["--directory", files.0.to_str().unwrap()])
            .start();
        let line = server.line();
        let port = line.split_whitespace().skip_while(|word| *word != "port").nth(1);
        let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        let origin = SocketAddr::from(([127, 0, 0, 1], port));
        let world = World::new(&[(HOST, origin, RoutePolicy::default())]);
        let http = world.front.http;

        for protocol in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
            let (head, body) = ask(http, &[protocol], "/large.bin");
            assert!(body == large, "{version} {protocol}: {} bytes after {head}", body.len());
            assert!(
                head.contains("server: simplehttp/") && head.contains("content-length: 5000001"),
                "{head}"
            );
            assert_eq!(ask(http, &[protocol], "/a%20b.txt?c=d").1, b"text", "{version} {protocol}");
            let listing = String::from_utf8(ask(http, &[protocol], "/").1).unwrap();
            assert!(listing.contains("a%20b.txt"), "{version} {protocol}: {listing}");
            let (head, body) = ask(http, &[protocol, "-I"], "/large.bin");
            assert!(
                head.contains("content-length: 5000001") && body.is_empty(),
                "{version} {protocol}: {head}"
            );
            // What it does not know it says itself, and not the proxy.
            for (more, path, status) in [(&[][..], "/none", "404"), (&["-X", "BREW"], "/", "501")] {
                let (head, _) = ask(http, &[&[protocol], more].concat(), path);
                assert!(head.lines().next().unwrap().contains(status), "{version} {protocol}: {head}");
                assert!(!head.contains("x-apron-cause"), "{version} {protocol}: {head}");
            }
        }
        let since = ["-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"];
        let (head, body) = ask(http, &since, "/large.bin");
        assert!(head.starts_with("http/1.1 304 ") && body.is_empty(), "{version}: {head}");
        // The client's connection stays although each of the application's ends.
        let url = format!("http://{HOST}/a%20b.txt?[1-5]");
        let to = format!("::{http}");
        let text = Program::debian("curl", "curl")
            .args(&["-q", "-sS", "-o", "/dev/null", "--connect-to", &to, "-w", "%{num_connects}", &url])
            .well();
        assert_eq!(text, "10000", "{version}");
        // Its queue of connections is five long.
        let (host, url) = (format!("Host: {HOST}"), format!("http://{http}/a%20b.txt"));
        let text = Program::debian("ab", "apache2-utils")
            .args(&["-q", "-k", "-n", "200", "-c", "4", "-H", &host, &url])
            .well();
        assert!(!text.contains("Non-2xx"), "{version}: {text}");
        for line in ["Complete requests:      200\n", "Failed requests:        0\n"] {
            assert!(text.contains(line), "{version}: {text}");
        }
    }
}

/// An application of a script here, and the port that it says first.
fn application(script: &str) -> (super::Background, SocketAddr) {
    let mut server = Program::python(script).args(&["serve"]).start();
    let port: u16 = server.line().parse().expect("a port");
    (server, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[test]
#[ignore = "long: needs the library websockets from PyPI"]
fn the_library_websockets_finds_no_fault() {
    let (_server, origin) = application("websocket.py");
    let world = World::new(&[(HOST, origin, RoutePolicy::default())]);
    let (http, https) = (world.front.http, world.front.https);
    for (address, authority) in [(http, None), (https, Some(world.authority()))] {
        let address = address.to_string();
        let arguments = [&["ask", HOST, &address][..], authority.as_slice()].concat();
        assert_eq!(Program::python("websocket.py").args(&arguments).well(), "all is well\n");
    }
}

#[test]
#[ignore = "long: needs the library grpcio from PyPI"]
fn the_library_grpcio_finds_no_fault() {
    let (_server, origin) = application("calls.py");
    let policy = || RoutePolicy { app_protocol: AppProtocol::H2c, ..RoutePolicy::default() };
    let dead = "dead.apron.localhost";
    let world = World::new(&[(HOST, origin, policy()), (dead, nobody(), policy())]);
    let (http, https) = (world.front.http, world.front.https);
    for (address, authority) in [(http, None), (https, Some(world.authority()))] {
        let address = address.to_string();
        let arguments = [&["ask", HOST, dead, &address][..], authority.as_slice()].concat();
        assert_eq!(Program::python("calls.py").args(&arguments).well(), "all is well\n");
    }
}
