//! Against a real registry: Debian's docker-registry, on loopback, with its files in a scratch directory.

mod common;

use apron_images::content::Content;
use apron_images::manifest::{
    CONFIG_TYPE, Descriptor, INDEX_TYPE, ImageManifest, LAYER_TYPE, MANIFEST_TYPE, host_architecture,
};
use apron_images::registry::{Registry, RegistryConfig, RegistryError};
use apron_model::ids::Digest;
use common::{Scratch, Tar};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
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
