//! The proxy as processes: signals, drains, and one that takes over from another on the same sockets.

use crate::support::{Directory, Origin, PATIENCE, Wire, eventually, listeners};
use apron_proxy::{Config, Listeners, Source, Tls};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOST: &str = "app.localhost";

/// A proxy process; killed at the end if it still runs.
pub(crate) struct Process(Child);

impl Process {
    /// One with a fixed route.
    fn start(origin: SocketAddr, sockets: &[OwnedFd], extra: &[&str], listen_flag: &str) -> Process {
        let list =
            (10..).take(sockets.len()).map(|number: i32| number.to_string()).collect::<Vec<_>>().join(",");
        let route = format!("{HOST}={origin}");
        Process::with(&[&["--static-route", &route, listen_flag, &list], extra].concat(), sockets)
    }

    /// Gives it copies of the descriptors as 10, 11 …, which the arguments name, and waits until it accepts.
    pub(crate) fn with<'a>(
        arguments: &[&str],
        descriptors: impl IntoIterator<Item = &'a OwnedFd>,
    ) -> Process {
        let mut pairs: Vec<(i32, i32)> = descriptors.into_iter().map(AsRawFd::as_raw_fd).zip(10..).collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::proxy_process", "--nocapture"]);
        command.env(ARGUMENTS, arguments.join(" ")).stdout(Stdio::piped());
        // SAFETY: between fork and exec only dup2 and fcntl are called, which are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                let made = |number: i32| match number {
                    0.. => Ok(number),
                    _ => Err(std::io::Error::last_os_error()),
                };
                // Out of the way first: one may have the number that another one is to get.
                let above = pairs.iter().map(|(_, to)| to + 1).max().unwrap_or(0);
                for (from, _) in &mut pairs {
                    *from = made(libc::fcntl(*from, libc::F_DUPFD_CLOEXEC, above))?;
                }
                pairs.iter().try_for_each(|(from, to)| made(libc::dup2(*from, *to)).map(drop))
            });
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == READY), "the proxy ended at its start");
        Process(child)
    }

    fn terminate(&self) {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.0.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        )
        .unwrap();
    }

    /// The exit code, which must come in time.
    fn wait(mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the proxy does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes this test binary a proxy process; words with spaces between them.
const ARGUMENTS: &str = "APRON_TEST_PROXY";
const READY: &str = "the proxy accepts";

/// No test: what `Process` runs. Ends in order after SIGTERM.
#[test]
fn proxy_process() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let mut config = Config::fixed(Vec::new());
    let mut listeners = Listeners { http: Vec::new(), https: Vec::new(), counts: None };
    let (mut routes, mut directory) = (Vec::new(), None);
    let mut words = arguments.split(' ');
    while let Some(flag) = words.next() {
        let value = words.next().unwrap();
        match flag {
            "--static-route" => routes.push(value.parse().unwrap()),
            "--http-fds" => listeners.http = descriptors(value),
            "--https-fds" => listeners.https = descriptors(value),
            "--counts-fd" => listeners.counts = descriptors(value).pop(),
            "--control" => directory = Some(std::path::Path::new(value)),
            "--tls" => {
                let (apps_domain, regions) = ("apron.localhost".into(), vec!["us-east-1".into()]);
                config.tls = Some(Tls { directory: value.into(), apps_domain, regions });
            }
            "--connections-per-address" => config.connections_per_address_max = value.parse().unwrap(),
            "--drain-ms" => config.drain_ms = value.parse().unwrap(),
            _ => panic!("unknown flag {flag}"),
        }
    }
    config.source = match directory {
        Some(at) => Source::Control { socket: at.join("control.sock"), saved: at.join("routes.json") },
        None => Source::Static { routes },
    };
    // The harness may have begun a line.
    apron_proxy::run(config, listeners, || println!("\n{READY}"), || ()).unwrap();
}

fn descriptors(list: &str) -> Vec<OwnedFd> {
    // SAFETY: `Process::start` passes open descriptors that nothing else in this process uses.
    list.split(',').map(|number| unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) }).collect()
}

#[test]
fn proxies_take_over_from_one_another_under_load_and_nothing_is_lost() {
    let origin = Origin::named("a");
    let (sockets, address) = listeners("127.0.0.1", 2);
    replace_under_load(address, 500, || Process::start(origin.address, &sockets, &[], "--http-fds"));
}

/// Five times one proxy takes over from another, after so many requests each, which must all be answered with "a".
pub(crate) fn replace_under_load(address: SocketAddr, requests: usize, mut start: impl FnMut() -> Process) {
    let mut current = start();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Half of the clients keep their connection as long as they may, half open one per request.
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut client = Wire::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    let (head, body) = client.get(HOST, "/");
                    assert_eq!((head.status(), body.as_str()), (200, "a"));
                    answered.fetch_add(1, Ordering::SeqCst);
                    if number % 2 == 0 || head.get("connection") == Some("close") {
                        client = Wire::connect(address);
                    }
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let before = answered.load(Ordering::SeqCst);
        eventually("some load", || answered.load(Ordering::SeqCst) > before + requests);
        let next = start();
        current.terminate();
        assert_eq!(current.wait(), Some(0));
        current = next;
    }
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn a_drain_lets_requests_end_and_closes_sleeping_connections() {
    let origin = Origin::answering(|head, wire| {
        if head.target() == "/slow" {
            std::thread::sleep(Duration::from_millis(700));
        }
        wire.ok("done");
    });
    let (sockets, address) = listeners("127.0.0.1", 1);
    let proxy = Process::start(origin.address, &sockets, &[], "--http-fds");
    let mut sleeping = Wire::connect(address);
    sleeping.get(HOST, "/");
    let mut silent = Wire::connect(address);
    let mut slow = Wire::connect(address);
    slow.send("GET /slow HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    proxy.terminate();
    let head = slow.head().unwrap();
    assert_eq!((head.status(), head.get("connection")), (200, Some("close")));
    assert_eq!(slow.body(&head), b"done");
    assert!(slow.closed() && sleeping.closed() && silent.closed());
    assert_eq!(proxy.wait(), Some(0));
}

#[test]
fn a_request_that_does_not_end_is_cut_when_the_drain_time_is_up() {
    let origin = Origin::answering(|_, wire| {
        wire.closed();
    });
    let (sockets, address) = listeners("127.0.0.1", 1);
    let proxy = Process::start(origin.address, &sockets, &["--drain-ms", "300"], "--http-fds");
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(client.closed());
}

/// A client that trusts the local authority, by HTTP/2 and by HTTP/1.1.
#[tokio::test]
async fn https_is_served_with_the_local_authority_s_certificate() {
    use rustls::pki_types::pem::PemObject;
    let origin = Origin::answering(|head, wire| wire.ok(head.get("x-forwarded-proto").unwrap()));
    let directory = Directory::new();
    let tls = directory.file("tls");
    let arguments = ["--tls", tls.to_str().unwrap(), "--static-route", "x.apron.localhost=127.0.0.1:1"];
    let (first, _) = listeners("127.0.0.1", 1);
    drop(Process::start(origin.address, &first, &arguments, "--https-fds"));
    let authority = std::fs::read(tls.join("ca.pem")).unwrap();
    let certificate = std::fs::read(tls.join("apps.pem")).unwrap();
    let (second, address) = listeners("127.0.0.1", 1);
    let [route, abroad] =
        ["us-east-1", "eu-west-1"].map(|region| format!("web.{region}.apron.localhost={}", origin.address));
    let _proxy = Process::start(
        origin.address,
        &second,
        &["--tls", tls.to_str().unwrap(), "--static-route", &route, "--static-route", &abroad],
        "--https-fds",
    );
    assert_eq!(std::fs::read(tls.join("ca.pem")).unwrap(), authority, "the authority is kept");
    assert_eq!(std::fs::read(tls.join("apps.pem")).unwrap(), certificate, "so is the certificate");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(tls.join("ca.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for (protocol, region) in [(&b"h2"[..], "us-east-1"), (b"http/1.1", "us-east-1"), (b"h2", "eu-west-1")] {
        let name = format!("web.{region}.apron.localhost");
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name.clone().try_into().unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        let io = hyper_util::rt::TokioIo::new(stream);
        let request = http::Request::get(format!("https://{name}/")).header("host", &name);
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let response = if protocol == b"h2" {
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(response.status(), 200);
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(body, "https");
    }
}
