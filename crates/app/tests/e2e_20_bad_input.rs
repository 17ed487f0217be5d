//! *Bad input gets a clear error and nothing is lost*: each case by hand, as a person would meet it. Needs root.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use support::platform::{new_directory, serve_refused};
use support::{Options, Platform, http, image};

#[test]
fn sources_that_cannot_be_built() {
    let platform = Platform::start();
    let dir = platform.scratch("source");
    let refused = |manifest: &str| {
        fs::write(dir.join("apprunner.yaml"), manifest).unwrap();
        platform.refused(&["deploy", dir.to_str().unwrap(), "--name", "bad"])
    };
    fs::write(dir.join("app.py"), "").unwrap();
    let said = refused("version: 1.0\nruntime: python311\nrun: [\n");
    assert!(said.contains("apprunner.yaml") && said.contains("line 4"), "broken YAML: {said}");
    let said = refused("version: 1.0\nbuild:\n  commands:\n    build: [\"true\"]\nrun:\n  command: x\n");
    assert!(said.contains("runtime"), "a missing key: {said}");
    let said =
        refused("version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build: 7\nrun:\n  command: x\n");
    assert!(said.contains("line 5"), "a wrong type: {said}");
    let said = refused(
        "version: 1.0\nruntime: python3111\nbuild:\n  commands:\n    build: [\"true\"]\nrun:\n  command: x\n",
    );
    assert!(
        said.contains("line 2, column 10: runtime \"python3111\"")
            && said.contains("nodejs18, python3, python311"),
        "{said}"
    );
    let said = platform.refused(&["deploy", "/nonexistent/directory", "--name", "bad2"]);
    assert!(said.contains("/nonexistent/directory"), "{said}");
    let said = platform.refused(&["deploy", "file:///nonexistent/repository.git", "--name", "bad3"]);
    assert!(said.contains("/nonexistent/repository.git"), "{said}");
}

#[test]
fn images_that_do_not_serve_say_why_at_once() {
    let platform = Platform::start();
    let dir = platform.scratch("image");
    let import = |name: &str, env: &[(&str, &str)], command: &[&str]| {
        let archive = image::archive_of(&dir, name, env, "amd64", command);
        platform.run(&["image", "import", archive.to_str().unwrap()]);
    };
    let refused = |image: &str, name: &str, within: Duration| {
        let began = Instant::now();
        let said = platform.refused(&["deploy", image, "--name", name]);
        assert!(began.elapsed() < within, "{image}: after {:?}: {said}", began.elapsed());
        said
    };
    let soon = Duration::from_secs(5);

    import("missing:1", &[], &["/no/such/program"]);
    let said = refused("missing:1", "missing", soon);
    assert!(said.contains("/no/such/program"), "{said}");

    import("exits:1", &[("MODE", "exit")], &["/server"]);
    let said = refused("exits:1", "exits", soon);
    assert!(said.contains('3') && said.contains("cannot find the database"), "{said}");

    let archive = image::archive_of(&dir, "foreign:1", &[], "s390x", &["/server"]);
    let said = platform.refused(&["image", "import", archive.to_str().unwrap()]);
    assert!(said.contains("s390x") && said.contains("amd64"), "{said}");

    let said = refused("127.0.0.1:1/nothing/here:1", "nowhere", Duration::from_secs(30));
    assert!(said.contains("127.0.0.1:1/nothing/here:1"), "{said}");
    let said = platform.refused(&["image", "import", "/nonexistent.tar"]);
    assert!(said.contains("/nonexistent.tar"), "{said}");
}

/// The ports are looked at for as long as a service may take to become healthy, but the reason shows at once.
#[test]
fn a_port_that_nobody_listens_on_is_explained() {
    let platform = Platform::start();
    let dir = platform.scratch("image");
    let archive = image::archive(&dir, "elsewhere:1", &[("MODE", "elsewhere"), ("LISTEN", "8000")]);
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    let source =
        r#"{"ImageRepository": {"ImageIdentifier": "elsewhere:1", "ImageRepositoryType": "ECR_PUBLIC"}}"#;
    platform.aws(&["create-service", "--service-name", "elsewhere", "--source-configuration", source]);
    support::eventually(Duration::from_secs(20), "the hint", || {
        let status = platform.run(&["status", "elsewhere"]);
        if status.contains("listening on 8000, expected 8080") { Ok(()) } else { Err(status) }
    });
}

#[test]
fn what_was_refused_changes_nothing() {
    let platform = Platform::start();
    let dir = platform.scratch("image");
    let import = |name: &str, env: &[(&str, &str)]| {
        let archive = image::archive(&dir, name, env);
        platform.run(&["image", "import", archive.to_str().unwrap()]);
    };
    import("good:1", &[]);
    import("bad:1", &[("MODE", "exit")]);
    platform.run(&["deploy", "good:1", "--name", "site"]);
    let load = http::Load::start(&platform.apps, &platform.alias("site"), 1);
    platform.refused(&["deploy", "bad:1", "--name", "site"]);
    let (count, failures) = load.stop();
    assert!(failures.is_empty(), "{} of {count} requests failed: {failures:#?}", failures.len());
    // The wish is the old one again: one more deployment of what serves succeeds.
    platform.run(&["deploy", "good:1", "--name", "site"]);
    assert_eq!(http::get(&platform.apps, &platform.alias("site"), "/").unwrap().status, 200);
}

/// A file system of a fixed size below a directory, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn of(mib: u64) -> Disk {
        let path = new_directory().join("disk");
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={mib}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status();
        assert!(mounted.unwrap().success());
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

#[test]
fn a_full_disk_is_said_at_the_start() {
    let small = Disk::of(64);
    let said = serve_refused(&small.0.join("data"), &["--api", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert!(said.contains("is full: ") && said.contains("MiB are free"), "{said}");
}

/// What was refused for want of space works once there is some.
#[test]
fn a_disk_that_fills_up_is_said_and_survived() {
    let disk = Disk::of(600);
    let platform = Platform::in_directory(disk.0.join("data"), Options::standard());
    let archive = image::archive(&new_directory(), "late:1", &[]);
    let ballast = disk.0.join("ballast");
    let filled =
        Command::new("dd").args(["if=/dev/zero", "bs=1M"]).arg(format!("of={}", ballast.display())).output();
    assert!(!filled.unwrap().status.success(), "the disk was to be full");
    let said = platform.refused(&["image", "import", archive.to_str().unwrap()]);
    let said = said.to_lowercase();
    assert!(["full", "no space"].iter().any(|sign| said.contains(sign)), "{said}");
    fs::remove_file(ballast).unwrap();
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    platform.run(&["deploy", "late:1", "--name", "late"]);
    assert_eq!(http::get(&platform.apps, &platform.alias("late"), "/").unwrap().status, 200);
    let _ = archive.parent().map(fs::remove_dir_all);
}
