//! Against a real registry: Debian's docker-registry, on loopback, with its files in a scratch directory.

mod common;

use apron_images::content::Content;
use apron_images::manifest::RunDefaults;
use apron_images::manifest::{
    CONFIG_TYPE, Descriptor, INDEX_TYPE, ImageManifest, LAYER_TYPE, MANIFEST_TYPE, host_architecture,
};
use apron_images::pack;
use apron_images::registry::{Registry, RegistryConfig, RegistryError};
use apron_model::ids::Digest;
use common::server::{http, path, serve, serve_at};
use common::{Scratch, Tar};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

struct RunningRegistry {
    child: Child,
    port: u16,
    scratch: Scratch,
}

impl RunningRegistry {
    fn start(password: Option<&str>) -> RunningRegistry {
        let scratch = Scratch::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            scratch.join("store").display()
        );
        if let Some(password) = password {
            let file = scratch.join("htpasswd");
            let output = Command::new("htpasswd").args(["-Bbn", "someone", password]).output().unwrap();
            fs::write(&file, output.stdout).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
        }
        let path = scratch.join("config.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = RunningRegistry { child, port, scratch };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One HTTP request; answers with the status and the location.
    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic c29tZW9uZTpzZXNhbWU=\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.host(),
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let location =
            answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or("").to_owned();
        (status, location)
    }

    fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Content::open(self.scratch.join("pushed")).unwrap().put(bytes).unwrap();
        let (status, location) = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        assert_eq!(status, 202);
        let path = location.split_once(&self.host()).map_or(location.as_str(), |(_, path)| path);
        let (status, _) =
            self.request("PUT", &format!("{path}&digest={digest}"), "application/octet-stream", bytes);
        assert_eq!(status, 201);
        digest
    }

    fn push_manifest(&self, repository: &str, tag: &str, kind: &str, text: &[u8]) -> Digest {
        let (status, _) = self.request("PUT", &format!("/v2/{repository}/manifests/{tag}"), kind, text);
        assert_eq!(status, 201);
        Content::open(self.scratch.join("pushed")).unwrap().put(text).unwrap()
    }

    fn push_image(&self, repository: &str, tag: &str, architecture: &str) -> (Digest, u64) {
        let layers: Vec<Vec<u8>> =
            (0..6).map(|i| Tar::new().file(&format!("file-{i}"), &vec![i; 300_000]).bytes()).collect();
        let digests: Vec<Digest> = layers.iter().map(|layer| self.push_blob(repository, layer)).collect();
        let config = serde_json::json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": digests.iter().map(Digest::as_str).collect::<Vec<_>>()},
        })
        .to_string();
        let config_digest = self.push_blob(repository, config.as_bytes());
        let text = serde_json::to_vec(&ImageManifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            config: Descriptor::new(CONFIG_TYPE, config_digest, config.len() as u64),
            layers: layers
                .iter()
                .zip(digests)
                .map(|(layer, digest)| Descriptor::new(LAYER_TYPE, digest, layer.len() as u64))
                .collect(),
        })
        .unwrap();
        (self.push_manifest(repository, tag, MANIFEST_TYPE, &text), text.len() as u64)
    }
}

impl Drop for RunningRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn content(scratch: &Scratch) -> Content {
    Content::open(scratch.join("content")).unwrap()
}

#[tokio::test]
async fn images_and_lists_of_them() {
    let running = RunningRegistry::start(None);
    let registry = Registry::new(RegistryConfig::default());
    let scratch = Scratch::new();
    let content = content(&scratch);
    let (digest, size) = running.push_image("team/web", "1", host_architecture());
    let reference = format!("{}/team/web:1", running.host());
    assert_eq!(registry.resolve(&reference).await.unwrap(), digest);
    assert_eq!(registry.pull(&reference, &content).await.unwrap(), digest);
    let manifest = content.manifest(&digest).unwrap();
    assert!(manifest.layers.iter().all(|layer| content.has(&layer.digest)));
    let pinned = format!("{}/team/web@{digest}", running.host());
    assert_eq!(registry.pull(&pinned, &content).await.unwrap(), digest);

    // What was damaged on the disk is fetched again.
    let config = content.blob_path(&manifest.config.digest).unwrap();
    fs::remove_file(&config).unwrap();
    fs::write(&config, b"{}").unwrap();
    assert_eq!(registry.pull(&reference, &content).await.unwrap(), digest);
    assert_eq!(content.config(&digest).unwrap().diff_ids.len(), 6);

    let (other, other_size) = running.push_image("team/web", "s390x", "s390x");
    let entry = |digest: &Digest, size: u64, architecture: &str| {
        serde_json::json!({"mediaType": MANIFEST_TYPE, "digest": digest.as_str(), "size": size,
            "platform": {"architecture": architecture, "os": "linux"}})
    };
    let both = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX_TYPE,
        "manifests": [entry(&other, other_size, "s390x"), entry(&digest, size, host_architecture())]});
    running.push_manifest("team/web", "both", INDEX_TYPE, both.to_string().as_bytes());
    assert_eq!(registry.resolve(&format!("{}/team/web:both", running.host())).await.unwrap(), digest);

    let none = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry(&other, other_size, "s390x")]});
    running.push_manifest("team/web", "none", INDEX_TYPE, none.to_string().as_bytes());
    for tag in ["none", "s390x"] {
        let reference = format!("{}/team/web:{tag}", running.host());
        let error = registry.pull(&reference, &content).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, RegistryError::OtherPlatform { .. }), "{text}");
        assert!(
            text.contains("linux/s390x") && text.contains(host_architecture()) && error.permanent(),
            "{text}"
        );
    }

    // Names that only ECR has, through the table.
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let mirrors = BTreeMap::from([(host.to_owned(), format!("{}/team", running.host()))]);
    let mapped = Registry::new(RegistryConfig { mirrors, ..RegistryConfig::default() });
    assert_eq!(mapped.resolve(&format!("{host}/web:1")).await.unwrap(), digest);
}

#[tokio::test]
async fn every_failure_names_reference_and_registry() {
    let running = RunningRegistry::start(Some("sesame"));
    let (digest, _) = running.push_image("web", "1", host_architecture());
    let scratch = Scratch::new();
    let reference = format!("{}/web:1", running.host());
    let anonymous = Registry::new(RegistryConfig::default());
    let error = anonymous.resolve(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }) && error.permanent(), "{error}");
    assert!(error.to_string().contains(&reference) && error.to_string().contains(&running.host()), "{error}");

    let file = scratch.join("config.json");
    let text = format!(r#"{{"auths": {{"{}": {{"auth": "c29tZW9uZTpzZXNhbWU="}}}}}}"#, running.host());
    fs::write(&file, text).unwrap();
    let known =
        Registry::new(RegistryConfig { credentials: Some(file.clone()), ..RegistryConfig::default() });
    assert_eq!(known.pull(&reference, &content(&scratch)).await.unwrap(), digest);
    let error = known.resolve(&format!("{}/web:absent", running.host())).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }) && error.permanent(), "{error}");
    let error = known.resolve(&format!("{}/absent:1", running.host())).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = known.resolve(&format!("127.0.0.1:{port}/web:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }) && !error.permanent(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    let error = known.resolve("Not A Reference").await.unwrap_err();
    assert!(matches!(error, RegistryError::BadReference { .. }), "{error}");
    fs::write(&file, "{").unwrap();
    let error = known.resolve(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Credentials { .. }), "{error}");
}

/// Which image a reference means when both an import and a registry have it.
#[tokio::test]
async fn imports_and_registries() {
    let running = RunningRegistry::start(None);
    let (pushed, _) = running.push_image("team/web", "1", host_architecture());
    let registry = Registry::new(RegistryConfig::default());
    let scratch = Scratch::new();
    let content = content(&scratch);
    let imported = pack::assemble(&content, None, &[], RunDefaults::default()).unwrap();
    let named = format!("{}/team/web:1", running.host());
    for name in [named.as_str(), "web:latest", "localhost/web:1"] {
        content.name_set(name, &imported).unwrap();
    }

    // A registry that is named is asked, in a task that may change threads.
    let (one, store, reference) = (registry.clone(), content.clone(), named.clone());
    let obtained = tokio::spawn(async move { one.obtain(&reference, &store).await }).await.unwrap().unwrap();
    assert_eq!((obtained.image.clone(), obtained.line()), (pushed, None));
    for name in ["web", "web:latest", "localhost/web:1"] {
        let obtained = registry.obtain(name, &content).await.unwrap();
        assert_eq!(obtained.image, imported, "{name}");
        assert!(obtained.line().unwrap().starts_with("using the imported image "), "{name}");
    }
    let error = registry.obtain(&format!("{}/team/web:absent", running.host()), &content).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    drop(running);
    let obtained = registry.obtain(&named, &content).await.unwrap();
    let line = obtained.line().unwrap();
    assert!(obtained.image == imported && line.contains("cannot be reached"), "{line}");

    // An import that is no longer whole is as good as none.
    content.name_remove(&named).unwrap();
    let error = registry.obtain(&named, &content).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
}

/// A registry that sends its clients elsewhere for blobs, as most do: elsewhere learns no password.
#[tokio::test]
async fn credentials_stay_with_their_host() {
    let (other, heads) = serve(|_| http("200 OK", "", "these are other bytes"));
    let digest = format!("sha256:{}", "a".repeat(64));
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": [],
        "config": {"mediaType": CONFIG_TYPE, "digest": digest, "size": 21}})
    .to_string();
    let (port, own_heads) = serve_at("127.0.0.1", move |head, stream| {
        let known = head.to_lowercase().contains("authorization: basic c29tzw9uztpzzxnhbwu=\r\n");
        let answer = match path(head) {
            _ if !known => http("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", ""),
            path if path.contains("/manifests/") => http("200 OK", "", &manifest),
            _ => http("307 Temporary Redirect", &format!("Location: http://127.0.0.1:{other}/b\r\n"), ""),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let scratch = Scratch::new();
    let file = scratch.join("config.json");
    let text = format!(r#"{{"auths": {{"127.0.0.1:{port}": {{"auth": "c29tZW9uZTpzZXNhbWU="}}}}}}"#);
    fs::write(&file, text).unwrap();
    let registry = Registry::new(RegistryConfig { credentials: Some(file), ..RegistryConfig::default() });
    let content = content(&scratch);
    let error = registry.pull(&format!("127.0.0.1:{port}/web:1"), &content).await.unwrap_err();
    // Other bytes than were asked for are no weather.
    assert!(error.permanent() && error.to_string().contains(&digest), "{error}");
    let with_password = |heads: &Mutex<Vec<String>>| {
        let heads = heads.lock().unwrap();
        (heads.len(), heads.iter().filter(|head| head.to_lowercase().contains("authorization:")).count())
    };
    assert_eq!(with_password(&heads), (1, 0));
    assert!(with_password(&own_heads).1 >= 2);
    assert_eq!(fs::read_dir(scratch.join("content/blobs/sha256")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(scratch.join("content/tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_registry_that_is_broken_or_lost_in_redirects() {
    let registry = Registry::new(RegistryConfig::default());
    let (port, heads) = serve(|path| match path {
        path if path.contains("/round/") => {
            http("307 Temporary Redirect", &format!("Location: {path}\r\n"), "")
        }
        path if path.contains("/slow/") => http("429 Too Many Requests", "", ""),
        _ => http("503 Service Unavailable", "", "busy"),
    });
    let error = registry.resolve(&format!("127.0.0.1:{port}/busy/web:1")).await.unwrap_err();
    assert!(!error.permanent() && error.to_string().contains("503"), "{error}");
    let error = registry.resolve(&format!("127.0.0.1:{port}/slow/web:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooManyRequests { .. }), "{error}");
    heads.lock().unwrap().clear();
    let error = registry.resolve(&format!("127.0.0.1:{port}/round/web:1")).await.unwrap_err();
    assert!(error.permanent() && error.to_string().contains("redirect"), "{error}");
    // The manifest and ten redirects of it.
    assert_eq!(heads.lock().unwrap().len(), 11);
}

/// A token from a service, which is asked for anew when it is no longer good.
#[tokio::test]
async fn tokens_and_their_end() {
    let (port, heads) = serve_at("127.0.0.1", |head, stream| {
        let port = stream.local_addr().unwrap().port();
        let head = head.to_lowercase();
        let given = head.matches("bearer ").count();
        let answer = match path(&head) {
            path if path.starts_with("/token") => {
                assert!(head.contains("authorization: basic c29tzw9uztpzzxnhbwu="), "{head}");
                http("200 OK", "", r#"{"access_token": "good"}"#)
            }
            _ if given == 0 => {
                let challenge = format!(r#"Bearer realm="http://127.0.0.1:{port}/token",service="s""#);
                http("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), "")
            }
            _ => http("404 Not Found", "", ""),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let scratch = Scratch::new();
    let file = scratch.join("config.json");
    let text =
        format!(r#"{{"auths": {{"127.0.0.1:{port}": {{"username": "someone", "password": "sesame"}}}}}}"#);
    fs::write(&file, text).unwrap();
    let registry = Registry::new(RegistryConfig { credentials: Some(file), ..RegistryConfig::default() });
    let error = registry.resolve(&format!("127.0.0.1:{port}/web:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 3);
    assert!(heads[2].to_lowercase().contains("authorization: bearer good\r\n"), "{}", heads[2]);
}
