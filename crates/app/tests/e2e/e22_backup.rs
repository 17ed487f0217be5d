//! A backup of a running platform: everything again on an empty machine, and over a directory whose instances live.

use crate::support::platform::{new_directory, serve_refused};
use crate::support::{Options, Platform, eventually, http};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

#[path = "../../../store/tests/support/mod.rs"]
mod postgres;

const MINUTE: Duration = Duration::from_secs(60);

fn answers(platform: &Platform, service: &str, text: &str) {
    eventually(MINUTE, &format!("{service} answers {text}"), || {
        let response = http::get(&platform.apps, &platform.alias(service), "/").map_err(|e| e.to_string())?;
        if response.body == text { Ok(()) } else { Err(response.body) }
    });
}

fn deploy(platform: &Platform, service: &str, text: &str) {
    platform.import(&format!("{text}:1"), &[("TEXT", text)]);
    platform.run(&["deploy", &format!("{text}:1"), "--name", service]);
    answers(platform, service, text);
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// `apron restore` into a directory that no test's platform has yet.
fn restore(data: &Path, file: &Path, more: &[&str]) {
    let mut arguments = vec!["restore", shown(file), "--data-dir", shown(data)];
    arguments.extend(more);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_apron")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn an_empty_machine_gets_everything() {
    let kept = new_directory();
    let file = kept.join("apron.backup");
    let mut first = Platform::start();
    deploy(&first, "site", "first");
    let load = http::Load::start(&first.apps, &first.alias("site"), 1);
    let said = first.run(&["backup", shown(&file)]);
    let (count, failures) = load.stop();
    assert!(failures.is_empty() && count > 0, "{count}: {failures:#?}");
    assert!(said.contains(" rows, ") && said.contains(" blobs of "), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 1, "nothing lies beside it");
    let key = fs::read(first.data.join("credentials")).unwrap();
    first.stop(libc::SIGTERM);

    let data = new_directory();
    restore(&data, &file, &[]);
    assert_eq!(fs::read(data.join("credentials")).unwrap(), key);
    assert_ne!(fs::read(data.join("id")).unwrap(), fs::read(first.data.join("id")).unwrap());
    let second = Platform::in_directory(data, Options::standard());
    answers(&second, "site", "first");
    assert!(second.run(&["image", "ls"]).contains("first:1"));
    // It goes on from there.
    deploy(&second, "site", "second");
    let _ = fs::remove_dir_all(&kept);
}

#[test]
fn over_a_live_directory_instances_are_adopted_and_routes_are_newer() {
    let mut platform = Platform::with(Options { ephemeral: false, ..Options::standard() });
    let file = platform.scratch("kept").join("apron.backup");
    deploy(&platform, "site", "first");
    deploy(&platform, "steady", "steady");
    platform.run(&["backup", shown(&file)]);
    deploy(&platform, "site", "second");
    deploy(&platform, "later", "later");
    // What proxy and node have seen is of a later epoch than the backup knows.
    for _ in 0..2 {
        let before = platform.process("control");
        before.kill();
        assert_ne!(platform.process("control"), before);
    }
    answers(&platform, "later", "later");

    // Neither beside a running platform nor with half a file.
    assert!(platform.refused(&["restore", shown(&file)]).contains("is in use by another apron serve"));
    let steady = platform.application("steady");
    platform.stop(libc::SIGTERM);
    let whole = fs::read(&file).unwrap();
    let half = file.with_extension("half");
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let said = platform.refused(&["restore", shown(&half)]);
    assert!(said.contains("it is incomplete"), "{said}");
    fs::write(&half, "no backup").unwrap();
    let said = platform.refused(&["restore", shown(&half)]);
    assert!(said.contains("not a backup"), "{said}");

    platform.run(&["restore", shown(&file)]);
    assert!(platform.data.join("control/apron.db.replaced").exists());
    platform.serve();
    answers(&platform, "site", "first");
    answers(&platform, "steady", "steady");
    assert!(steady.alive(), "an instance of before and after was started anew");
    assert_eq!(platform.application("steady"), steady);
    let gone = http::get(&platform.apps, &platform.alias("later"), "/").unwrap();
    assert_eq!(gone.status, 404, "{}", gone.body);
    deploy(&platform, "site", "third");
}

#[test]
fn rows_in_postgresql_and_from_there_into_the_directory() {
    let server = postgres::Database::new();
    let mut options = Options { ephemeral: false, ..Options::standard() };
    options.flags.extend(["--database".to_owned(), server.url()]);
    options.env.push(("PGPASSWORD".to_owned(), postgres::PASSWORD.to_owned()));
    let mut platform = Platform::with(options);
    deploy(&platform, "site", "first");
    assert!(!platform.data.join("control/apron.db").exists());
    // Its sessions end in the middle of whatever control does; it goes on.
    let before = platform.process("control");
    server.kill_sessions();
    deploy(&platform, "site", "second");
    assert_eq!(platform.process("control"), before);
    let records = ["supervisor", "control", "node", "proxy"]
        .map(|name| fs::read_to_string(platform.data.join(format!("run/{name}.json"))).unwrap());
    assert!(!format!("{records:?}{}", platform.log()).contains(postgres::PASSWORD));

    let password = platform.scratch("kept").join("password");
    fs::write(&password, postgres::PASSWORD).unwrap();
    let file = platform.scratch("kept").join("apron.backup");
    let url = server.url();
    let database = ["--database", &url, "--database-password-file", shown(&password)];
    platform.run(&[&["backup", shown(&file)], &database[..]].concat());
    assert!(platform.refused(&["backup", shown(&file)]).contains("postgres://"));
    platform.stop(libc::SIGTERM);
    // Without the flag there would be no services, and so no routes.
    let said =
        serve_refused(&platform.data, &["--http", "127.0.0.1:0", "--https", "off", "--api", "127.0.0.1:0"]);
    assert!(said.contains("postgres://apron@/"), "{said}");

    let data = new_directory();
    restore(&data, &file, &[]);
    let embedded = Platform::in_directory(data, Options::standard());
    answers(&embedded, "site", "second");
}
