//! Debian's registry, which tests push images to.

use super::image::Oci;
use super::{eventually, http};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A registry on a free port, ended with the test.
pub struct Registry {
    child: Child,
    /// `host:port`, as it stands in names of images.
    pub host: String,
}

impl Registry {
    /// Keeps what is pushed in this directory.
    pub fn start(dir: &Path) -> Registry {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = dir.join("registry.yml");
        let root = dir.join("storage");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
                 http:\n  addr: {host}\n",
                root.display()
            ),
        )
        .unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed: run scripts/test, which installs it");
        let registry = Registry { child, host };
        eventually(Duration::from_secs(10), "the registry", || {
            http::get(&registry.host, &registry.host, "/v2/").map_err(|e| e.to_string())
        });
        registry
    }

    pub fn push(&self, repository: &str, tag: &str, image: &Oci) {
        for (digest, content) in [&image.layer, &image.config] {
            self.push_blob(repository, digest, content);
        }
        let media = "application/vnd.oci.image.manifest.v1+json";
        let answer = self.send("PUT", &format!("/v2/{repository}/manifests/{tag}"), media, &image.manifest);
        assert!(answer.contains(" 201 "), "{answer}");
    }

    /// Pushes one blob in a single request.
    fn push_blob(&self, repository: &str, digest: &str, content: &[u8]) {
        let start = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        let location = start
            .lines()
            .find_map(|l| l.strip_prefix("Location: ").or(l.strip_prefix("location: ")))
            .unwrap_or_else(|| panic!("no upload location: {start}"))
            .trim()
            .to_owned();
        let path = location.split_once(&self.host).map_or(location.as_str(), |(_, path)| path);
        let separator = if path.contains('?') { '&' } else { '?' };
        let answer = self.send(
            "PUT",
            &format!("{path}{separator}digest={digest}"),
            "application/octet-stream",
            content,
        );
        assert!(answer.contains(" 201 "), "{answer}");
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
