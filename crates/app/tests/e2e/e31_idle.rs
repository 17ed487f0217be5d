//! Instances without requests are throttled, frozen and stopped, and nobody who asks for one notices. Needs root.

use crate::support::processes::Seen;
use crate::support::{Platform, eventually, http, streams};
use apron_wire::apprunner::{CreateAutoScalingConfigurationRequest, OperationStatus, UpdateServiceRequest};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// Throttled after 0.2 s, frozen after 0.4 s.
const SOON: &str = "200/400/900000";
/// And stopped after 0.6 s.
const STOPPED_SOON: &str = "200/400/600";

/// A service whose instance is frozen soon.
struct Site {
    platform: Platform,
    host: String,
    instance: String,
}

impl Site {
    fn start() -> Site {
        Site::idle("freeze", SOON)
    }

    fn idle(lowest: &str, after_ms: &str) -> Site {
        let platform = Platform::start();
        platform.import("site:1", &[]);
        platform.run(&["deploy", "site:1", "--name", "site"]);
        let (arn, host) = (platform.arn("site"), platform.alias("site"));
        platform.tag(&arn, "apron:idle-after-ms", after_ms);
        platform.tag(&arn, "apron:idle", lowest);
        let wanted = std::fs::read_dir(platform.data.join("node/wanted")).expect("a wanted list");
        let names: Vec<PathBuf> = wanted.map(|entry| entry.expect("an entry").path()).collect();
        let one = names.iter().find(|path| path.extension().is_some_and(|kind| kind == "json"));
        let instance =
            one.and_then(|path| path.file_stem()).expect("an instance").to_string_lossy().into_owned();
        Site { platform, host, instance }
    }

    fn cgroup(&self, path: &str) -> Option<String> {
        let cgroup = format!("apron-{}/{}", self.platform.id(), self.instance);
        std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(path.replace("CG", &cgroup))).ok()
    }

    fn is_frozen(&self) -> bool {
        self.cgroup("freezer/CG/freezer.state").is_some_and(|state| state.trim() == "FROZEN")
            || self.cgroup("CG/cgroup.events").is_some_and(|events| events.contains("frozen 1"))
    }

    fn frozen(&self) {
        eventually(MINUTE, "a frozen instance", || match self.is_frozen() {
            true => Ok(()),
            false => Err("it is not".to_owned()),
        });
    }

    /// Waits until there is no process of it.
    fn stopped(&self) {
        eventually(MINUTE, "no process", || match self.platform.applications("site").len() {
            0 => Ok(()),
            count => Err(format!("there are {count}")),
        });
    }

    /// How long an answer takes.
    fn get(&self, path: &str) -> Duration {
        let began = Instant::now();
        let answer = http::get(&self.platform.apps, &self.host, path).expect("an answer");
        assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.body);
        began.elapsed()
    }
}

#[test]
fn a_frozen_instance_answers_as_if_it_had_not_been() {
    let site = Site::start();
    let application = site.platform.application("site");
    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            site.frozen();
            site.get("/")
        })
        .collect();
    took.sort();
    println!(
        "COUNT: 20 requests to a frozen instance, the median {:?}, the longest {:?}",
        took[10], took[19]
    );

    // More than it takes at a time, all at once.
    site.frozen();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..40).map(|_| scope.spawn(|| site.get("/slow?20"))).collect();
        clients.into_iter().for_each(|client| {
            client.join().expect("a client");
        });
    });
    assert_eq!(site.platform.application("site"), application, "the same process all the time");
    site.frozen();
    let status = site.platform.run(&["status", "site"]);
    assert!(status.contains("1 provisioned, 0 active") && status.contains(" frozen"), "{status}");
    // It slept through none of that: requests that take long keep it awake.
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| site.get("/slow?1500"));
        eventually(MINUTE, "an active instance", || match site.platform.run(&["status", "site"]) {
            said if said.contains("1 provisioned, 1 active") => Ok(()),
            said if slow.is_finished() => panic!("{said}"),
            said => Err(said),
        });
    });

    // A WebSocket on which little is said stays open while the instance sleeps, and what is said wakes it.
    let (address, host) = (&site.platform.apps, &site.host);
    let (messages, frozen) = std::thread::scope(|scope| {
        let pause = Duration::from_millis(1_500);
        let socket =
            scope.spawn(move || streams::websocket_with_pauses(address, host, Duration::from_secs(7), pause));
        let mut frozen = 0;
        while !socket.is_finished() {
            frozen += u32::from(site.is_frozen());
            std::thread::sleep(Duration::from_millis(100));
        }
        (socket.join().expect("a WebSocket").expect("what was said comes back"), frozen)
    });
    assert!(messages >= 4 && frozen >= 10, "{messages} messages, and frozen {frozen} tenths of a second");
    assert_eq!(site.platform.application("site"), application);
}

/// The way from a request to the instance leads through the node, and never through control.
#[test]
fn whoever_manages_it_may_be_dead() {
    let site = Site::start();
    let application = site.platform.application("site");
    let kill = |role: &str| -> Seen {
        let process = site.platform.process(role);
        process.kill();
        process
    };
    // How its start went is known to the next node too, and control asks that within seconds.
    site.get("/");
    let status = || site.platform.run(&["status", "site"]);
    let is_told = |status: &str| status.contains(": queued ") && status.contains("first byte ");
    eventually(MINUTE, "a first byte", || match status() {
        said if is_told(&said) => Ok(()),
        said => Err(said),
    });
    kill("node");
    std::thread::sleep(Duration::from_secs(6));
    let said = status();
    assert!(is_told(&said), "{said}");
    for _ in 0..3 {
        site.frozen();
        kill("control");
        site.get("/");
    }
    for _ in 0..3 {
        site.frozen();
        // Who asks now waits for the next node.
        kill("node");
        let took = site.get("/");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
    for _ in 0..3 {
        site.frozen();
        kill("proxy");
        eventually(MINUTE, "a proxy", || {
            http::get(&site.platform.apps, &site.host, "/").map_err(|error| error.to_string())
        });
        site.get("/");
    }
    site.frozen();
    assert_eq!(site.platform.application("site"), application, "it has slept through all of it");
    // What it is told at once it does at once: with this tag nobody sleeps.
    site.platform.tag(&site.platform.arn("site"), "apron:idle", "off");
    eventually(MINUTE, "an instance that is awake", || match site.is_frozen() {
        true => Err("it is frozen".to_owned()),
        false => Ok(()),
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(!site.is_frozen());
}

/// Nothing runs until somebody asks, and whoever asks is answered, whoever else is dead.
#[test]
fn a_service_at_zero_is_started_by_who_asks() {
    let site = Site::idle("zero", STOPPED_SOON);
    let mut took: Vec<Duration> = (0..10)
        .map(|_| {
            site.stopped();
            site.get("/")
        })
        .collect();
    took.sort();
    println!("COUNT: 10 requests to a service at zero, the median {:?}, the longest {:?}", took[5], took[9]);
    // Who asks is told where the time went, and who looks later too.
    site.stopped();
    let ask =
        format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Apron-Trace: 1\r\nConnection: close\r\n\r\n", site.host);
    let answer = http::request(&site.platform.apps, &ask).expect("an answer");
    for part in ["start-queued;dur=", "start-exec;dur=", "start-healthy;dur=", "line;dur=", "first-byte;dur="]
    {
        assert!(answer.head.to_lowercase().contains(part), "{part}\n{}", answer.head);
    }
    eventually(MINUTE, "a waterfall", || match site.platform.run(&["status", "site"]) {
        said if said.contains("queued") && said.contains("first byte") => Ok(()),
        said => Err(said),
    });
    // However many ask, one start is enough.
    site.stopped();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..40).map(|_| scope.spawn(|| site.get("/slow?20"))).collect();
        clients.into_iter().for_each(|client| {
            client.join().expect("a client");
        });
    });
    assert_eq!(site.platform.applications("site").len(), 1);
    // Control sees a service that runs, and does nothing about it.
    site.stopped();
    std::thread::sleep(Duration::from_secs(6));
    let status = site.platform.run(&["status", "site"]);
    assert!(status.to_uppercase().contains("RUNNING"), "{status}");
    assert!(status.contains("0 provisioned, 0 active") && status.contains(" asleep"), "{status}");
    assert!(!status.contains("HEALTHY"), "{status}");
    site.stopped();
    for role in ["control", "node", "control", "proxy"] {
        site.stopped();
        site.platform.process(role).kill();
        eventually(MINUTE, "an answer", || match http::get(&site.platform.apps, &site.host, "/") {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(answer.head),
            Err(error) => Err(error.to_string()),
        });
    }
    // Its owner sees it come and go as one instance, that is neither replaced nor restarted.
    let events = site.platform.run(&["logs", "site", "--events"]);
    assert!(!events.contains("exit code") && events.matches("Starting 1 instance").count() == 1, "{events}");
}

/// AWS's model has no MinSize of 0; here it means what it says.
#[test]
fn a_minimum_of_none_is_taken_and_means_none() {
    let site = Site::idle("off", STOPPED_SOON);
    let platform = &site.platform;
    let arn = platform.arn("site");
    let made = platform.call(&CreateAutoScalingConfigurationRequest {
        auto_scaling_configuration_name: "none".to_owned(),
        min_size: Some(0),
        ..CreateAutoScalingConfigurationRequest::new("none")
    });
    let scaling = made.expect("a configuration").auto_scaling_configuration;
    assert_eq!(scaling.min_size, Some(0), "as it was written");
    let update = UpdateServiceRequest {
        auto_scaling_configuration_arn: scaling.auto_scaling_configuration_arn,
        ..UpdateServiceRequest::new(&arn)
    };
    let application = platform.application("site");
    platform.call(&update).expect("an update");
    assert_eq!(platform.ended(&arn, MINUTE), OperationStatus::Succeeded);
    assert_eq!(platform.application("site"), application, "without a restart");
    // The tag says more than the configuration, until it is taken away.
    let both = ["tag", "site", "--remove", "apron:idle", "apron:idle=freeze"];
    assert!(platform.refused(&both).contains("'apron:idle' is to be both set and removed"));
    for said in ["", "there was no tag 'apron:idle'\n"] {
        assert_eq!(platform.run(&["tag", "site", "--remove", "apron:idle"]), said);
    }
    site.stopped();
    site.get("/");
}
