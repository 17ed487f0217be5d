//! Point 7: hosts, headers and bodies through the proxy, and what a new version does to requests. Needs root.

use crate::support::processes::Seen;
use crate::support::{APRON, Options, Platform, http};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn hosts_and_headers() {
    let platform = Platform::start();
    for name in ["red", "blue"] {
        platform.import(&format!("{name}:1"), &[("TEXT", name)]);
        platform.run(&["deploy", &format!("{name}:1"), "--name", name]);
    }
    let services = platform.aws(&["list-services"])["ServiceSummaryList"].clone();
    for name in ["red", "blue"] {
        let service = services.as_array().unwrap().iter().find(|s| s["ServiceName"] == name).unwrap();
        let url = service["ServiceUrl"].as_str().unwrap();
        let host = url.split(':').next().unwrap();
        let (label, rest) = host.split_once('.').unwrap();
        assert_eq!((label.len(), rest), (10, "us-east-1.apron.localhost"), "{host}");
        for host in [host.to_owned(), host.to_uppercase(), format!("{host}:80"), platform.alias(name)] {
            let answer = http::get(&platform.apps, &host, "/").unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, name), "{host}");
        }
    }
    for host in ["nobody.apron.localhost", "apron.localhost", "red.apron.localhost.example.com", "127.0.0.1"]
    {
        let answer = http::get(&platform.apps, host, "/").unwrap();
        assert_eq!(answer.status, 404, "{host}: {}", answer.body);
        assert!(answer.head.to_ascii_lowercase().contains("x-apron-cause:"), "{}", answer.head);
    }

    let host = platform.alias("red");
    let with = |headers: &str| {
        let text = format!("GET /headers HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
        http::request(&platform.apps, &text).unwrap()
    };
    let value = |answer: &http::Answer, name: &str| {
        let lower = answer.body.to_ascii_lowercase();
        let values: Vec<&str> =
            lower.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect();
        assert_eq!(values.len(), 1, "{name} in\n{}", answer.body);
        values[0].trim().to_owned()
    };
    let plain = with("");
    assert_eq!(value(&plain, "host"), host);
    assert_eq!(value(&plain, "x-forwarded-proto"), "http");
    assert_eq!(value(&plain, "x-forwarded-for"), "127.0.0.1");
    let (first, second) = (value(&plain, "x-request-id"), value(&with(""), "x-request-id"));
    assert!(first.len() >= 16 && first != second, "{first}, {second}");
    let hostile = with("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n");
    assert_eq!(value(&hostile, "x-forwarded-proto"), "http", "a client cannot say that it came by TLS");
    assert!(value(&hostile, "x-forwarded-for").ends_with("127.0.0.1"), "{}", hostile.body);
}

/// As a person's client does it: the URL of the API, the platform's own authority as the only root.
#[test]
fn https_of_every_region_by_the_platforms_authority() {
    let platform = Platform::start();
    platform.import("secure:1", &[("TEXT", "secure")]);
    let source =
        r#"{"ImageRepository": {"ImageIdentifier": "secure:1", "ImageRepositoryType": "ECR_PUBLIC"}}"#;
    let authority = platform.data.join("proxy/tls/ca.pem");
    for region in ["us-east-1", "eu-west-1"] {
        let of = ["--region", region];
        let create = ["create-service", "--service-name", "secure", "--source-configuration", source];
        let created = platform.aws(&[&of[..], &create].concat());
        let arn = created["Service"]["ServiceArn"].as_str().unwrap().to_owned();
        let url = created["Service"]["ServiceUrl"].as_str().unwrap().to_owned();
        let (host, port) = url.split_once(':').expect("a port that is not 443");
        assert!(host.ends_with(&format!(".{region}.apron.localhost")), "{url}");
        crate::support::eventually(Duration::from_secs(60), "the service", || {
            let described = platform.aws(&[&of[..], &["describe-service", "--service-arn", &arn]].concat());
            let status = described["Service"]["Status"].to_string();
            if status == "\"RUNNING\"" { Ok(()) } else { Err(status) }
        });
        let ask = |more: &[&str]| {
            let asked = Command::new("curl")
                .args([
                    "--silent",
                    "--show-error",
                    "--noproxy",
                    "*",
                    "--max-time",
                    "20",
                    "--capath",
                    "/nonexistent",
                ])
                .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
                .args(more)
                .arg(format!("https://{url}/headers"))
                .output()
                .expect("curl is installed: run scripts/test, which installs it");
            (
                asked.status.code(),
                String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned(),
            )
        };
        let (code, said) = ask(&["--cacert", authority.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.to_ascii_lowercase().contains("x-forwarded-proto: https"), "{said}");
        // 60: the certificate is of nobody whom the client knows.
        let (code, said) = ask(&[]);
        assert_eq!(code, Some(60), "{said}");
    }
    // What people are given to trust is what the proxy made, for this domain and no other.
    let root = std::fs::read_to_string(&authority).unwrap();
    assert_eq!(platform.run(&["trust"]).trim_end(), root.trim_end());
    let other = platform.apron(&["trust", "--apps-domain", "example.com"]);
    assert!(!other.status.success() && other.stdout.is_empty());
}

/// Reads until what came holds the text.
fn read_until(stream: &mut TcpStream, came: &mut String, text: &str) {
    let mut piece = [0; 4096];
    while !came.contains(text) {
        let length = stream.read(&mut piece).unwrap_or_else(|error| panic!("{error} after {came:?}"));
        assert!(length > 0, "the connection ended after {came:?}");
        came.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

#[test]
fn bodies_stream_both_ways() {
    let platform = Platform::start();
    platform.import("stream:1", &[]);
    platform.run(&["deploy", "stream:1", "--name", "stream"]);
    let host = platform.alias("stream");
    let connect = || {
        let stream = TcpStream::connect(&platform.apps).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };

    // Down: the first piece is here before the second is sent.
    let mut down = connect();
    write!(down, "GET /held HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut came = String::new();
    read_until(&mut down, &mut came, "before");
    assert_eq!(http::get(&platform.apps, &host, "/release").unwrap().body, "released");
    read_until(&mut down, &mut came, "after");

    // Up: the echo of the first piece is here before the second is sent.
    let mut up = connect();
    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    up.write_all(head.as_bytes()).unwrap();
    let mut came = String::new();
    for piece in ["early", "later"] {
        write!(up, "5\r\n{piece}\r\n").unwrap();
        read_until(&mut up, &mut came, piece);
    }
    up.write_all(b"0\r\n\r\n").unwrap();
    read_until(&mut up, &mut came, "0\r\n\r\n");
    assert!(came.starts_with("HTTP/1.1 200"), "{came}");

    // 32 MiB of known length there and back, while being read: no buffer holds it whole.
    const BYTES: usize = 32 << 20;
    let mut large = connect();
    write!(
        large,
        "POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut sending = large.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let piece = vec![b'x'; 1 << 20];
        (0..BYTES >> 20).try_for_each(|_| sending.write_all(&piece))
    });
    let mut back = Vec::new();
    large.read_to_end(&mut back).unwrap();
    sender.join().unwrap().unwrap();
    assert_eq!(back.iter().filter(|byte| **byte == b'x').count(), BYTES);
}

/// The proxy of now, and the file in which it counts.
fn counting(platform: &Platform) -> (Seen, u64) {
    let proxy = platform.process("proxy");
    let record = std::fs::read(platform.data.join("run/proxy.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let path = format!("/proc/{}/fd/{}", proxy.pid, record["counts"]);
    (proxy, std::fs::metadata(&path).unwrap_or_else(|error| panic!("{path}: {error}")).ino())
}

/// An application that takes one request at a time gets one at a time, also of a proxy and of the one that relieves it;
/// and what a killed one had there is not counted for ever.
#[test]
fn requests_in_flight_are_counted_over_proxies() {
    let mut platform = Platform::with(Options { ephemeral: false, ..Options::standard() });
    platform.import("single:1", &[]);
    let scaling = platform.aws(&[
        "create-auto-scaling-configuration",
        "--auto-scaling-configuration-name",
        "single",
        "--max-concurrency",
        "1",
        "--max-size",
        "1",
    ]);
    let created = platform.aws(&[
        "create-service",
        "--service-name",
        "single",
        "--source-configuration",
        r#"{"ImageRepository": {"ImageIdentifier": "single:1", "ImageRepositoryType": "ECR"}}"#,
        "--auto-scaling-configuration-arn",
        scaling["AutoScalingConfiguration"]["AutoScalingConfigurationArn"].as_str().unwrap(),
        "--tags",
        "Key=apron:concurrency-hard,Value=1",
    ]);
    let arn = created["Service"]["ServiceArn"].as_str().unwrap();
    platform.aws_service(arn, "RUNNING", Duration::from_secs(60));
    let (apps, host) = (platform.apps.clone(), platform.alias("single"));
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(&apps).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let hold = || {
        let mut held = ask("/held");
        let mut came = String::new();
        read_until(&mut held, &mut came, "before");
        (held, came)
    };
    let waits = |stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let kind = stream.peek(&mut [0]).map_err(|error| error.kind());
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        kind == Err(ErrorKind::WouldBlock)
    };

    let _lost = hold();
    let first = ask("/");
    assert!(waits(&first), "the place is taken");
    let (killed, counts) = counting(&platform);
    killed.kill();
    assert_eq!(http::get(&apps, &host, "/").unwrap().body, "hello");
    let (old, of_old) = counting(&platform);
    assert!(old != killed && of_old == counts, "the next one counts elsewhere");

    let (mut held, mut came) = hold();
    let mut before = ask("/");
    assert!(waits(&before));
    platform.stop(libc::SIGKILL);
    platform.serve();
    let (new, of_new) = counting(&platform);
    assert!(old.alive() && new != old && of_new == counts, "the next one counts elsewhere");
    // Until the old one accepts no more.
    std::thread::sleep(Duration::from_secs(1));
    let mut after = ask("/");
    assert!(waits(&after) && waits(&before), "a second request beside the first one");
    platform.application("single").signal(libc::SIGUSR1);
    read_until(&mut held, &mut came, "after");
    for stream in [&mut before, &mut after] {
        let mut came = String::new();
        read_until(stream, &mut came, "hello");
        assert!(came.starts_with("HTTP/1.1 200"), "{came}");
    }
    old.wait_gone(Duration::from_secs(45));
}

/// Blue to green under load, then a green that does not come up.
#[test]
fn a_new_version_takes_over_without_a_lost_request_and_a_broken_one_never_does() {
    let platform = Platform::start();
    for text in ["blue", "green"] {
        platform.import(&format!("{text}:1"), &[("TEXT", text)]);
    }
    platform.import("broken:1", &[("MODE", "exit")]);
    platform.run(&["deploy", "blue:1", "--name", "site"]);
    let host = platform.alias("site");
    let get = || http::get(&platform.apps, &host, "/").unwrap().body;
    http::under_load(&platform.apps, &host, || {
        std::thread::sleep(Duration::from_secs(2));
        for text in ["green", "blue", "green"] {
            platform.run(&["deploy", &format!("{text}:1"), "--name", "site"]);
            assert_eq!(get(), text, "a deployment has ended when its version answers");
            std::thread::sleep(Duration::from_secs(2));
        }
        let said = platform.apron(&["deploy", "broken:1", "--name", "site"]);
        let err = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(1), "{err}");
        let last = err.lines().last().unwrap_or_default();
        println!("the last line: {last}");
        assert!(last.contains("exit code: 3") && last.contains("cannot find the database"), "{err}");
        assert!(last.contains("the version before it serves on"), "{err}");
    });
    assert_eq!(get(), "green");

    let arn =
        platform.aws(&["list-services"])["ServiceSummaryList"][0]["ServiceArn"].as_str().unwrap().to_owned();
    let operation = platform.aws_operation(&arn, Duration::from_secs(10));
    assert_eq!(
        (operation["Type"].as_str(), operation["Status"].as_str()),
        (Some("UPDATE_SERVICE"), Some("ROLLBACK_SUCCEEDED"))
    );
    assert_eq!(platform.aws_service(&arn, "RUNNING", Duration::from_secs(5))["ServiceName"], "site");
    let reason = "cannot find the database";
    let status = platform.run(&["status", "site"]);
    let failure =
        status.lines().find(|line| line.starts_with("failure")).unwrap_or_else(|| panic!("{status}"));
    assert!(failure.contains(reason) && failure.contains("exit code: 3"), "{status}");
    for stream in ["--events", "--deployment"] {
        let log = platform.run(&["logs", "site", stream]);
        assert!(log.contains(reason), "{stream}: {log}");
    }
}

/// What a person can get wrong at a command line is said, and takes nothing from who is there already.
#[test]
fn a_proxy_alone_says_what_is_wrong() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    let notes = std::env::temp_dir().join(format!("apron-notes-{}", std::process::id()));
    std::fs::write(&notes, "notes").unwrap();
    let notes_path = notes.to_str().unwrap();
    let said = |arguments: &[&str]| {
        let output = Command::new(APRON).arg("proxy").args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let route = ["--static-route", "a.test=127.0.0.1:1"];
    let with = |more: &[&str]| said(&[&route, more].concat());
    assert!(said(&[]).contains("alone it runs with --static-route and --http"));
    assert!(with(&["--http", "80"]).contains("expected an address with a port, like 0.0.0.0:80"));
    assert!(with(&["--http", &taken]).contains(&format!("--http: {taken} is in use by ")));
    let twice = with(&["--http", free, "--static-route", "A.test=127.0.0.1:2"]);
    assert!(twice.contains("a.test stands twice"), "{twice}");
    let wildcard = said(&["--static-route", "*.test=127.0.0.1:1", "--http", free]);
    assert!(wildcard.contains("a name without port or wildcard"), "{wildcard}");
    let admin = with(&["--http", free, "--admin", notes_path]);
    assert!(admin.contains(notes_path) && admin.contains("something else than a socket"), "{admin}");
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "notes");
    std::fs::remove_file(notes).unwrap();
}
