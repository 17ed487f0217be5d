//! TLS between real clients and the proxy: which certificate, version and protocol, sessions that go on, files that
//! are replaced, and what becomes of requests without TLS.

use crate::support::{Control, Directory, Origin, PATIENCE, Wire, eventually, listeners, table};
use apron_model::routes::{HttpsPolicy, RouteState};
use apron_proxy::{CertificateFiles, Config, Listeners, PairFiles, Proxy, StaticRoute};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// A proxy of two loops that listens for both.
pub(crate) struct Front {
    proxy: Option<Proxy>,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
}

impl Front {
    pub(crate) fn start(mut config: Config) -> Front {
        let [(http, http_address), (https, https_address)] = [(); 2].map(|()| listeners("127.0.0.1", 2));
        config.drain_ms = 1_000;
        config.https_port = Some(https_address.port());
        let proxy = Proxy::start(config, Listeners { http, https, counts: None }).unwrap();
        Front { proxy: Some(proxy), http: http_address, https: https_address }
    }

    /// With fixed routes to one origin.
    fn fixed(hosts: &[&str], origin: &Origin, certificates: CertificateFiles) -> Front {
        let route = |host: &&str| -> StaticRoute { format!("{host}={}", origin.address).parse().unwrap() };
        let mut config = Config::fixed(hosts.iter().map(route).collect());
        config.certificates = certificates;
        Front::start(config)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
    }
}

/// A certificate that signs itself, and its key.
struct Pair {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    fn new(names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let der = made.cert.der().clone();
        Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem(), der }
    }

    /// Writes the files `NAME.pem` and `NAME.key`.
    fn put(&self, directory: &Path, name: &str) {
        replace(&directory.join(format!("{name}.pem")), &self.certificate);
        replace(&directory.join(format!("{name}.key")), &self.key);
    }
}

/// One certificate for all hosts, that signs itself.
pub(crate) fn one_pair(directory: &Directory) -> CertificateFiles {
    Pair::new(&["app.localhost"]).put(&directory.0, "all");
    CertificateFiles { directory: None, pair: for_all(directory, "all") }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_file_name(".new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn directory(directory: &Directory) -> CertificateFiles {
    CertificateFiles { directory: Some(directory.0.clone()), pair: None }
}

/// For every host; what has files of its own has those.
fn for_all(directory: &Directory, name: &str) -> Option<PairFiles> {
    let file = |extension: &str| directory.file(&format!("{name}.{extension}"));
    Some(PairFiles { certificate: file("pem"), key: file("key") })
}

/// A client of these versions that trusts these certificates.
fn client(
    versions: &[&'static SupportedProtocolVersion],
    trusted: &[&CertificateDer<'static>],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|der| roots.add((*der).clone()).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// What a client has seen of a connection with one request.
struct Seen {
    text: String,
    certificate: CertificateDer<'static>,
    kind: HandshakeKind,
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One request on a connection of its own; an error is one of the handshake.
fn ask(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    host: &str,
    path: &str,
) -> Result<Seen, std::io::Error> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connection = ClientConnection::new(config.clone(), name).unwrap();
    let mut stream = StreamOwned::new(connection, connect(address));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    // Whether the end is said politely does not matter here.
    let _ = stream.read_to_end(&mut text);
    Ok(Seen {
        text: String::from_utf8(text).unwrap(),
        certificate: stream.conn.peer_certificates().unwrap()[0].clone(),
        kind: stream.conn.handshake_kind().unwrap(),
    })
}

#[test]
fn each_host_gets_the_certificate_that_names_it() {
    let (origin, files, elsewhere) = (Origin::named("a"), Directory::new(), Directory::new());
    let (wide, exact, other) =
        (Pair::new(&["*.example.com"]), Pair::new(&["www.example.com"]), Pair::new(&["other.test"]));
    wide.put(&files.0, "wide");
    exact.put(&files.0, "exact");
    other.put(&elsewhere.0, "all");
    let certificates = CertificateFiles { pair: for_all(&elsewhere, "all"), ..directory(&files) };
    let front = Front::fixed(&["www.example.com", "shop.example.com", "other.test"], &origin, certificates);
    let config = Arc::new(client(&[&TLS13], &[&wide.der, &exact.der, &other.der]));
    for (host, expect) in [("WWW.example.com", &exact), ("shop.example.com", &wide), ("other.test", &other)] {
        let seen = ask(front.https, &config, host, "/").unwrap();
        assert_eq!(seen.certificate, expect.der, "{host}");
        assert!(
            seen.text.starts_with("HTTP/1.1 200 OK") && seen.text.ends_with("\r\n\r\na"),
            "{}",
            seen.text
        );
    }
    // Nothing names it: the client is shown what all others are, and refuses that.
    assert!(ask(front.https, &config, "a.b.example.com", "/").is_err());
}

#[test]
fn both_versions_and_both_protocols_are_spoken() {
    let (origin, files) = (Origin::named("a"), Directory::new());
    let pair = Pair::new(&["a.test"]);
    pair.put(&files.0, "all");
    let certificates = CertificateFiles { directory: None, pair: for_all(&files, "all") };
    let front = Front::fixed(&["a.test"], &origin, certificates);
    let cases: [(&[&str], Option<&str>); 5] = [
        (&["http/1.0"], Some("http/1.0")),
        (&["h2", "http/1.1"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["spdy/3", "http/1.1"], Some("http/1.1")),
        (&[], None),
    ];
    for version in [&TLS12, &TLS13] {
        for (offered, expect) in cases {
            let mut config = client(&[version], &[&pair.der]);
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut connection =
                ClientConnection::new(Arc::new(config), ServerName::try_from("a.test").unwrap()).unwrap();
            let mut stream = connect(front.https);
            while connection.is_handshaking() {
                connection.complete_io(&mut stream).unwrap();
            }
            assert_eq!(connection.protocol_version(), Some(version.version));
            assert_eq!(connection.alpn_protocol(), expect.map(str::as_bytes), "{offered:?}");
        }
    }
}

/// Whichever loop takes the next connection.
#[test]
fn a_session_goes_on_without_a_full_handshake() {
    let (origin, files) = (Origin::named("a"), Directory::new());
    let pair = Pair::new(&["a.test"]);
    pair.put(&files.0, "all");
    let certificates = CertificateFiles { directory: None, pair: for_all(&files, "all") };
    let front = Front::fixed(&["a.test"], &origin, certificates);
    for (version, tls12) in [
        (&TLS13, Tls12Resumption::Disabled),
        (&TLS12, Tls12Resumption::SessionIdOrTickets),
        (&TLS12, Tls12Resumption::SessionIdOnly),
    ] {
        let mut config = client(&[version], &[&pair.der]);
        config.resumption = Resumption::in_memory_sessions(16).tls12_resumption(tls12);
        let config = Arc::new(config);
        let kinds: Vec<HandshakeKind> =
            (0..5).map(|_| ask(front.https, &config, "a.test", "/").unwrap().kind).collect();
        let (first, further) = kinds.split_first().unwrap();
        assert_eq!(*first, HandshakeKind::Full, "{version:?} {tls12:?}");
        assert!(
            further.iter().all(|kind| *kind == HandshakeKind::Resumed),
            "{version:?} {tls12:?} {kinds:?}"
        );
    }
}

#[test]
fn replaced_files_are_served_without_a_restart_and_half_of_them_are_not() {
    let (origin, files) = (Origin::named("a"), Directory::new());
    let (old, new) = (Pair::new(&["a.test"]), Pair::new(&["a.test"]));
    old.put(&files.0, "a");
    let others = Directory::new();
    Pair::new(&["other.test"]).put(&others.0, "all");
    let certificates = CertificateFiles { pair: for_all(&others, "all"), ..directory(&files) };
    let front = Front::fixed(&["a.test"], &origin, certificates);
    let mut config = client(&[&TLS13], &[&old.der, &new.der]);
    // A session that goes on shows no certificate.
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    let shown = || ask(front.https, &config, "a.test", "/").unwrap().certificate;
    assert_eq!(shown(), old.der);
    let mut kept = StreamOwned::new(
        ClientConnection::new(config.clone(), ServerName::try_from("a.test").unwrap()).unwrap(),
        connect(front.https),
    );
    kept.conn.complete_io(&mut kept.sock).unwrap();

    replace(&files.file("a.pem"), &new.certificate);
    // Longer than the time between two looks.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(shown(), old.der, "the key is still the old one's");
    replace(&files.file("a.key"), &new.key);
    eventually("the new certificate is shown", || shown() == new.der);

    // Who is connected does not notice.
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = Vec::new();
    let _ = kept.read_to_end(&mut text);
    assert!(text.starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn keys_of_rsa_are_taken() {
    let (origin, files) = (Origin::named("a"), Directory::new());
    let extensions = "subjectAltName=DNS:rsa.test\nbasicConstraints=critical,CA:FALSE\n";
    let settings = format!("[req]\ndistinguished_name=d\nx509_extensions=e\n[d]\n[e]\n{extensions}");
    std::fs::write(files.file("settings"), settings).unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=rsa.test"])
        .arg("-config")
        .arg(files.file("settings"))
        .arg("-keyout")
        .arg(files.file("all.key"))
        .arg("-out")
        .arg(files.file("all.pem"))
        .stderr(Stdio::null())
        .status()
        .expect("openssl");
    assert!(made.success());
    let certificates = CertificateFiles { directory: None, pair: for_all(&files, "all") };
    let front = Front::fixed(&["rsa.test"], &origin, certificates);
    let der = CertificateDer::from_pem_file(files.file("all.pem")).unwrap();
    for version in [&TLS12, &TLS13] {
        let seen = ask(front.https, &Arc::new(client(&[version], &[&der])), "rsa.test", "/").unwrap();
        assert_eq!(seen.certificate, der, "{version:?}");
    }
}

#[test]
fn https_without_any_certificate_is_refused_at_the_start() {
    let (sockets, _) = listeners("127.0.0.1", 1);
    let listeners = Listeners { http: Vec::new(), https: sockets, counts: None };
    let error = Proxy::start(Config::fixed(Vec::new()), listeners).err().unwrap();
    assert!(error.to_string().contains("certificates"), "{error}");
}

/// Of control's table, so that each service has a policy of its own.
#[test]
fn requests_without_tls_are_served_redirected_or_refused() {
    let origin = Origin::answering(|head, wire| match head.target() {
        "/own" => wire
            .send("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=7\r\nContent-Length: 2\r\n\r\nok"),
        _ => wire.ok("ok"),
    });
    let (place, files, others) = (Directory::new(), Directory::new(), Directory::new());
    let (pair, other) = (Pair::new(&["*.example.com"]), Pair::new(&["redirect.test", "refuse.test"]));
    pair.put(&files.0, "example");
    other.put(&others.0, "all");
    let control = Control::listen(&place.file("control.sock"));
    let mut config = Config::control(place.file("control.sock"), place.file("routes.json"), None, 1_000);
    config.certificates = CertificateFiles { pair: for_all(&others, "all"), ..directory(&files) };
    let front = Front::start(config);
    let mut link = control.accept();
    let hosts = [
        ("auto.example.com", HttpsPolicy::Auto),
        ("auto.test", HttpsPolicy::Auto),
        ("serve.example.com", HttpsPolicy::Serve),
        ("redirect.test", HttpsPolicy::Redirect),
        ("refuse.test", HttpsPolicy::Refuse),
    ];
    let addresses = [origin.address];
    let mut routes = table(1, &hosts.map(|(host, _)| (host, RouteState::Serving, &addresses[..])));
    for (service, (_, policy)) in routes.services.iter_mut().zip(hosts) {
        service.policy.https = policy;
        service.policy.hsts = policy != HttpsPolicy::Refuse;
    }
    link.publish(routes);

    let port = front.https.port();
    for (host, expect) in [
        ("auto.example.com", 308),
        ("auto.test", 200),
        ("serve.example.com", 200),
        ("redirect.test", 308),
        ("refuse.test", 403),
    ] {
        let (head, _) = Wire::connect(front.http).get(host, "/a/b?c=d");
        assert_eq!(head.status(), expect, "{host}");
        assert_eq!(head.get("strict-transport-security"), None, "{host}");
        let location = format!("https://{host}:{port}/a/b?c=d");
        assert_eq!(head.get("location"), (expect == 308).then_some(location.as_str()), "{host}");
        let cause = head.get("x-apron-cause");
        assert_eq!(cause, (expect == 403).then_some("https_required"), "{host}");
    }
    // A method and a body change nothing; who follows sends both again.
    let mut wire = Wire::connect(front.http);
    wire.send("POST /form HTTP/1.1\r\nHost: Redirect.Test:80\r\nContent-Length: 2\r\n\r\nhi");
    let head = wire.head().unwrap();
    assert_eq!(head.status(), 308);
    assert_eq!(head.get("location"), Some(format!("https://redirect.test:{port}/form").as_str()));

    let config = Arc::new(client(&[&TLS13], &[&pair.der, &other.der]));
    for (host, path, expect) in [
        ("auto.example.com", "/", Some("max-age=31536000")),
        ("auto.example.com", "/own", Some("max-age=7")),
        ("redirect.test", "/", Some("max-age=31536000")),
        ("refuse.test", "/", None),
    ] {
        let text = ask(front.https, &config, host, path).unwrap().text.to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 200 ok"), "{host}: {text}");
        let said: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("strict-transport-security: ")).collect();
        assert_eq!(said, expect.into_iter().collect::<Vec<_>>(), "{host}{path}");
    }
}
