//! What serves goes on whatever becomes of those who manage it: control and node are killed, tables are switched, and
//! nobody who asks notices. Each proof stands here twice: for some seconds, and in the long list at full length and
//! 2,000 requests a second. Needs root.

use crate::support::load::Steady;
use crate::support::load::http2::Target;
use crate::support::processes::Seen;
use crate::support::{Platform, eventually, http, streams};
use apron_wire::apprunner::{
    CreateAutoScalingConfigurationRequest, CreateServiceRequest, ImageRepository, ImageRepositoryType,
    OperationStatus, SourceConfiguration, UpdateServiceRequest,
};
use apron_wire::apron::RollbackServiceRequest;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// Of the long forms.
const PER_SECOND: u32 = 2_000;
/// Of the short ones, which run beside other tests.
const PER_SECOND_SHORT: u32 = 200;
/// Of HTTP/2 beside them.
const PER_SECOND_HTTP2: u32 = 200;
const PER_SECOND_HTTP2_SHORT: u32 = 50;
/// How much more memory the proxy may have while much is done to it than it had before: buffers of connections and what
/// the allocator keeps. An upload that was held would be a thousand.
const MEMORY_GROWTH_MIB_MAX: u64 = 16;

#[test]
fn requests_go_on_when_control_and_node_are_killed() {
    killed(1, PER_SECOND_SHORT);
}

#[test]
#[ignore = "long: the long list runs it"]
fn control_and_node_are_killed_again_and_again_at_2000_requests_a_second() {
    killed(6, PER_SECOND);
}

#[test]
fn tables_are_switched_and_no_request_is_lost() {
    let per_second = [PER_SECOND_SHORT, PER_SECOND_HTTP2_SHORT];
    switched(6, per_second, &Lasting { time: Duration::from_secs(5), mib: 32 });
}

#[test]
#[ignore = "long: the long list runs it"]
fn a_hundred_table_switches_at_2000_requests_a_second() {
    switched(100, [PER_SECOND, PER_SECOND_HTTP2], &Lasting { time: MINUTE, mib: 1_024 });
}

/// Each is killed alone, then both at once, so many times, while two instances serve.
fn killed(rounds: usize, per_second: u32) {
    let platform = Platform::start();
    for text in ["first", "second"] {
        platform.import(&format!("{text}:1"), &[("TEXT", text)]);
    }
    let arn = pair(&platform, "first");
    let instances = platform.applications("site");
    let load = Steady::start(&platform.apps, &platform.alias("site"), per_second);
    let mut kills = 0;
    for round in 0..rounds {
        for roles in [&["control"][..], &["node"], &["control", "node"]] {
            let victims: Vec<Seen> = roles.iter().map(|role| platform.process(role)).collect();
            let before = load.answered();
            victims.iter().for_each(|victim| victim.signal(libc::SIGKILL));
            victims.iter().for_each(|victim| victim.wait_gone(MINUTE));
            kills += victims.len();
            for role in roles {
                platform.process(role);
            }
            assert!(load.answered() > before, "nobody was answered until {roles:?} were started anew");
            // Every other time the next ones are killed while those before them start.
            if round % 2 == 0 {
                platform.ended(&arn, MINUTE);
            }
        }
    }
    assert!(instances.iter().all(Seen::alive), "an instance ended with its node");
    // Nor has anything been forgotten: the next version comes.
    platform.ended(&arn, MINUTE);
    let source_configuration = Some(source("second"));
    let update = UpdateServiceRequest { source_configuration, ..UpdateServiceRequest::new(&arn) };
    platform.call(&update).expect("an update");
    assert_eq!(platform.ended(&arn, MINUTE), OperationStatus::Succeeded);
    // Some more requests, which the next version answers.
    std::thread::sleep(Duration::from_millis(500));
    let seen = load.stop();
    seen.is_whole(&["first", "second"]);
    say(&format!(
        "COUNT: {} requests over {} connections at {per_second} a second while control and node were killed {kills} \
         times: none failed, the longest took {:.0} ms",
        seen.answered,
        seen.connections,
        seen.longest.as_secs_f64() * 1_000.0
    ));
}

/// What goes on while tables are switched.
struct Lasting {
    time: Duration,
    mib: usize,
}

/// Back and forth between two versions, so many times: each time all instances are others. So many requests in a second
/// come by HTTP/1, and so many by HTTP/2 and TLS.
fn switched(switches: usize, [per_second, per_second_http2]: [u32; 2], lasting: &Lasting) {
    let platform = Platform::start();
    for text in ["blue", "green"] {
        platform.import(&format!("{text}:1"), &[("TEXT", text)]);
        platform.run(&["deploy", &format!("{text}:1"), "--name", "site"]);
    }
    let (arn, host) = (platform.arn("site"), platform.alias("site"));
    let address = &platform.apps;
    let load = Steady::start(address, &host, per_second);
    let load_http2 = Steady::over_http2(&Target::of(&platform, "site"), per_second_http2);
    // Before it is measured, the proxy has had connections and requests of every kind that follows.
    streams::upload(address, &host, 16, Duration::from_secs(1)).expect("a first upload");
    streams::websocket(address, &host, Duration::from_secs(1)).expect("a first WebSocket");
    let proxy = platform.process("proxy");
    let (first, rss_before) = (platform.generation(), rss_mib(proxy));
    let over = AtomicBool::new(false);
    let (messages, rss_most) = std::thread::scope(|scope| {
        let _over = Over(&over);
        let socket = scope.spawn(|| streams::websocket(address, &host, lasting.time));
        let upload = scope.spawn(|| streams::upload(address, &host, lasting.mib, lasting.time));
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(rss_mib(proxy));
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        for number in 0..switches {
            let (revision, text) = if number % 2 == 0 { (1, "blue") } else { (2, "green") };
            let back =
                RollbackServiceRequest { revision: Some(revision), ..RollbackServiceRequest::new(&arn) };
            platform.call(&back).unwrap_or_else(|error| panic!("switch {number}: {error}"));
            assert_eq!(platform.ended(&arn, MINUTE), OperationStatus::Succeeded, "switch {number}");
            let answer = http::get(address, &host, "/").expect("an answer");
            assert_eq!((answer.status, answer.body.as_str()), (200, text), "switch {number}");
        }
        let messages = socket.join().expect("a thread").expect("the WebSocket");
        upload.join().expect("a thread").expect("the upload");
        over.store(true, Ordering::Relaxed);
        (messages, watch.join().expect("a thread"))
    });
    let seen = load.stop();
    seen.is_whole(&["blue", "green"]);
    let seen_http2 = load_http2.stop();
    seen_http2.is_whole(&["blue", "green"]);
    assert_eq!((seen_http2.left, seen_http2.again), (0, 0), "another table ends no connection");
    let last = platform.generation();
    assert_eq!((platform.process("proxy"), last.0), (proxy, first.0), "nothing was started anew");
    let tables = last.1 - first.1;
    assert!(tables >= switches as u64, "{tables} tables for {switches} switches");
    assert!(
        rss_most <= rss_before + MEMORY_GROWTH_MIB_MAX,
        "the proxy had {rss_before} MiB before and up to {rss_most} MiB meanwhile"
    );
    say(&format!(
        "COUNT: {} requests over {} connections at {per_second} a second during {switches} switches with {tables} \
         tables: none failed, the longest took {:.0} ms; {} over {} connections of HTTP/2 and TLS at \
         {per_second_http2} a second: none failed, the longest took {:.0} ms; a WebSocket of {} s with {messages} \
         messages and an upload of {} MiB lived through it, and the proxy's memory went from {rss_before} to \
         {rss_most} MiB at most",
        seen.answered,
        seen.connections,
        seen.longest.as_secs_f64() * 1_000.0,
        seen_http2.answered,
        seen_http2.connections,
        seen_http2.longest.as_secs_f64() * 1_000.0,
        lasting.time.as_secs(),
        lasting.mib
    ));
}

/// First control and node hang, so that a new proxy has nothing but the table on disk; then there are neither they nor
/// a supervisor.
#[test]
fn a_proxy_serves_alone_and_starts_alone() {
    let mut platform = Platform::start();
    platform.import("site:1", &[("TEXT", "alone")]);
    platform.run(&["deploy", "site:1", "--name", "site"]);
    let host = platform.alias("site");
    let application = platform.application("site");
    let get = |platform: &Platform| http::get(&platform.apps, &host, "/").map(|answer| answer.body);

    let managers = ["control", "node"].map(|role| platform.process(role));
    managers.iter().for_each(|seen| seen.signal(libc::SIGSTOP));
    let generation = eventually(MINUTE, "a saved table", || {
        let (served, saved) = (platform.generation(), saved(&platform)?);
        if served == saved { Ok(served) } else { Err(format!("{served:?} is served, {saved:?} is saved")) }
    });
    let proxy = platform.process("proxy");
    proxy.kill();
    // The connection waits in the queue of the listening socket, which the supervisor has open too.
    assert_eq!(get(&platform).expect("an answer of the new proxy"), "alone");
    assert_ne!(platform.process("proxy"), proxy);
    assert_eq!(platform.generation(), generation);
    managers.iter().for_each(|seen| seen.signal(libc::SIGCONT));

    let managers = ["control", "node"].map(|role| platform.process(role));
    let proxy = platform.process("proxy");
    let load = Steady::start(&platform.apps, &host, PER_SECOND_SHORT);
    platform.stop(libc::SIGKILL);
    managers.iter().for_each(Seen::kill);
    let before = load.answered();
    std::thread::sleep(Duration::from_secs(3));
    assert!(load.answered() > before);
    load.stop().is_whole(&["alone"]);
    assert!(proxy.alive() && application.alive());
    platform.serve();
    assert_eq!(get(&platform).expect("an answer"), "alone");
    assert!(application.alive(), "the instance was not taken over");
}

/// A service `site` with two instances of an image. Its ARN, once both serve.
fn pair(platform: &Platform, text: &str) -> String {
    let two = CreateAutoScalingConfigurationRequest {
        min_size: Some(2),
        max_size: Some(2),
        ..CreateAutoScalingConfigurationRequest::new("pairs")
    };
    let scaling = platform.call(&two).expect("a configuration").auto_scaling_configuration;
    let mut create = CreateServiceRequest::new("site", source(text));
    create.auto_scaling_configuration_arn = scaling.auto_scaling_configuration_arn;
    let arn = platform.call(&create).expect("a service").service.service_arn;
    assert_eq!(platform.ended(&arn, MINUTE), OperationStatus::Succeeded);
    assert_eq!(platform.applications("site").len(), 2);
    arn
}

fn source(text: &str) -> SourceConfiguration {
    let image = ImageRepository::new(format!("{text}:1"), ImageRepositoryType::EcrPublic);
    SourceConfiguration {
        image_repository: Some(image),
        auto_deployments_enabled: Some(false),
        ..SourceConfiguration::default()
    }
}

/// The generation of the table that a proxy would start from.
fn saved(platform: &Platform) -> Result<(u64, u64), String> {
    let text = std::fs::read(platform.data.join("proxy/routes.json")).map_err(|error| error.to_string())?;
    let saved: serde_json::Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let generation = &saved["table"]["generation"];
    let number = |name: &str| generation[name].as_u64().ok_or_else(|| format!("no {name} in {generation}"));
    Ok((number("epoch")?, number("counter")?))
}

fn rss_mib(process: Seen) -> u64 {
    process.resident_kib().unwrap_or_else(|| panic!("process {} has no memory", process.pid)) / 1_024
}

/// Ends those who watch, also where a test fails meanwhile.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A line that libtest does not keep to itself: the page of the long list has the counts also of what went well.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
