//! Point 3: `apron serve`, its processes, its files, and how it starts, stops and takes over. Needs root.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::platform::{new_directory, remove, serve_refused};
use support::processes::{Seen, leftovers};
use support::{Options, Platform, eventually, http, image};

#[test]
fn it_gets_ready_and_leaves_nothing_behind() {
    let mut platform = Platform::start();
    assert_eq!(fs::metadata(platform.data.join("credentials")).unwrap().mode() & 0o777, 0o600);
    unknown_host_is_404(&platform);
    let env = platform.run(&["env"]);
    assert!(env.contains(&format!("export AWS_ENDPOINT_URL_APPRUNNER=http://{}", platform.api)), "{env}");
    assert!(env.contains("export AWS_ACCESS_KEY_ID=AKIA"), "{env}");

    for (name, uid) in [("control", 61_900), ("proxy", 61_901)] {
        let status = fs::read_to_string(format!("/proc/{}/status", platform.process(name).pid)).unwrap();
        let field = |field: &str| {
            let line = status.lines().find(|l| l.starts_with(field)).unwrap_or_default();
            line.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(field("Uid:"), uid.to_string(), "{name}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{name} {set}");
        }
        assert_eq!(field("NoNewPrivs:"), "1", "{name}");
    }
    // Making oneself a later victim takes CAP_SYS_RESOURCE, which root in a container often lacks.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let effective = own.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap().trim();
    let may_adjust = u64::from_str_radix(effective, 16).unwrap() & (1 << 24) != 0;
    for name in ["supervisor", "control", "node", "proxy"].iter().filter(|_| may_adjust) {
        let adjusted = fs::read_to_string(format!("/proc/{}/oom_score_adj", platform.process(name).pid));
        assert_eq!(adjusted.unwrap().trim(), "-900", "{name}");
    }

    let (id, data) = (platform.id(), platform.data.clone());
    platform.stop(libc::SIGTERM);
    platform.children_gone();
    assert_eq!(leftovers(&id, &data), Vec::<String>::new());
}

#[test]
fn what_cannot_work_is_said_in_one_sentence() {
    let data = new_directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let own_name = fs::read_to_string("/proc/self/comm").unwrap();
    let holder = format!("{address} is in use by {} (pid {})", own_name.trim(), std::process::id());
    let free = ["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "off"];
    for (flag, at) in [("--api", 1), ("--http", 3)] {
        let mut flags = free.map(str::to_owned);
        flags[at].clone_from(&address);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let said = serve_refused(&data, &flags);
        assert!(said.contains(&holder) && said.contains(flag), "{said}");
    }

    let config = data.join("apron.toml");
    fs::write(&config, "api = 1\nloops = 0\nhtpp = \"off\"\n").unwrap();
    let said = serve_refused(&data, &["--config", config.to_str().unwrap()]);
    for line in ["line 1: ", "line 2: ", "line 3: unknown key 'htpp'"] {
        assert!(said.contains(line), "{said}");
    }

    // A file where a directory must be.
    fs::write(data.join("file"), "").unwrap();
    let said = serve_refused(&data.join("file"), &free);
    assert!(said.contains("file"), "{said}");
    remove(&data, false);
}

#[test]
fn a_data_directory_has_one_supervisor() {
    let platform = Platform::start();
    let said = serve_refused(&platform.data, &["--api", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let holder = format!("(pid {})", platform.process("supervisor").pid);
    assert!(said.contains("in use by another apron serve") && said.contains(&holder), "{said}");
}

#[test]
fn it_is_refused_to_others_than_root() {
    use std::os::unix::process::CommandExt;
    let output = std::process::Command::new(support::APRON)
        .args(["serve", "--data-dir", "/tmp/apron-not-root"])
        .uid(61_905)
        .gid(61_905)
        .output();
    // Where the user may not even reach the binary there is nothing to test.
    let Ok(output) = output else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("must run as root"), "{said}");
}

#[test]
fn a_directory_below_a_closed_parent_works() {
    /// The directories around the platform's own, removed after it.
    struct Outer(PathBuf);
    impl Drop for Outer {
        fn drop(&mut self) {
            remove(&self.0, false);
        }
    }
    let outer = Outer(new_directory());
    let closed = outer.0.join("closed");
    fs::create_dir_all(&closed).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut platform = Platform::in_directory(closed.join("project/data"), Options::standard());
    assert!(platform.run(&["ls"]).contains("NAME"));
    assert_eq!(deployed(&platform), serving(&platform));
    platform.stop(libc::SIGTERM);
}

#[test]
fn each_child_that_is_killed_comes_back() {
    let platform = Platform::start();
    for name in ["proxy", "control", "node"] {
        let before = platform.process(name);
        before.kill();
        let after = eventually(Duration::from_secs(20), &format!("another {name}"), || {
            let after = platform.process(name);
            if after == before { Err("the record is the old one".to_owned()) } else { Ok(after) }
        });
        assert!(after.alive());
    }
    eventually(Duration::from_secs(20), "an answer of the API", || {
        let output = platform.apron(&["ls"]);
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    });
    unknown_host_is_404(&platform);
}

/// Once the proxy has a table.
fn unknown_host_is_404(platform: &Platform) {
    eventually(Duration::from_secs(10), "a 404 for a host that nobody has", || {
        match http::get(&platform.apps, "nobody.apron.localhost", "/") {
            Ok(answer) if answer.status == 404 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Deploys the test server and gives the pid of its process on this machine.
fn deployed(platform: &Platform) -> Seen {
    let archive = image::archive(&platform.scratch("image"), "keeper:1", &[]);
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    platform.run(&["deploy", "keeper:1", "--name", "keeper"]);
    serving(platform)
}

/// The process behind the service, once it answers.
fn serving(platform: &Platform) -> Seen {
    eventually(Duration::from_secs(30), "an answer of the service", || {
        match http::get(&platform.apps, "keeper.apron.localhost", "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.head),
            Err(error) => Err(error.to_string()),
        }
    });
    let state = fs::read_dir(platform.data.join("node/instances"))
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("state.json")).ok())
        .find(|state| !state.is_empty())
        .expect("the state of an instance");
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    Seen::of(state["pid"].as_i64().unwrap() as i32).expect("the application's process")
}

fn answers_all_the_time(address: &str) -> http::Load {
    http::Load::start(address, "keeper.apron.localhost", 1)
}

#[test]
fn instances_outlive_an_orderly_stop_and_are_adopted() {
    let mut platform = Platform::with(Options { ephemeral: false, ..Options::standard() });
    let before = deployed(&platform);
    platform.stop(libc::SIGTERM);
    platform.children_gone();
    assert!(before.alive(), "the instance ended with the platform");
    assert!(TcpStream::connect(&platform.apps).is_err());
    platform.serve();
    assert_eq!(serving(&platform), before, "it was started anew instead of adopted");
}

#[test]
fn a_killed_supervisor_is_succeeded_without_a_failed_request() {
    let mut platform = Platform::with(Options { ephemeral: false, ..Options::standard() });
    let before = deployed(&platform);
    let old: Vec<Seen> = ["control", "node", "proxy"].map(|n| platform.process(n)).into();
    let load = answers_all_the_time(&platform.apps);
    platform.stop(libc::SIGKILL);
    std::thread::sleep(Duration::from_millis(500));
    assert!(old.iter().all(Seen::alive), "a child died with its supervisor");
    let (api, apps) = (platform.api.clone(), platform.apps.clone());
    platform.serve();
    assert_eq!((&platform.api, &platform.apps), (&api, &apps));
    for old in &old {
        old.wait_gone(Duration::from_secs(45));
    }
    let (count, failures) = load.stop();
    assert!(failures.is_empty(), "{} of {count} requests failed: {failures:#?}", failures.len());
    assert!(count > 50, "only {count} requests");
    assert_eq!(serving(&platform), before);
    platform.run(&["ls"]);
}

#[test]
fn after_a_kill_of_everything_the_same_services_serve() {
    let mut platform = Platform::with(Options { ephemeral: false, ..Options::standard() });
    let before = deployed(&platform);
    platform.kill_everything();
    assert!(before.alive());
    platform.serve();
    assert_eq!(serving(&platform), before);
    // With the instance killed as well, as a reboot would, it is started anew.
    platform.kill_everything();
    before.kill();
    platform.serve();
    assert_ne!(serving(&platform), before);
}

#[test]
fn the_binary_needs_no_library_beyond_libc() {
    let output = std::process::Command::new("ldd").arg(support::APRON).output().expect("ldd");
    let needed = String::from_utf8_lossy(&output.stdout).into_owned();
    let allowed = ["linux-vdso.so", "libgcc_s.so", "libm.so", "libc.so", "ld-linux"];
    for line in needed.lines().filter(|l| !l.trim().is_empty()) {
        assert!(allowed.iter().any(|name| line.contains(name)), "{line}");
    }
    assert!(needed.contains("libc.so") || Path::new(support::APRON).exists());
}
