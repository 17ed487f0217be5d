//! Point 3: `apron serve`, its processes, its files, and how it starts, stops and takes over. Needs root.

use crate::support::mounted::Mounted;
use crate::support::platform::{new_directory, remove, serve_refused};
use crate::support::processes::{Seen, leftovers};
use crate::support::{Options, Platform, eventually, http, image};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

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
    remove(&data);
}

#[test]
fn a_data_directory_has_one_supervisor() {
    let platform = Platform::start();
    let said = serve_refused(&platform.data, &["--api", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let holder = format!("(pid {})", platform.process("supervisor").pid);
    assert!(said.contains("in use by another apron serve") && said.contains(&holder), "{said}");
}

/// The binary where every user may run it, since a checkout often lies below a closed directory.
#[test]
fn it_is_refused_to_others_than_root() {
    struct Public(PathBuf);
    impl Drop for Public {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
    let public = Public(std::env::temp_dir().join(format!("apron-not-root-{}", std::process::id())));
    fs::create_dir(&public.0).unwrap();
    fs::set_permissions(&public.0, fs::Permissions::from_mode(0o755)).unwrap();
    let program = public.0.join("apron");
    fs::copy(crate::support::APRON, &program).unwrap();
    let data = public.0.join("data");
    let serve =
        Command::new(program).args(["serve", "--data-dir"]).arg(&data).uid(61_905).gid(61_905).output();
    let output = serve.expect("a user may run it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(
        said.trim(),
        "apron: apron serve must run as root: it makes namespaces, mounts and cgroups for instances"
    );
    assert!(!data.exists());
}

#[test]
fn a_directory_below_a_closed_parent_works() {
    /// The directories around the platform's own, removed after it.
    struct Outer(PathBuf);
    impl Drop for Outer {
        fn drop(&mut self) {
            remove(&self.0);
        }
    }
    let outer = Outer(new_directory());
    let closed = outer.0.join("closed");
    fs::create_dir_all(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
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

/// In a network of its own, where nobody has the well-known ports, and then somebody.
#[test]
fn applications_answer_on_the_well_known_ports_when_they_are_free() {
    let inside = std::thread::spawn(|| {
        // What this thread starts is in the namespace too.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        let flags = ["--api", "127.0.0.1:0"].map(str::to_owned);
        let options = Options { flags: flags.into(), ..Options::standard() };
        let ports = |platform: &Platform| {
            let connects = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
            (platform.apps.clone(), [80, 443, 8080, 8443].into_iter().filter(connects).collect::<Vec<u16>>())
        };
        let url = |platform: &Platform| {
            let source =
                r#"{"ImageRepository": {"ImageIdentifier": "none:1", "ImageRepositoryType": "ECR_PUBLIC"}}"#;
            let create = ["create-service", "--service-name", "urls", "--source-configuration", source];
            platform.aws(&create)["Service"]["ServiceUrl"].as_str().unwrap().to_owned()
        };

        let platform = Platform::with(options.clone());
        assert_eq!(ports(&platform).1, [80, 443], "{}", platform.apps);
        assert!(url(&platform).ends_with(".apron.localhost"), "a bare host on 443");
        assert!(!platform.log().contains("applications answer on port"), "{}", platform.log());
        drop(platform);

        let taken = [80, 443].map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap());
        let platform = Platform::with(options);
        assert_eq!(ports(&platform).1, [80, 443, 8080, 8443]);
        assert!(platform.apps.ends_with(":8080"), "{}", platform.apps);
        assert!(url(&platform).ends_with(".apron.localhost:8443"));
        let log = platform.log();
        for (port, otherwise) in [(80, 8080), (443, 8443)] {
            let line = log.lines().find(|line| line.contains(&format!("answer on port {otherwise} instead")));
            assert!(line.is_some_and(|line| line.contains(&format!(":{port} is in use by"))), "{log}");
        }
        drop(taken);
    });
    if let Err(panic) = inside.join() {
        std::panic::resume_unwind(panic);
    }
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
fn a_disk_that_takes_nothing_is_named() {
    let read_only = Mounted::new(&["-t", "tmpfs", "-o", "ro", "tmpfs"]);
    let free = ["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "off"];
    let said = serve_refused(&read_only.path().join("data"), &free);
    assert!(said.contains("is mounted read-only") && said.contains("--data-dir"), "{said}");
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
                || ["APRON_CONFIG_FD", "APRON_SIGNS_FD", "APRON_LISTENERS", "APRON_COUNTS_FD"].contains(&name)
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
    remove(&data.join("data"));
    remove(&data);
    assert_eq!(seen.unwrap(), [false; 3]);
}

/// The end at any instant of a start leaves nothing.
#[test]
fn a_stop_in_the_midst_of_the_start_leaves_nothing() {
    for (number, delay_ms) in [5, 40, 100, 180, 300, 600].into_iter().enumerate() {
        let data = new_directory();
        let mut serve = Command::new(crate::support::APRON);
        serve
            .args(["serve", "--ephemeral", "--data-dir"])
            .arg(&data)
            .args(["--api", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: one system call. Jobs that a script runs in the background ignore SIGINT, and so does what they start.
        unsafe {
            serve.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                Ok(())
            });
        }
        let mut serve = serve.spawn().unwrap();
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
        remove(&data);
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
    remove(&data);
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
    supervisor.signal(libc::SIGINT);
    std::thread::sleep(Duration::from_secs(2));
    assert!(supervisor.alive(), "the first one waits for requests under way");
    platform.stop(libc::SIGINT);
    let came = long.join().unwrap().map(|answer| answer.body).unwrap_or_default();
    assert!(!came.contains("piece 99"), "the second one waited too: {came}");
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
    let mut lives = vec![platform.process("node")];
    for _ in 0..5 {
        let last = *lives.last().unwrap();
        last.kill();
        lives.push(eventually(Duration::from_secs(20), "another node", || {
            let node = platform.process("node");
            if node == last { Err("the record is the old one".to_owned()) } else { Ok(node) }
        }));
    }
    // From one start to the next, by the kernel's clock: a life and a pause, which is each time twice as long.
    for (number, pair) in lives.windows(2).enumerate() {
        let ticks = pair[1].started_ticks() - pair[0].started_ticks();
        assert!(ticks + 1 >= 10 << number, "start {number} came {ticks} ticks after the one before it");
    }
    let said = platform.log();
    assert!(said.matches("node was ended by SIGKILL").count() >= 5, "{said}");
    unknown_host_is_404(&platform);
}
