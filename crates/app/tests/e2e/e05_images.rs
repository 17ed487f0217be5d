//! Point 5: images from an archive and from a real registry. Needs root.

use crate::support::{Platform, eventually, http, image};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn an_imported_archive_serves() {
    let platform = Platform::start();
    let archive = image::archive(&platform.scratch("image"), "hello:1", &[("TEXT", "from an archive")]);
    let imported = platform.run(&["image", "import", archive.to_str().unwrap()]);
    assert!(imported.contains("hello:1"), "{imported}");
    platform.run(&["deploy", "hello:1", "--name", "hello"]);
    assert_eq!(http::get(&platform.apps, &platform.alias("hello"), "/").unwrap().body, "from an archive");
}

/// Debian's registry on a free port, ended with the test.
struct Registry {
    child: Child,
    host: String,
}

impl Registry {
    fn start(dir: &Path) -> Registry {
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
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.host).unwrap();
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

#[test]
fn an_image_of_a_registry_serves_and_a_new_one_takes_over() {
    let platform = Platform::start();
    let dir = platform.scratch("registry");
    let registry = Registry::start(&dir);
    let push_for = |text: &str, tag: &str, architecture: &str| {
        let image = image::oci(&dir, &[("TEXT", text)], architecture);
        for (digest, content) in [&image.layer, &image.config] {
            registry.push_blob("team/app", digest, content);
        }
        let media = "application/vnd.oci.image.manifest.v1+json";
        let answer = registry.send("PUT", &format!("/v2/team/app/manifests/{tag}"), media, &image.manifest);
        assert!(answer.contains(" 201 "), "{answer}");
    };
    let push = |text: &str| push_for(text, "latest", "amd64");
    push("first");
    let reference = format!("{}/team/app:latest", registry.host);
    platform.run(&["deploy", &reference, "--name", "app"]);
    let get = || http::get(&platform.apps, &platform.alias("app"), "/").unwrap().body;
    assert_eq!(get(), "first");
    push("second");
    let began = Instant::now();
    platform.run(&["deploy", &reference, "--name", "app"]);
    println!("deployment of a new image: {:?}", began.elapsed());
    assert_eq!(get(), "second");

    let said = platform.refused(&["deploy", &format!("{}/team/none:1", registry.host), "--name", "none"]);
    assert!(said.contains("team/none") && said.contains("not"), "{said}");

    // Another architecture's image is told from its configuration, before anything runs.
    push_for("foreign", "foreign", "s390x");
    let said =
        platform.refused(&["deploy", &format!("{}/team/app:foreign", registry.host), "--name", "foreign"]);
    println!("{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("s390x") && last.contains("amd64"), "{said}");
    assert_eq!(get(), "second");
}
