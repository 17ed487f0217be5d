//! Registries that mean harm: endless answers, and addresses that are not theirs. Needs root.

mod common;

use apron_images::content::{Content, ContentError};
use apron_images::manifest::{CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE};
use apron_images::registry::{Registry, RegistryConfig, RegistryError};
use apron_model::ids::Digest;
use common::Scratch;
use common::server::{Heads, http, in_namespaces, path, serve, serve_at};
use std::fs;
use std::io::Write;
use std::net::TcpStream;

const PRIVATE: &str = "10.77.0.1";
const LINK_LOCAL: &str = "169.254.77.1";
const SECRET: &str = "an internal page";

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn registry() -> Registry {
    Registry::new(RegistryConfig::default())
}

fn endless(stream: &mut TcpStream, status: &str) {
    // Its end is that of the connection, so no length warns of it.
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
    let piece = vec![b' '; 1 << 20];
    let mut going_on = stream.write_all(head.as_bytes()).is_ok();
    while going_on {
        going_on = stream.write_all(&piece).is_ok();
    }
}

fn unauthorized(challenge: &str) -> String {
    http("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
}

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn endless_answers() {
    let (port, _) = serve_at("127.0.0.1", |head, stream| match path(head) {
        path if path.contains("/manifest/") => endless(stream, "200 OK"),
        path if path.contains("/error/") => endless(stream, "500 Internal Server Error"),
        path if path.starts_with("/token") => endless(stream, "200 OK"),
        _ => {
            let port = stream.local_addr().unwrap().port();
            let challenge = format!("Bearer realm=\"http://127.0.0.1:{port}/token\"");
            let _ = stream.write_all(unauthorized(&challenge).as_bytes());
        }
    });
    let resolve =
        |name: &str| run(registry().resolve(&format!("127.0.0.1:{port}/{name}/web:1"))).unwrap_err();
    let error = resolve("manifest");
    assert!(error.permanent() && error.to_string().contains("more than 8192 KiB"), "{error}");
    let error = resolve("error");
    assert!(!error.permanent() && error.to_string().contains("500"), "{error}");
    let error = resolve("token");
    assert!(error.permanent() && error.to_string().contains("more than 256 KiB"), "{error}");
    assert!(peak_mib() < 128, "{} MiB", peak_mib());
}

/// A trap at each of these addresses, which must stay empty.
fn traps() -> Vec<(String, Heads)> {
    [PRIVATE, LINK_LOCAL]
        .map(|address| {
            let (port, heads) = serve_at(address, |_, stream| {
                let _ = stream.write_all(http("403 Forbidden", "", SECRET).as_bytes());
            });
            (format!("http://{address}:{port}/"), heads)
        })
        .into()
}

#[test]
fn a_registry_that_sends_us_where_it_is_not() {
    in_namespaces(&[PRIVATE, LINK_LOCAL], || {
        for (trap, heads) in traps() {
            let target = trap.clone();
            let (port, own) = serve(move |path| match path {
                path if path.contains("/realm/") => {
                    unauthorized(&format!("Bearer realm=\"{target}\",service=\"x\""))
                }
                path if path.contains("/page/") => {
                    unauthorized("Bearer realm=\"http://127.0.0.1:1/x\", Basic realm=x")
                        .replace("127.0.0.1:1/x", "[::ffff:10.77.0.1]:80/")
                }
                _ => http("307 Temporary Redirect", &format!("Location: {target}\r\n"), ""),
            });
            for name in ["realm", "page", "redirect"] {
                let error = run(registry().resolve(&format!("127.0.0.1:{port}/{name}/web:1"))).unwrap_err();
                let text = error.to_string();
                assert!(error.permanent() && text.contains("it sends us to "), "{name}: {text}");
                assert!(!text.contains(SECRET), "{text}");
            }
            assert_eq!(own.lock().unwrap().len(), 3);
            assert_eq!(*heads.lock().unwrap(), [""; 0], "{trap} was asked");
        }
    });
}

/// A registry of a private network may have its service for tokens there, but not on this machine.
#[test]
fn a_registry_of_a_private_network() {
    in_namespaces(&[PRIVATE], || {
        let (tokens, heads) = serve_at(PRIVATE, |_, stream| {
            let _ = stream.write_all(http("403 Forbidden", "", SECRET).as_bytes());
        });
        let (here, trapped) = serve(|_| http("403 Forbidden", "", SECRET));
        let (port, _) = serve_at(PRIVATE, move |head, stream| {
            let realm = match path(head).contains("/near/") {
                true => format!("http://{PRIVATE}:{tokens}/token?a=b"),
                false => format!("http://localhost:{here}/token"),
            };
            let _ = stream
                .write_all(unauthorized(&format!("Bearer realm=\"{realm}\",service=\"s&t\"")).as_bytes());
        });
        let host = format!("{PRIVATE}:{port}");
        let registry =
            Registry::new(RegistryConfig { plain_http: vec![host.clone()], ..RegistryConfig::default() });
        let error = run(registry.resolve(&format!("{host}/near/web:1"))).unwrap_err();
        // What a service for tokens answers is nobody's to read.
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
        assert!(!error.to_string().contains(SECRET), "{error}");
        let asked = heads.lock().unwrap().join("");
        assert!(asked.contains("/token?a=b&service=s%26t&scope=repository%3Anear%2Fweb%3Apull "), "{asked}");
        let error = run(registry.resolve(&format!("{host}/far/web:1"))).unwrap_err();
        assert!(error.permanent() && error.to_string().contains("this machine"), "{error}");
        assert_eq!(*trapped.lock().unwrap(), [""; 0]);
    });
}

/// A manifest with one layer that is said to have so many bytes.
fn manifest(layer_bytes: u64) -> String {
    let digest = |c: &str| format!("sha256:{}", c.repeat(64));
    serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "layers": [{"mediaType": LAYER_TYPE, "digest": digest("a"), "size": layer_bytes}],
        "config": {"mediaType": CONFIG_TYPE, "digest": digest("b"), "size": 21}})
    .to_string()
}

/// A disk of 100 MiB of which so many are free; it goes with the namespace.
fn small_disk(scratch: &Scratch, free_mib: usize) {
    let options = Some("size=100m");
    nix::mount::mount(Some("tmpfs"), &scratch.0, Some("tmpfs"), nix::mount::MsFlags::empty(), options)
        .unwrap();
    fs::write(scratch.join("filler"), vec![1; (100 - free_mib) << 20]).unwrap();
}

#[test]
fn an_image_that_the_disk_has_no_room_for() {
    let scratch = Scratch::new();
    in_namespaces(&[], || {
        small_disk(&scratch, 34);
        let content = Content::open(scratch.join("content")).unwrap();
        let (port, heads) = serve(|path| match path {
            path if path.contains("/large/") => http("200 OK", "", &manifest(33 << 30)),
            path => {
                assert!(path.contains("/manifests/"), "{path}");
                http("200 OK", "", &manifest(31 << 20))
            }
        });
        let pull = |name: &str| {
            run(registry().pull(&format!("127.0.0.1:{port}/{name}/web:1"), &content)).unwrap_err()
        };
        let error = pull("large");
        assert!(
            error.permanent() && error.to_string().contains("33792 MiB together; at most 32768"),
            "{error}"
        );
        let error = pull("some");
        assert!(!error.permanent(), "{error}");
        let text = error.to_string();
        assert!(text.contains("MiB free, 32 MiB more are needed, and 4 MiB must stay free"), "{text}");
        assert_eq!(heads.lock().unwrap().len(), 2, "no blob was asked for");

        // Who does not say how much it will be is stopped on the way.
        let mut writer = content.writer().unwrap();
        let piece = vec![7; 1 << 20];
        let stopped = (0..34).find_map(|_| writer.write_all(&piece).err()).unwrap();
        let error = content.written(stopped);
        assert!(matches!(&error, ContentError::NoRoom(_)), "{error}");
        assert!(error.to_string().contains("MiB free, and 4 MiB must stay free"), "{error}");
        drop(writer);
        assert!(!content.has(&Digest::new(format!("sha256:{}", "a".repeat(64)))));
        content.put(b"there is room again").unwrap();
    });
}
