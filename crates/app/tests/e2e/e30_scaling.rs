//! Load brings instances and its end takes them away; how many there may be is changed without a restart. Needs root.

use crate::support::processes::Seen;
use crate::support::{Platform, eventually, http};
use apron_wire::apprunner::{
    CreateAutoScalingConfigurationRequest, CreateServiceRequest, ImageRepository, ImageRepositoryType,
    OperationStatus, SourceConfiguration, Tag, UpdateServiceRequest,
};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// Requests at a time that are asked for: as many as three instances are meant for.
const CLIENTS: usize = 6;
const MAX_CONCURRENCY: i32 = 2;

/// A revision of the auto scaling configuration `small`. Its ARN.
fn scaling(platform: &Platform, [min, max]: [i32; 2], max_concurrency: i32) -> Option<String> {
    let configuration = CreateAutoScalingConfigurationRequest {
        min_size: Some(min),
        max_size: Some(max),
        max_concurrency: Some(max_concurrency),
        ..CreateAutoScalingConfigurationRequest::new("small")
    };
    let made = platform.call(&configuration).expect("a configuration");
    made.auto_scaling_configuration.auto_scaling_configuration_arn
}

fn image() -> SourceConfiguration {
    SourceConfiguration {
        image_repository: Some(ImageRepository::new("site:1", ImageRepositoryType::EcrPublic)),
        auto_deployments_enabled: Some(false),
        ..SourceConfiguration::default()
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// Instances that the proxy's table names.
fn routed(platform: &Platform) -> usize {
    let text = std::fs::read(platform.data.join("proxy/routes.json")).unwrap_or_default();
    let saved: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    saved["table"]["services"][0]["instances"].as_array().map_or(0, Vec::len)
}

#[test]
fn load_brings_instances_and_its_end_takes_them_away() {
    let platform = Platform::start();
    platform.import("site:1", &[]);
    let mut create = CreateServiceRequest::new("site", image());
    create.auto_scaling_configuration_arn = scaling(&platform, [1, 3], MAX_CONCURRENCY);
    let arn = platform.call(&create).expect("a service").service.service_arn;
    assert_eq!(platform.ended(&arn, MINUTE), OperationStatus::Succeeded);
    let pids = |platform: &Platform| -> BTreeSet<i32> {
        platform.applications("site").into_iter().filter(Seen::alive).map(|seen| seen.pid).collect()
    };
    let first = pids(&platform);
    assert_eq!(first.len(), 1);

    let (address, host) = (&platform.apps, platform.alias("site"));
    let (over, began) = (AtomicBool::new(false), Instant::now());
    let (settled, crowds) = std::thread::scope(|scope| {
        let ask = || {
            let mut crowds: Vec<(Instant, u32)> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = http::get(address, &host, "/busy?300").expect("an answer");
                assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.body);
                crowds.push((asked, answer.body.trim().parse().expect("a number")));
            }
            crowds
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        let came = eventually(MINUTE, "three instances", || match pids(&platform).len() {
            3 => Ok(began.elapsed()),
            count => Err(format!("there are {count}")),
        });
        println!("COUNT: from 1 to 3 instances in {:.2} s", came.as_secs_f64());
        eventually(MINUTE, "three that get requests", || match routed(&platform) {
            3 => Ok(()),
            count => Err(format!("there are {count}")),
        });
        // What was asked for before that has ended by then.
        std::thread::sleep(Duration::from_secs(1));
        let settled = Instant::now();
        std::thread::sleep(Duration::from_secs(2));
        over.store(true, Ordering::Relaxed);
        let ended = clients.into_iter().flat_map(|client| client.join().expect("a client"));
        (settled, ended.collect::<Vec<_>>())
    });
    let crowds: Vec<u32> = crowds.iter().filter(|(at, _)| *at >= settled).map(|(_, crowd)| *crowd).collect();
    assert!(crowds.len() >= CLIENTS && crowds.iter().all(|one| *one <= MAX_CONCURRENCY as u32), "{crowds:?}");

    let before = pids(&platform);
    assert!(before.is_superset(&first), "what served goes on serving");
    eventually(MINUTE * 2, "one instance", || match pids(&platform) {
        left if left.len() == 1 => Ok(()),
        left => Err(format!("there are {left:?}")),
    });
    let left = pids(&platform);
    assert!(left.is_subset(&before), "none was started anew");
    let events = platform.run(&["logs", "site", "--events"]);
    for why in ["of revision 1: its load needs ", "there are more than its load needs"] {
        assert!(events.contains(why), "{why}\n{events}");
    }

    // Another auto scaling configuration is no other instance.
    let auto_scaling_configuration_arn = scaling(&platform, [2, 2], MAX_CONCURRENCY);
    let update = UpdateServiceRequest { auto_scaling_configuration_arn, ..UpdateServiceRequest::new(&arn) };
    platform.call(&update).expect("an update");
    assert_eq!(platform.ended(&arn, MINUTE), OperationStatus::Succeeded);
    eventually(MINUTE, "two instances", || match pids(&platform) {
        now if now.len() == 2 && now.is_superset(&left) => Ok(()),
        now => Err(format!("there are {now:?}, and was {left:?}")),
    });
}

/// Who waits in line while the load brings a further instance is told how that was started.
#[test]
fn who_waits_for_a_further_instance_is_told_of_its_start() {
    let platform = Platform::start();
    // Each listens when it is let.
    platform.import("site:1", &[("MODE", "waiting")]);
    let instances = || platform.applications("site").into_iter().filter(Seen::alive);
    let release = |until: &dyn Fn() -> bool| {
        while !until() {
            instances().for_each(|one| one.signal(libc::SIGUSR1));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut create = CreateServiceRequest::new("site", image());
    create.auto_scaling_configuration_arn = scaling(&platform, [1, 2], 1);
    create.tags = Some(vec![tag("apron:concurrency-hard", "1")]);
    let arn = platform.call(&create).expect("a service").service.service_arn;
    let host = platform.alias("site");
    let ask = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Apron-Trace: 1\r\nConnection: close\r\n\r\n");
    std::thread::scope(|scope| {
        let deployed = scope.spawn(|| platform.ended(&arn, MINUTE));
        release(&|| deployed.is_finished());
        assert_eq!(deployed.join().expect("an end"), OperationStatus::Succeeded);
        // Has the one place that there is.
        let mut holds = TcpStream::connect(&platform.apps).expect("a connection");
        let slow = format!("GET /slow?30000 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        holds.write_all(slow.as_bytes()).expect("a request");
        eventually(MINUTE, "a second instance", || match instances().count() {
            2 => Ok(()),
            count => Err(format!("there are {count}")),
        });
        let waits = scope.spawn(|| http::request(&platform.apps, &ask).expect("an answer"));
        std::thread::sleep(Duration::from_millis(300));
        release(&|| waits.is_finished());
        let answer = waits.join().expect("no panic");
        assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.body);
        for part in ["start-exec;dur=", "start-healthy;dur=", "line;dur=", "first-byte;dur="] {
            assert!(answer.head.to_lowercase().contains(part), "{part}\n{}", answer.head);
        }
        drop(holds);
    });
}

/// One client that keeps a CPU busy: at no time is there more than one request, which alone would bring nothing.
#[test]
fn use_of_the_cpu_brings_instances() {
    let platform = Platform::start();
    platform.import("site:1", &[]);
    let mut create = CreateServiceRequest::new("site", image());
    create.tags = Some(vec![tag("apron:cpu", "256"), tag("apron:scale-on", "cpu=60")]);
    let arn = platform.call(&create).expect("a service").service.service_arn;
    assert_eq!(platform.ended(&arn, MINUTE), OperationStatus::Succeeded);
    let count = || platform.applications("site").into_iter().filter(Seen::alive).count();
    assert_eq!(count(), 1);
    let (address, host) = (&platform.apps, platform.alias("site"));
    let (over, served) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let ask = |path| {
        let answer = http::get(address, &host, path).expect("an answer");
        assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.body);
        answer.body
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ask("/cpu?200");
                // Two, so that instances that take turns take them with the one above too.
                let names = ["/read?/etc/hostname"; 2].map(ask);
                served.lock().expect("nobody panicked").extend(names);
            }
        });
        let began = Instant::now();
        let came = eventually(MINUTE, "two instances", || match count() {
            2 => Ok(began.elapsed()),
            count => Err(format!("there are {count}")),
        });
        println!("COUNT: from 1 to 2 instances by use in {:.2} s", came.as_secs_f64());
        // The second one has its part of the requests; together they use as much as the one did, and need no third.
        eventually(MINUTE, "answers of both", || match served.lock().expect("nobody panicked").len() {
            2 => Ok(()),
            _ => Err("one has them all".to_owned()),
        });
        std::thread::sleep(Duration::from_secs(8));
        assert_eq!(count(), 2);
        over.store(true, Ordering::Relaxed);
    });
    eventually(MINUTE * 2, "one instance", || match count() {
        1 => Ok(()),
        count => Err(format!("there are {count}")),
    });
}
