//! *Bad input gets a clear error and nothing is lost*: each case by hand, as a person would meet it. Needs root.

use crate::support::mounted::Mounted;
use crate::support::platform::{new_directory, remove, serve_refused};
use crate::support::{Options, Platform, http, image};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The whole last line of each: the file, the place in it, what was found and what was expected.
#[test]
fn sources_that_cannot_be_built() {
    let platform = Platform::start();
    let dir = platform.scratch("source");
    let check = |source: &str, name: &str, expected: &str| {
        let said = platform.refused(&["deploy", source, "--name", name]);
        assert_eq!(said.lines().last(), Some(expected), "{said}");
    };
    fs::write(dir.join("app.py"), "").unwrap();
    let file = dir.join("apprunner.yaml").display().to_string();
    for (manifest, expected) in [
        (
            "version: 1.0\nruntime: python311\nrun: [\n",
            format!("{file}: line 3, column 6: not valid YAML: this `[` is not closed; expected `]`"),
        ),
        (
            "version: 1.0\nbuild:\n  commands:\n    build: [\"true\"]\nrun:\n  command: x\n",
            format!("{file}: line 1, column 1: runtime is missing; add `runtime: python311`"),
        ),
        (
            "version: 1.0\nruntime: python311\nbuild:\n  commands:\n    build: 7\nrun:\n  command: x\n",
            format!(
                "{file}: line 5, column 12: build.commands.build: expected a list of commands, found a single value; \
                 write each command as `- command`"
            ),
        ),
        (
            "version: 1.0\nruntime: python3111\nbuild:\n  commands:\n    build: [\"true\"]\nrun:\n  command: x\n",
            "'bad' was not created ('apron rm bad' takes away what is left): apprunner.yaml: line 2, column 10: runtime \
             \"python3111\" is not known here; known runtimes: nodejs18, python3, python311; did you mean python311?"
                .to_owned(),
        ),
    ] {
        fs::write(dir.join("apprunner.yaml"), manifest).unwrap();
        check(dir.to_str().unwrap(), "bad", &format!("apron: {expected}"));
    }
    check(
        "/nonexistent/directory",
        "bad2",
        "apron: the directory '/nonexistent/directory' does not exist; give a directory, a git URL or an image",
    );
    let absent = format!("file://{}", platform.scratch("absent").join("repository.git").display());
    let expected = format!(
        "apron: 'bad3' was not created ('apron rm bad3' takes away what is left): the repository {absent} does not \
         exist on this machine"
    );
    check(&absent, "bad3", &expected);
    // Where the operator allowed nothing, it is not even looked at.
    check(
        "file:///nonexistent/repository.git",
        "bad4",
        "apron: 'bad4' was not created ('apron rm bad4' takes away what is left): \
         file:///nonexistent/repository.git lies in none of the directories that `--source-root` or \
         `source_roots` in the configuration allows",
    );
}

/// Seconds from the beginning to the end of a service's newest operation, by the platform's clock.
fn operation_s(platform: &Platform, service: &str) -> f64 {
    let services = platform.aws(&["list-services"])["ServiceSummaryList"].clone();
    let row = services.as_array().unwrap().iter().find(|row| row["ServiceName"] == service).unwrap().clone();
    let operation = platform.aws_operation(row["ServiceArn"].as_str().unwrap(), Duration::from_secs(5));
    // Different versions of the CLI show times differently.
    let at = |name: &str| match &operation[name] {
        Value::String(text) => text.parse::<jiff::Timestamp>().unwrap().as_millisecond() as f64 / 1000.0,
        number => number.as_f64().unwrap(),
    };
    at("EndedAt") - at("StartedAt")
}

#[test]
fn images_that_do_not_serve_say_why_at_once() {
    let platform = Platform::start();
    let dir = platform.scratch("image");
    let import = |name: &str, env: &[(&str, &str)], command: &[&str]| {
        let archive = image::archive_of(&dir, name, env, "amd64", command);
        platform.run(&["image", "import", archive.to_str().unwrap()]);
    };
    let refused = |image: &str, name: &str| platform.refused(&["deploy", image, "--name", name]);

    import("missing:1", &[], &["/no/such/program"]);
    let said = refused("missing:1", "missing");
    assert!(said.contains("'/no/such/program' not found"), "{said}");
    let took = operation_s(&platform, "missing");
    println!("{}; the operation took {took} s", said.trim());
    assert!(took < 2.0, "{took} s");

    // The same of a service that serves: neither its version nor a request is lost.
    platform.import("serves:1", &[]);
    platform.run(&["deploy", "serves:1", "--name", "missing"]);
    let said = refused("missing:1", "missing");
    assert!(said.contains("'/no/such/program' not found"), "{said}");
    assert!(operation_s(&platform, "missing") < 2.0, "{}", operation_s(&platform, "missing"));
    assert_eq!(http::get(&platform.apps, &platform.alias("missing"), "/").unwrap().status, 200);

    import("exits:1", &[("MODE", "exit")], &["/server"]);
    let said = refused("exits:1", "exits");
    assert!(said.contains("exit code: 3") && said.contains("cannot find the database"), "{said}");

    let archive = image::archive_of(&dir, "foreign:1", &[], "s390x", &["/server"]);
    let said = platform.refused(&["image", "import", archive.to_str().unwrap()]);
    assert!(said.contains("s390x") && said.contains("amd64"), "{said}");

    let said = refused("127.0.0.1:1/nothing/here:1", "nowhere");
    assert!(said.contains("127.0.0.1:1/nothing/here:1"), "{said}");
    let garbage = platform.scratch("garbage").join("garbage.tar");
    fs::write(&garbage, "no archive").unwrap();
    let said = platform.refused(&["image", "import", garbage.to_str().unwrap()]);
    assert!(said.contains("not an image archive") && said.contains("docker save"), "{said}");
    let said = platform.refused(&["image", "import", "/nonexistent.tar"]);
    assert!(said.contains("/nonexistent.tar"), "{said}");
}

/// While it is waited for, in the status; at the end, as the reason.
#[test]
fn a_port_that_nobody_listens_on_is_explained() {
    const HINT: &str = "listening on 8000, expected 8080";
    let platform = Platform::start();
    platform.import("elsewhere:1", &[("MODE", "elsewhere"), ("LISTEN", "8000")]);
    platform.import("loopback:1", &[("MODE", "loopback")]);
    std::thread::scope(|scope| {
        let elsewhere = scope.spawn(|| platform.refused(&["deploy", "elsewhere:1", "--name", "elsewhere"]));
        let loopback = scope.spawn(|| platform.refused(&["deploy", "loopback:1", "--name", "loopback"]));
        crate::support::eventually(Duration::from_secs(20), "the hint", || {
            let output = platform.apron(&["status", "elsewhere"]);
            let status = String::from_utf8_lossy(&output.stdout).into_owned();
            if status.contains(HINT) { Ok(()) } else { Err(status) }
        });
        // The operation did not end with it: an application may need its time.
        let status = platform.run(&["status", "elsewhere"]);
        assert!(status.contains("IN_PROGRESS"), "{status}");
        for (said, hint) in [(elsewhere.join().unwrap(), HINT), (loopback.join().unwrap(), "127.0.0.1")] {
            let last = said.lines().last().unwrap_or_default();
            println!("{last}");
            assert!(last.starts_with("apron: ") && last.contains(hint), "{said}");
        }
        for service in ["elsewhere", "loopback"] {
            let took = operation_s(&platform, service);
            assert!(took < 60.0, "{service}: {took} s");
        }
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

#[test]
fn a_full_disk_is_said_at_the_start() {
    let small = Mounted::disk(64);
    let said = serve_refused(&small.path().join("data"), &["--api", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert!(said.contains("is full: 64 MiB are free, a new platform needs 256"), "{said}");
    assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0, "something was made before it was refused");
}

/// Takes all the space that is left; gives the file that has it.
fn filled(disk: &Mounted) -> PathBuf {
    let ballast = disk.path().join("ballast");
    let filled =
        Command::new("dd").args(["if=/dev/zero", "bs=1M"]).arg(format!("of={}", ballast.display())).output();
    assert!(!filled.unwrap().status.success(), "the disk was to be full");
    ballast
}

/// What was refused for want of space works once there is some.
#[test]
fn a_disk_that_fills_up_is_said_and_survived() {
    let disk = Mounted::disk(600);
    let platform = Platform::in_directory(disk.path().join("data"), Options::standard());
    let archive = image::archive(&new_directory(), "late:1", &[]);
    let ballast = filled(&disk);
    let said = platform.refused(&["image", "import", archive.to_str().unwrap()]);
    let said = said.to_lowercase();
    assert!(["full", "no space"].iter().any(|sign| said.contains(sign)), "{said}");
    fs::remove_file(ballast).unwrap();
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    platform.run(&["deploy", "late:1", "--name", "late"]);
    assert_eq!(http::get(&platform.apps, &platform.alias("late"), "/").unwrap().status, 200);
    remove(archive.parent().unwrap());
}

/// A version that cannot start for want of space is given up with the reason; what serves goes on serving.
#[test]
fn a_deployment_onto_a_full_disk_says_so() {
    let disk = Mounted::disk(600);
    let platform = Platform::in_directory(disk.path().join("data"), Options::standard());
    platform.import("first:1", &[("TEXT", "first")]);
    platform.import("second:1", &[("TEXT", "second")]);
    platform.run(&["deploy", "first:1", "--name", "site"]);
    let get = || http::get(&platform.apps, &platform.alias("site"), "/").unwrap().body;
    let ballast = filled(&disk);
    let output = platform.apron(&["deploy", "second:1", "--name", "site"]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{}: {said}", output.status);
    assert!(!output.status.success(), "{said}");
    let last = said.lines().last().unwrap_or_default().to_lowercase();
    assert!(["full", "no space"].iter().any(|sign| last.contains(sign)), "{said}");
    assert_eq!(get(), "first");
    fs::remove_file(ballast).unwrap();
    platform.run(&["deploy", "second:1", "--name", "site"]);
    assert_eq!(get(), "second");
}

/// There is room for rows and logs, and none for the image's layer: the reason comes after some tries.
#[test]
fn a_layer_that_does_not_fit_is_told() {
    let disk = Mounted::disk(600);
    let platform = Platform::in_directory(disk.path().join("data"), Options::standard());
    platform.import("large:1", &[]);
    let ballast = filled(&disk);
    let room = fs::metadata(&ballast).unwrap().len() - (3 << 20);
    fs::File::options().write(true).open(&ballast).unwrap().set_len(room).unwrap();
    let said = platform.refused(&["deploy", "large:1", "--name", "large"]);
    println!("{said}");
    let last = said.lines().last().unwrap_or_default().to_lowercase();
    assert!(last.contains("is full: ") && last.contains("mib free; a start needs"), "{said}");
    fs::remove_file(ballast).unwrap();
    let took = operation_s(&platform, "large");
    assert!(took < 60.0, "{took} s");
    platform.run(&["rm", "large"]);
    platform.run(&["deploy", "large:1", "--name", "large"]);
    assert_eq!(http::get(&platform.apps, &platform.alias("large"), "/").unwrap().status, 200);
}

/// Runs a shell line in a mount namespace of its own, then `apron serve`, which must refuse with one line.
fn serve_refused_after(line: &str, data: &Path) -> String {
    let line = format!(
        "{line} && exec \"$0\" serve --data-dir \"$1\" --api 127.0.0.1:0 --http 127.0.0.1:0 --https off"
    );
    let output = Command::new("timeout")
        .args(["--signal=KILL", "30", "unshare", "--mount", "sh", "-c", &line, crate::support::APRON])
        .arg(data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    println!("{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("apron: ")).count(), 1, "{said}");
    said
}

#[test]
fn a_host_without_control_groups_or_overlays_is_told() {
    let dir = new_directory();
    let said = serve_refused_after("umount --lazy --recursive /sys/fs/cgroup", &dir.join("data"));
    assert!(said.contains("no usable cgroup hierarchy") && !dir.join("data").exists(), "{said}");
    // An overlay cannot lie on an overlay.
    let layers = ["lower", "upper", "work", "merged"].map(|name| dir.join(name));
    layers.iter().for_each(|layer| fs::create_dir(layer).unwrap());
    let at = dir.display();
    let mount = format!(
        "mount -t overlay -o lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work none {at}/merged"
    );
    let said = serve_refused_after(&mount, &dir.join("merged/data"));
    assert!(said.contains("overlayfs refuses its file system") && said.contains("--data-dir"), "{said}");
    remove(&dir);
}
