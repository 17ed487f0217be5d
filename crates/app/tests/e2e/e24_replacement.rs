//! Another program takes the place of the running one (SIGUSR2), and a proxy that was killed has a successor at once:
//! nobody who uses an application notices. Needs root.

use crate::support::load::http2::Target;
use crate::support::load::opening::{Kill, Opening};
use crate::support::load::{self, Steady};
use crate::support::platform::{new_directory, serve_refused};
use crate::support::processes::Seen;
use crate::support::{APRON, Options, Platform, eventually, http, streams};
use apron_wire::apprunner::{Tag, TagResourceRequest};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
const CHILDREN: [&str; 3] = ["control", "node", "proxy"];
/// What a new proxy may take until it accepts.
const GAP_MAX: Duration = Duration::from_millis(100);
/// A child that lived this long is started anew without a pause, with a second to spare.
const SETTLED: Duration = Duration::from_secs(6);

/// Two copies of the program under test, and a link that is what is run.
struct Programs(PathBuf);

impl Programs {
    fn new(data: &Path) -> Programs {
        let programs = Programs(data.join("test/program"));
        fs::create_dir_all(&programs.0).unwrap();
        for name in ["first", "second"] {
            fs::copy(APRON, programs.file(name)).unwrap();
        }
        programs.put("first");
        programs
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is run from now on.
    fn put(&self, name: &str) {
        let new = self.file("apron.new");
        std::os::unix::fs::symlink(self.file(name), &new).unwrap();
        fs::rename(new, self.file("apron")).unwrap();
    }

    fn put_script(&self, text: &str) {
        let path = self.file("script");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        self.put("script");
    }

    fn options(&self) -> Options {
        Options { program: Some(self.file("apron")), ..Options::standard() }
    }

    fn run_by(&self, name: &str, process: Seen) -> bool {
        let program = fs::read_link(format!("/proc/{}/exe", process.pid)).unwrap();
        program == fs::canonicalize(self.file(name)).unwrap()
    }
}

fn with_service(platform: Platform) -> Platform {
    platform.import("site:1", &[]);
    platform.run(&["deploy", "site:1", "--name", "site"]);
    platform
}

fn children(platform: &Platform) -> [Seen; 3] {
    CHILDREN.map(|name| platform.process(name))
}

/// Children of a process that have ended and that it has not taken note of.
fn zombies(parent: i32) -> Vec<String> {
    let stat = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat")).ok();
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| stat(entry.ok()?));
    all.filter(|stat| {
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(&format!("Z {parent} ")))
    })
    .collect()
}

fn read_until(stream: &mut TcpStream, came: &mut String, text: &str) {
    let mut piece = [0; 4096];
    while !came.contains(text) {
        let length = stream.read(&mut piece).unwrap_or_else(|error| panic!("{error} after {came:?}"));
        assert!(length > 0, "the connection ended after {came:?}");
        came.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

#[test]
fn a_new_program_takes_every_place_and_no_request_is_lost() {
    let data = new_directory();
    let programs = Programs::new(&data);
    let platform = with_service(Platform::in_directory(data, programs.options()));
    let (supervisor, application) = (platform.process("supervisor"), platform.application("site"));
    let (apps, host) = (&platform.apps, platform.alias("site"));
    // A response that is under way when its proxy is replaced.
    let mut held = TcpStream::connect(apps).unwrap();
    held.set_read_timeout(Some(MINUTE)).unwrap();
    write!(held, "GET /held HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut came = String::new();
    read_until(&mut held, &mut came, "before");

    let load = Steady::over_http2(&Target::of(&platform, "site"), 50);
    http::under_load(apps, &host, || {
        for name in ["second", "first", "second"] {
            let before = children(&platform);
            programs.put(name);
            platform.replace();
            let after = children(&platform);
            assert!(before.iter().zip(after).all(|(before, after)| *before != after), "{before:?} {after:?}");
            for process in after.into_iter().chain([supervisor]) {
                assert!(programs.run_by(name, process), "{process:?} is not of the {name} program");
            }
            // Control and node have one owner of what they keep.
            assert!(!before[0].alive() && !before[1].alive());
            if !came.contains("after") {
                assert!(before[2].alive(), "a proxy ended before its last response");
                assert_eq!(http::get(apps, &host, "/release").unwrap().body, "released");
                read_until(&mut held, &mut came, "after");
            }
            before[2].wait_gone(MINUTE);
        }
    });
    let seen = load.stop();
    seen.is_whole(&["hello"]);
    assert!(seen.left >= 3, "{seen:?}: no connection was open when its proxy was replaced");
    assert!(supervisor.alive() && application.alive());
    assert_eq!(platform.application("site"), application);
    eventually(MINUTE, "that every end was taken note of", || {
        let found = zombies(supervisor.pid);
        if found.is_empty() { Ok(()) } else { Err(found.concat()) }
    });
}

#[test]
fn a_program_that_does_not_work_changes_nothing() {
    let data = new_directory();
    let programs = Programs::new(&data);
    let file = data.join("test/apron.toml");
    fs::write(&file, "drain_s = 5\n").unwrap();
    let mut options = programs.options();
    options.flags.extend(["--config".to_owned(), file.display().to_string()]);
    let platform = Platform::in_directory(data, options);
    let supervisor = platform.process("supervisor");
    let before = children(&platform);
    let refused = |why: &str| {
        // Whoever starts another process just then has the script open for an instant, and it cannot be run.
        eventually(MINUTE, why, || {
            supervisor.signal(libc::SIGUSR2);
            std::thread::sleep(Duration::from_millis(500));
            let log = platform.log();
            if log.lines().any(|line| line.contains("this program stays") && line.contains(why)) {
                Ok(())
            } else {
                Err(log)
            }
        });
        assert!(supervisor.alive());
        assert_eq!(children(&platform), before);
    };
    programs.put_script("echo it is broken >&2; exit 7");
    refused("exit status: 7: it is broken");
    programs.put_script("echo another 1.0");
    refused("is not apron");
    programs.put("nothing");
    refused("cannot be run");
    programs.put("second");
    fs::write(&file, "drain_s = \"long\"\n").unwrap();
    refused("exit status: 1");
    assert!(platform.log().contains("drain_s"), "{}", platform.log());

    fs::write(&file, "drain_s = 6\n").unwrap();
    platform.replace();
    assert!(programs.run_by("second", supervisor));
    assert!(children(&platform).iter().zip(before).all(|(after, before)| *after != before));
}

/// A program that does not wait for signals yet would be ended by each of these.
#[test]
fn a_signal_in_the_midst_of_a_replacement_is_held_and_heard() {
    let mut platform = Platform::start();
    let supervisor = platform.process("supervisor");
    let begun = Instant::now();
    supervisor.signal(libc::SIGUSR2);
    while begun.elapsed() < Duration::from_secs(1) {
        supervisor.signal(libc::SIGHUP);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(supervisor.alive());
    platform.replace();
    for wait_ms in [0, 50] {
        supervisor.signal(libc::SIGUSR2);
        std::thread::sleep(Duration::from_millis(wait_ms));
    }
    platform.stop(libc::SIGTERM);
    platform.children_gone();
}

/// A new release that cannot run the platform, here for its database: who serves goes on, and the next start finds it.
#[test]
fn a_start_that_fails_leaves_the_proxy_to_the_next_one() {
    let mut options = Options { ephemeral: false, ..Options::standard() };
    options.flags.truncate(4);
    options.flags.extend(["--https", "off"].map(str::to_owned));
    let mut platform = with_service(Platform::with(options));
    let [control, node, proxy] = children(&platform);
    platform.stop(libc::SIGKILL);
    control.kill();
    node.kill();
    let kept = platform.scratch("rows");
    let rows = platform.data.join("control");
    let moved: Vec<PathBuf> = fs::read_dir(&rows)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("apron.db")))
        .collect();
    for path in &moved {
        fs::rename(path, kept.join(path.file_name().unwrap())).unwrap();
    }
    fs::write(rows.join("apron.db"), "these are no rows").unwrap();
    let flags = ["--api", &platform.api, "--http", &platform.apps, "--https", "off"];
    let said = serve_refused(&platform.data, &flags);
    assert!(said.contains("control ended with code"), "{said}");
    let host = platform.alias("site");
    assert!(proxy.alive(), "{said}");
    assert_eq!(http::get(&platform.apps, &host, "/").unwrap().status, 200);

    for path in &moved {
        fs::rename(kept.join(path.file_name().unwrap()), path).unwrap();
    }
    let load = http::Load::start(&platform.apps, &host, 1);
    platform.serve();
    proxy.wait_gone(MINUTE);
    let (count, failures) = load.stop();
    assert!(count > 0 && failures.is_empty(), "{} of {count}: {failures:#?}", failures.len());
}

#[test]
fn a_killed_proxy_has_a_successor_within_100_ms_and_nobody_is_refused() {
    proxies_are_killed(5);
}

#[test]
#[ignore = "long: the long list runs it"]
fn ten_killed_proxies_have_successors_within_100_ms() {
    proxies_are_killed(10);
}

/// What a proxy had accepted is lost with it, and nothing else.
fn proxies_are_killed(times: usize) {
    const CLIENTS: usize = 4;
    let platform = with_service(Platform::start());
    let host = platform.alias("site");
    let load = Opening::start(&platform.apps, &host, CLIENTS);
    let (kills, mut gaps): (Vec<Kill>, Vec<Duration>) = (0..times)
        .map(|_| {
            std::thread::sleep(SETTLED);
            let proxy = platform.process("proxy");
            let kill = Kill::of(proxy);
            while proxy.alive() {}
            let answer = http::get(&platform.apps, &host, "/").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.head);
            let gap = kill.before.elapsed();
            (kill, gap)
        })
        .unzip();
    let (count, failures) = load.stop();
    let mut others =
        failures.iter().filter(|failure| !kills.iter().any(|kill| failure.is_of(kill))).peekable();
    assert!(others.peek().is_none(), "{:#?}", others.map(|failure| failure.told(&kills)).collect::<Vec<_>>());
    gaps.sort();
    let (median, most) = (gaps[times / 2], gaps[times - 1]);
    // Not each, because other tests run beside this one; but none may have to knock again, which is after a second.
    assert!(median <= GAP_MAX && most < Duration::from_secs(1), "{gaps:?}");
    say(&format!(
        "COUNT: {times} proxies killed: {:.0} ms from a kill to an answer in the median, {:.0} at most; {count} \
         requests of {CLIENTS} clients, each on a connection of its own, were answered, and {} failed, all begun \
         before a kill",
        median.as_secs_f64() * 1_000.0,
        most.as_secs_f64() * 1_000.0,
        failures.len()
    ));
}

/// The proxy is stopped over the moment in which it ends connections that are idle; a request comes meanwhile.
#[test]
fn a_request_that_arrives_as_its_connection_is_to_end_is_answered() {
    /// Less than the time for which a proxy that drains waits for a request, and what it is stopped for goes beyond.
    const IDLE: Duration = Duration::from_millis(1_500);
    const STOPPED: Duration = Duration::from_millis(1_000);
    let platform = with_service(Platform::start());
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", platform.alias("site"));
    let mut kept = load::connect(&platform.apps).unwrap();
    assert!(load::ask(&mut kept, &request).unwrap().stays);
    let proxy = platform.process("proxy");
    proxy.signal(libc::SIGTERM);
    std::thread::sleep(IDLE);
    proxy.signal(libc::SIGSTOP);
    let asked = std::thread::spawn(move || {
        let answer = load::ask(&mut kept, &request);
        answer.map(|answer| (answer.status, answer.stays)).map_err(|error| error.to_string())
    });
    std::thread::sleep(STOPPED);
    proxy.signal(libc::SIGCONT);
    assert_eq!(asked.join().unwrap(), Ok((200, false)), "an answer, and the word that the connection closes");
    proxy.wait_gone(MINUTE);
}

/// Gives the service another policy, and waits until the proxy has a table with it.
fn switch(platform: &Platform, arn: &str, on: bool) {
    let tag = Tag { key: Some("apron:hsts".to_owned()), value: Some(on.to_string()) };
    let request = TagResourceRequest { resource_arn: arn.to_owned(), tags: vec![tag] };
    eventually(MINUTE, "a tag", || platform.call(&request).map(drop));
    eventually(MINUTE, "a table with the tag", || {
        let table = fs::read_to_string(platform.data.join("proxy/routes.json")).unwrap();
        if table.contains(r#""hsts":true"#) == on { Ok(()) } else { Err(table) }
    });
}

#[test]
#[ignore = "long: the long list runs it"]
fn takeovers() {
    const REPLACEMENTS: usize = 50;
    const SWITCHES: usize = 2 * REPLACEMENTS;
    /// Requests in a second.
    const RATE: u32 = 2_000;
    const RATE_HTTP2: u32 = 200;
    const DRAIN_S: u32 = 180;
    const UPLOAD_MIB: usize = 1_024;
    /// What the first proxy may grow by while it carries a WebSocket and an upload.
    const GROWTH_MAX_KIB: u64 = 32 * 1024;
    let data = new_directory();
    let programs = Programs::new(&data);
    let file = data.join("test/apron.toml");
    fs::write(&file, format!("drain_s = {DRAIN_S}\n")).unwrap();
    let mut options = programs.options();
    options.flags.extend(["--config".to_owned(), file.display().to_string()]);
    let platform = with_service(Platform::in_directory(data, options));
    let arn =
        platform.aws(&["list-services"])["ServiceSummaryList"][0]["ServiceArn"].as_str().unwrap().to_owned();
    let (supervisor, first) = (platform.process("supervisor"), platform.process("proxy"));
    let (apps, host) = (platform.apps.clone(), platform.alias("site"));
    let load = Steady::start(&apps, &host, RATE);
    let load_http2 = Steady::over_http2(&Target::of(&platform, "site"), RATE_HTTP2);
    let [socket, upload] = [(); 2].map(|()| (apps.clone(), host.clone()));
    let socket = std::thread::spawn(move || streams::websocket(&socket.0, &socket.1, MINUTE));
    let upload = std::thread::spawn(move || streams::upload(&upload.0, &upload.1, UPLOAD_MIB, MINUTE));
    let (mut begun, mut most) = (None, 0);
    let (mut slowest, mut switches) = (Duration::ZERO, 0);
    let begin = Instant::now();
    for number in 0..REPLACEMENTS {
        // Evenly over the time of the WebSocket and the upload.
        let at = MINUTE * number as u32 / REPLACEMENTS as u32;
        std::thread::sleep(at.saturating_sub(begin.elapsed()));
        let before = platform.process("proxy");
        for on in [true, false] {
            switch(&platform, &arn, on);
            switches += 1;
            if on {
                programs.put(["second", "first"][number % 2]);
                let since = Instant::now();
                platform.replace();
                slowest = slowest.max(since.elapsed());
            }
            if let Some(memory) = first.resident_kib() {
                begun.get_or_insert(memory);
                most = most.max(memory);
            }
        }
        assert_ne!(platform.process("proxy"), before);
    }
    let (seen, seen_http2) = (load.stop(), load_http2.stop());
    let frames = socket.join().unwrap().expect("a WebSocket lives through it");
    upload.join().unwrap().expect("an upload lives through it");
    assert_eq!(switches, SWITCHES);
    seen.is_whole(&["hello"]);
    seen_http2.is_whole(&["hello"]);
    assert!(
        seen_http2.left >= REPLACEMENTS as u64,
        "{seen_http2:?}: few connections were open at replacements"
    );
    let begun = begun.expect("the first proxy lives on after its replacement");
    assert!(most < begun + GROWTH_MAX_KIB, "from {begun} to {most} KiB");
    assert!(supervisor.alive());
    first.wait_gone(MINUTE);
    say(&format!(
        "COUNT: {} requests, {RATE} a second, and {} by HTTP/2 and TLS, {RATE_HTTP2} a second over {} connections of \
         which {} were told to go, with {} requests sent again, over {REPLACEMENTS} replacements ({} ms at most, \
         drain_s = {DRAIN_S}) and {SWITCHES} tables, a WebSocket of {frames} frames and an upload of {UPLOAD_MIB} MiB: \
         0 failed; {begun} to {most} KiB",
        seen.answered,
        seen_http2.answered,
        seen_http2.connections,
        seen_http2.left,
        seen_http2.again,
        slowest.as_millis()
    ));
}

/// A line that libtest does not keep to itself: the page of the long list has the counts also of what went well.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
