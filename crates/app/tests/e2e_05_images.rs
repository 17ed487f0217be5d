//! Points 5, 6 and 9: images from an archive and from a registry, run in real containers. Needs root.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Platform, eventually, http, image};

#[test]
fn an_imported_archive_serves_in_a_confined_container() {
    let platform = Platform::start();
    let archive = image::archive(&platform.scratch("image"), "hello:1", &[("FROM_IMAGE", "yes")]);
    let imported = platform.run(&["image", "import", archive.to_str().unwrap()]);
    assert!(imported.contains("hello:1"), "{imported}");
    let said = platform.run(&["deploy", "hello:1", "--name", "hello", "--env", "FROM_ME=also"]);
    let url = said.lines().last().unwrap_or_default();
    assert!(
        url.starts_with("http") && url.contains(".us-east-1.apron.localhost:"),
        "the last line is the URL: {said}"
    );

    let get = |path: &str| http::get(&platform.apps, &platform.alias("hello"), path).unwrap();
    assert_eq!(get("/").body, "hello");
    let env = get("/env").body;
    for expected in [
        "PORT=8080",
        "AWS_REGION=us-east-1",
        "AWS_DEFAULT_REGION=us-east-1",
        "AWS_EXECUTION_ENV=AWS_ECS_FARGATE",
        "APRON_SERVICE=hello",
        "APRON_REVISION=1",
        "FROM_IMAGE=yes",
        "FROM_ME=also",
    ] {
        assert!(env.lines().any(|l| l == expected), "{expected} is missing in\n{env}");
    }
    let status = get("/status").body;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("NoNewPrivs:"), "1");
    let capabilities = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
    assert_eq!(
        capabilities & (1 << 21 | 1 << 12 | 1 << 19),
        0,
        "SYS_ADMIN, NET_ADMIN or SYS_PTRACE are there"
    );
    let map = status.lines().find(|l| l.split_ascii_whitespace().count() == 3 && l.trim().ends_with("65536"));
    let base: u32 = map.expect("a uid_map").split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(base >= 65_536, "root in the container is {base} outside");
    assert!(!status.contains(&*platform.data.to_string_lossy()) || status.contains("overlay"), "{status}");

    let headers = get("/headers").body.to_ascii_lowercase();
    for name in ["x-forwarded-for:", "x-forwarded-proto: http", "x-request-id:"] {
        assert!(headers.contains(name), "{name} is missing in\n{headers}");
    }
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
    let push = |text: &str| {
        let image = image::oci(&dir, &[("TEXT", text)]);
        for (digest, content) in [&image.layer, &image.config] {
            registry.push_blob("team/app", digest, content);
        }
        let media = "application/vnd.oci.image.manifest.v1+json";
        let answer = registry.send("PUT", "/v2/team/app/manifests/latest", media, &image.manifest);
        assert!(answer.contains(" 201 "), "{answer}");
    };
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
}

#[test]
fn pause_resume_logs_and_rm_by_hand() {
    let platform = Platform::start();
    let archive = image::archive(&platform.scratch("image"), "web:1", &[]);
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    platform.run(&["deploy", "web:1", "--name", "web", "--cpu", "0.25 vCPU", "--memory", "0.5 GB"]);
    let status = || http::get(&platform.apps, &platform.alias("web"), "/print").unwrap().status;
    assert_eq!(status(), 200);
    assert!(platform.run(&["ls"]).contains("web"), "ls");
    assert!(platform.run(&["status", "web"]).contains("RUNNING"), "status");
    eventually(Duration::from_secs(10), "the application's output", || {
        let logs = platform.run(&["logs", "web"]);
        if logs.contains("a line of output") { Ok(()) } else { Err(logs) }
    });
    platform.run(&["pause", "web"]);
    assert_eq!(status(), 503);
    assert!(platform.run(&["status", "web"]).contains("PAUSED"), "status");
    platform.run(&["resume", "web"]);
    assert_eq!(status(), 200);
    platform.run(&["rm", "web"]);
    assert_eq!(status(), 404);
    assert!(!platform.run(&["ls"]).contains("web"), "ls");
    assert!(platform.run(&["version"]).starts_with("apron "), "version");
}
