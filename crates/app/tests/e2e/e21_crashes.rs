//! kill -9 of our processes at a moment of a deployment that is known, not hoped for: the new version listens only
//! when it is released. The operation was open at the kill, it ends right, and traffic never stops. Needs root.

use crate::support::git::{commit, python_application};
use crate::support::processes::Seen;
use crate::support::{Options, Platform, eventually, http};
use serde_json::Value;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A service whose first version serves under load while later ones are deployed.
struct Site {
    platform: Platform,
    arn: String,
    load: Option<http::Load>,
}

impl Site {
    fn start() -> Site {
        let platform = Platform::with(Options { ephemeral: false, ..Options::standard() });
        platform.import("first:1", &[("TEXT", "first")]);
        platform.run(&["deploy", "first:1", "--name", "site"]);
        Site::of(platform)
    }

    fn of(platform: Platform) -> Site {
        let list = platform.aws(&["list-services"]);
        let arn = list["ServiceSummaryList"][0]["ServiceArn"].as_str().unwrap().to_owned();
        let load = http::Load::start(&platform.apps, &platform.alias("site"), 1);
        Site { platform, arn, load: Some(load) }
    }

    fn body(&self) -> String {
        http::get(&self.platform.apps, &self.platform.alias("site"), "/").unwrap().body
    }

    /// What `apron status` shows, once somebody answers.
    fn status(&self) -> String {
        eventually(MINUTE, "an answer of the API", || {
            let output = self.platform.apron(&["status", "site"]);
            let (said, why) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if output.status.success() { Ok(said.into_owned()) } else { Err(why.into_owned()) }
        })
    }

    /// Begins to deploy a version that waits; gives its process. The operation is open then and cannot end before
    /// the release.
    fn begin(&self, text: &str) -> Seen {
        let before = self.platform.applications("site");
        self.platform.import(&format!("{text}:1"), &[("TEXT", text), ("MODE", "waiting")]);
        let source = format!(
            r#"{{"ImageRepository": {{"ImageIdentifier": "{text}:1", "ImageRepositoryType": "ECR_PUBLIC"}}}}"#
        );
        self.platform.aws(&["update-service", "--service-arn", &self.arn, "--source-configuration", &source]);
        let candidate = eventually(MINUTE, "the new version's process", || {
            let all = self.platform.applications("site");
            all.into_iter().find(|seen| !before.contains(seen)).ok_or("none".to_owned())
        });
        self.open();
        candidate
    }

    /// The operation goes on and the new version is not healthy.
    fn open(&self) {
        eventually(MINUTE, "a running, waiting candidate", || {
            let status = self.status();
            let candidate =
                status.split_once("CANDIDATE").map(|(_, rest)| rest.lines().nth(1).unwrap_or_default());
            let waits = candidate.is_some_and(|line| line.contains(" starting"));
            if waits && status.contains("UPDATE_SERVICE IN_PROGRESS: starting") {
                Ok(())
            } else {
                Err(status)
            }
        });
    }

    /// Lets whatever waits listen; then the operation succeeds and the new version answers.
    fn release(&self, text: &str) {
        let answered = eventually(MINUTE, "an answer of the new version", || {
            self.platform.applications("site").iter().for_each(|seen| seen.signal(libc::SIGUSR1));
            let body = self.body();
            if body == text { Ok(body) } else { Err(body) }
        });
        assert_eq!((answered.as_str(), &self.ended()["Status"]), (text, &"SUCCEEDED".into()));
        assert_eq!(self.body(), text);
    }

    fn ended(&self) -> Value {
        self.status();
        self.platform.aws_operation(&self.arn, MINUTE)
    }

    /// No request but so many was lost, each by a proxy that was killed with the connections it had accepted.
    fn lost_at_most(mut self, allowed: usize) {
        let (count, failures) = self.load.take().expect("a load").stop();
        assert!(failures.len() <= allowed, "{} of {count} requests failed: {failures:#?}", failures.len());
        assert!(count > 20, "only {count} requests");
    }
}

#[test]
fn control_and_node_while_a_version_starts() {
    let site = Site::start();
    for (role, text) in [("control", "second"), ("node", "third")] {
        let candidate = site.begin(text);
        let before = site.platform.process(role);
        before.kill();
        assert_ne!(site.platform.process(role), before);
        site.open();
        assert!(candidate.alive(), "the version that waited was started anew after the kill of {role}");
        site.release(text);
    }
    site.lost_at_most(0);
}

#[test]
fn proxy_and_supervisor_while_a_version_starts() {
    let mut site = Site::start();
    let candidate = site.begin("second");
    site.platform.process("proxy").kill();
    site.open();
    assert!(candidate.alive());
    site.release("second");

    let candidate = site.begin("third");
    let children: Vec<Seen> = ["control", "node", "proxy"].map(|name| site.platform.process(name)).into();
    site.platform.stop(libc::SIGKILL);
    assert!(children.iter().all(Seen::alive), "a child died with its supervisor");
    site.platform.serve();
    site.open();
    assert!(candidate.alive(), "the version that waited was started anew by the takeover");
    site.release("third");
    site.lost_at_most(1);
}

/// Stopped, not killed: nothing ends by itself, and each is replaced because it is silent.
#[test]
fn all_that_hang_while_a_version_starts() {
    let site = Site::start();
    let candidate = site.begin("second");
    let hanging: Vec<(&str, Seen)> =
        ["control", "node", "proxy"].map(|role| (role, site.platform.process(role))).into();
    hanging.iter().for_each(|(_, seen)| seen.signal(libc::SIGSTOP));
    for (role, seen) in &hanging {
        seen.wait_gone(MINUTE);
        assert!(site.platform.process(role).alive());
        let said = format!("{role} hangs: it gave no sign of life");
        assert!(site.platform.log().contains(&said), "{}", site.platform.log());
    }
    site.open();
    assert!(candidate.alive());
    site.release("second");
    site.lost_at_most(1);
}

/// The new version has the traffic; a response of the old one is under way.
#[test]
fn control_while_the_old_version_drains() {
    let site = Site::start();
    let old = site.platform.application("site");
    let (apps, host) = (site.platform.apps.clone(), site.platform.alias("site"));
    let long = std::thread::spawn(move || http::get(&apps, &host, "/held"));
    site.begin("second");
    for candidate in site.platform.applications("site").iter().filter(|seen| **seen != old) {
        candidate.signal(libc::SIGUSR1);
    }
    eventually(MINUTE, "the pivot", || {
        let body = site.body();
        if body == "second" { Ok(()) } else { Err(body) }
    });
    assert!(site.status().contains("DRAINING"), "{}", site.status());
    site.platform.process("control").kill();
    assert_eq!(site.ended()["Status"], "SUCCEEDED");
    assert!(old.alive(), "the old version ended before its last response");
    old.signal(libc::SIGUSR1);
    assert_eq!(long.join().unwrap().unwrap().body, "before\nafter\n");
    // Nothing uses it any more.
    old.wait_gone(MINUTE);
    assert_eq!(site.body(), "second");
    site.lost_at_most(0);
}

#[test]
fn control_while_a_version_is_built() {
    let platform = Platform::with_bases(&["python311"]);
    let repository = platform.scratch("repository");
    let application = |text: &str, command: &str| {
        let files = python_application(text);
        let mut files: Vec<(&str, String)> = files.iter().map(|(n, c)| (*n, c.clone())).collect();
        files[0].1 = files[0].1.replace("python -V > built.txt", command);
        let files: Vec<(&str, &str)> = files.iter().map(|(n, c)| (*n, c.as_str())).collect();
        commit(&repository, &files)
    };
    let url = application("first", "true");
    platform.run(&["deploy", &url, "--name", "site"]);
    let site = Site::of(platform);
    application("second", "echo the build waits; sleep 4");
    site.platform.aws(&["start-deployment", "--service-arn", &site.arn]);
    eventually(MINUTE, "the build's output", || {
        let log = site.platform.run(&["logs", "site", "--deployment"]);
        // The command itself is shown before it runs.
        let waits = log.lines().any(|line| line.ends_with("[Build] the build waits"));
        if waits { Ok(()) } else { Err(log) }
    });
    let status = site.status();
    assert!(status.contains("START_DEPLOYMENT IN_PROGRESS: building"), "{status}");
    site.platform.process("control").kill();
    let status = site.status();
    assert!(status.contains("START_DEPLOYMENT IN_PROGRESS"), "{status}");
    assert_eq!((&site.ended()["Status"], site.body().as_str()), (&"SUCCEEDED".into(), "second"));
    site.lost_at_most(0);
}
