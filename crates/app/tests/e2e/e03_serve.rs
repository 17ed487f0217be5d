//! Point 3: `apron serve`, its processes, its files, and how it starts, stops and takes over. Needs root.

use crate::support::platform::{new_directory, remove, serve_refused};
use crate::support::processes::{Seen, leftovers};
use crate::support::{Options, Platform, eventually, http, image};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    nothing_left(&id, &data);
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
    for line in [
        "line 1, column 7: 'api' must be an address",
        "line 2, column 9: 'loops' must be a whole number from 1 to 256, not 0",
        "line 3, column 1: unknown key 'htpp'",
    ] {
        assert!(said.contains(config.to_str().unwrap()) && said.contains(line), "{said}");
    }
    let said = serve_refused(&data, &["--source-root", "/nonexistent/repositories"]);
    assert!(said.contains("--source-root /nonexistent/repositories: there is no such directory"), "{said}");

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
    let output = Command::new(crate::support::APRON)
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

/// A mount in a directory of its own, taken away at the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(arguments: &[&str]) -> Mounted {
        let path = new_directory().join("mounted");
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(arguments).arg(&path).status();
        let mounted_at = Mounted(path);
        assert!(mounted.unwrap().success());
        mounted_at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

#[test]
fn a_disk_that_cannot_hold_a_platform_is_named() {
    let free = ["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "off"];
    let read_only = Mounted::new(&["-t", "tmpfs", "-o", "ro", "tmpfs"]);
    let said = serve_refused(&read_only.0.join("data"), &free);
    assert!(said.contains("is mounted read-only") && said.contains("--data-dir"), "{said}");

    let small = Mounted::new(&["-t", "tmpfs", "-o", "size=64m", "tmpfs"]);
    let said = serve_refused(&small.0.join("data"), &free);
    assert!(said.contains("is full: 64 MiB are free, a new platform needs 256"), "{said}");
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0, "something was made before it was refused");

    // An overlay cannot be the upper directory of another one.
    let layers = new_directory();
    for name in ["lower", "upper", "work"] {
        fs::create_dir(layers.join(name)).unwrap();
    }
    let at = |name: &str| layers.join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    let overlay = Mounted::new(&["-t", "overlay", "-o", &options, "overlay"]);
    let said = serve_refused(&overlay.0.join("data"), &free);
    assert!(said.contains("overlayfs refuses its file system") && said.contains("--data-dir"), "{said}");
    drop(overlay);
    remove(&layers, false);
}

#[test]
fn a_secret_of_the_environment_reaches_no_process_of_the_platform() {
    let secret = ("APRON_TEST_SECRET".to_owned(), "of-the-supervisor-alone".to_owned());
    let platform = Platform::with(Options { env: vec![secret], ..Options::standard() });
    let application = deployed(&platform);
    let environment = |pid: i32| fs::read(format!("/proc/{pid}/environ")).unwrap();
    let holds = |pid: i32| String::from_utf8_lossy(&environment(pid)).contains("of-the-supervisor-alone");
    assert!(holds(platform.process("supervisor").pid), "the test sees no secret anywhere");
    for name in ["control", "node", "proxy"] {
        let text = environment(platform.process(name).pid);
        let names = String::from_utf8_lossy(&text);
        let names = names.split('\0').filter_map(|pair| pair.split('=').next()).filter(|n| !n.is_empty());
        let allowed = |name: &str| {
            ["PATH", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "RUST_LOG", "RUST_BACKTRACE"].contains(&name)
                || ["APRON_CONFIG_FD", "APRON_READY_FD", "APRON_LISTENERS"].contains(&name)
        };
        let network = ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
        let more: Vec<&str> = names
            .filter(|n| {
                !allowed(n) && (name != "node" || !network.contains(&n.to_ascii_uppercase().as_str()))
            })
            .collect();
        assert_eq!(more, Vec::<&str>::new(), "{name}");
    }
    // Shims and applications too.
    let status = fs::read_to_string(format!("/proc/{}/status", application.pid)).unwrap();
    let shim = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    assert!(!holds(shim) && !holds(application.pid));
}

/// What is inherited by accident, a lock for instance, must not live on in processes that outlive their starter.
#[test]
fn a_descriptor_of_who_started_it_goes_to_no_child() {
    let data = new_directory();
    let ready = data.join("ready");
    let mut serve = Command::new("sh")
        .args(["-c", "exec 9>\"$1\"; shift; exec \"$@\"", "sh"])
        .arg(data.join("lock"))
        .args([crate::support::APRON, "serve", "--ephemeral", "--data-dir"])
        .arg(data.join("data"))
        .args(["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "off"])
        .stdout(fs::File::create(&ready).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(Duration::from_secs(60), "the ready line", || {
            let text = fs::read_to_string(&ready).unwrap();
            if text.starts_with("ready ") { Ok(()) } else { Err(text) }
        });
        ["control", "node", "proxy"].map(|name| {
            let record = fs::read(data.join(format!("data/run/{name}.json"))).unwrap();
            let seen = Seen::recorded(&serde_json::from_slice(&record).unwrap()).unwrap();
            let files = fs::read_dir(format!("/proc/{}/fd", seen.pid)).unwrap();
            files.filter_map(|f| fs::read_link(f.ok()?.path()).ok()).any(|f| f == data.join("lock"))
        })
    }));
    // SAFETY: takes numbers only; the child was not waited for.
    unsafe { libc::kill(serve.id() as i32, libc::SIGTERM) };
    let _ = serve.wait();
    remove(&data.join("data"), false);
    remove(&data, false);
    assert_eq!(seen.unwrap(), [false; 3]);
}

/// The end at any instant of a start leaves nothing.
#[test]
fn a_stop_in_the_midst_of_the_start_leaves_nothing() {
    for (number, delay_ms) in [5, 40, 100, 180, 300, 600].into_iter().enumerate() {
        let data = new_directory();
        let mut serve = Command::new(crate::support::APRON)
            .args(["serve", "--ephemeral", "--data-dir"])
            .arg(&data)
            .args(["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        let signal = if number % 2 == 0 { libc::SIGTERM } else { libc::SIGINT };
        // SAFETY: takes numbers only; the child was not waited for.
        unsafe { libc::kill(serve.id() as i32, signal) };
        let ended = eventually(Duration::from_secs(30), "the end of a start", || {
            serve.try_wait().map_err(|e| e.to_string())?.ok_or("it runs".to_owned())
        });
        // Before it minds signals there is nothing to stop in order.
        println!("{delay_ms} ms: {ended}");
        for name in ["control", "node", "proxy"] {
            let record = fs::read(data.join(format!("run/{name}.json"))).unwrap_or_default();
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
            assert!(
                !Seen::recorded(&record).is_some_and(|seen| seen.alive()),
                "{name} lives after {delay_ms} ms"
            );
        }
        if let Ok(id) = fs::read_to_string(data.join("id")) {
            nothing_left(id.trim(), &data);
        }
        remove(&data, false);
    }
}

fn nothing_left(id: &str, data: &Path) {
    assert_eq!(leftovers(id, data), Vec::<String>::new());
    for cgroups in ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"] {
        let path = format!("{cgroups}/apron-platform-{id}");
        assert!(!Path::new(&path).exists(), "{path}");
    }
}

#[test]
fn a_refused_start_leaves_no_cgroup() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let data = new_directory();
    let at = taken.local_addr().unwrap().to_string();
    serve_refused(&data, &["--api", &at, "--http", "127.0.0.1:0", "--https", "off"]);
    nothing_left(fs::read_to_string(data.join("id")).unwrap().trim(), &data);
    remove(&data, false);
}

#[test]
fn a_second_interrupt_does_not_wait_and_a_closed_terminal_ends_nothing() {
    let mut platform = Platform::start();
    deployed(&platform);
    let supervisor = platform.process("supervisor");
    supervisor.signal(libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(http::get(&platform.apps, "keeper.apron.localhost", "/").unwrap().status, 200);

    // A response of half a minute is under way.
    let apps = platform.apps.clone();
    let long = std::thread::spawn(move || http::get(&apps, "keeper.apron.localhost", "/stream?100"));
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    supervisor.signal(libc::SIGINT);
    std::thread::sleep(Duration::from_secs(2));
    assert!(supervisor.alive(), "the first one waits for requests under way");
    platform.stop(libc::SIGINT);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let _ = long.join();
    nothing_left(&platform.id(), &platform.data);
}

/// Whoever reads the output may leave: nothing ends by it, and a reader that stands still holds nobody up.
#[test]
fn closed_and_full_outputs_change_nothing() {
    let mut platform = Platform::start();
    platform.stop(libc::SIGTERM);
    for output in ["closed", "full"] {
        let (reader, writer) = std::io::pipe().unwrap();
        if output == "full" {
            // SAFETY: the descriptor is open for the whole call.
            let size = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_GETPIPE_SZ) };
            std::io::Write::write_all(&mut &writer, &vec![b'x'; size as usize]).unwrap();
        }
        let reader = if output == "closed" {
            drop(reader);
            None
        } else {
            Some(reader)
        };
        let mut serve = Command::new(crate::support::APRON)
            .args([
                "serve",
                "--ephemeral",
                "--api",
                &platform.api,
                "--http",
                &platform.apps,
                "--https",
                "off",
            ])
            .arg("--data-dir")
            .arg(&platform.data)
            .stdout(if output == "closed" { writer.try_clone().unwrap().into() } else { Stdio::null() })
            .stderr(writer)
            .spawn()
            .unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            unknown_host_is_404(&platform);
            let proxy = platform.process("proxy");
            proxy.kill();
            unknown_host_is_404(&platform);
            assert_ne!(platform.process("proxy"), proxy);
        }));
        // SAFETY: takes numbers only; the child was not waited for.
        unsafe { libc::kill(serve.id() as i32, libc::SIGTERM) };
        let ended = serve.wait().unwrap();
        drop(reader);
        result.unwrap();
        assert!(ended.success(), "{output}: {ended}");
    }
}

/// A child that dies again and again is started again with growing pauses, and each time is said.
#[test]
fn a_child_that_keeps_dying_is_restarted_ever_more_slowly() {
    let platform = Platform::start();
    let begun = Instant::now();
    let mut starts = 0;
    let mut last = None;
    while begun.elapsed() < Duration::from_secs(6) {
        let node = platform.process("node");
        if last != Some(node) {
            starts += 1;
            last = Some(node);
        }
        node.kill();
    }
    // 0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 3.2 s of pauses.
    assert!((4..=8).contains(&starts), "{starts} starts in six seconds");
    let said = platform.log();
    assert!(said.matches("node was ended by SIGKILL").count() >= 4, "{said}");
    // The pauses end: it comes back, and the platform works.
    eventually(Duration::from_secs(20), "another node", || {
        if platform.process("node").alive() { Ok(()) } else { Err("none".to_owned()) }
    });
    unknown_host_is_404(&platform);
}
