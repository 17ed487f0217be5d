//! The engine's verbs from the command line: revisions, rollback, retry, cancel, and what waits for its turn; and
//! instances that are replaced one by one.

use crate::support::{Platform, http};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn body(platform: &Platform) -> String {
    body_of(platform, "web")
}

fn body_of(platform: &Platform, service: &str) -> String {
    http::get(&platform.apps, &platform.alias(service), "/").unwrap().body
}

#[test]
fn back_again_and_not_at_all() {
    let platform = Platform::start();
    platform.import("web:1", &[("TEXT", "one")]);
    platform.import("web:2", &[("TEXT", "two")]);
    platform.import("web:broken", &[("MODE", "exit")]);
    platform.import("web:silent", &[("MODE", "silent")]);
    platform.run(&["deploy", "web:1", "--name", "web"]);
    platform.run(&["deploy", "web:2", "--name", "web"]);
    assert_eq!(body(&platform), "two");

    let began = Instant::now();
    platform.run(&["rollback", "web"]);
    println!("rollback: {:?}", began.elapsed());
    assert_eq!(body(&platform), "one");
    let listed = platform.run(&["revisions", "web"]);
    let state = |number: &str| {
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(number));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{listed}"))
    };
    assert_eq!(state("1"), "ACTIVE", "{listed}");
    assert!(["DRAINING", "PREVIOUS"].contains(&state("2")), "{listed}");
    let shown = platform.run(&["revisions", "web", "2"]);
    assert!(shown.contains("web:2") && shown.contains("2048 MiB"), "{shown}");
    let said = platform.refused(&["rollback", "web", "9"]);
    assert!(said.contains("no revision 9"), "{said}");

    for said in
        [platform.refused(&["deploy", "web:broken", "--name", "web"]), platform.refused(&["retry", "web"])]
    {
        assert!(said.contains("Container exit code: 3"), "{said}");
        assert!(said.contains("Rolled back: revision 1 goes on serving."), "{said}");
    }
    assert_eq!(body(&platform), "one");

    let services = platform.aws(&["list-services"]);
    let arn = services["ServiceSummaryList"][0]["ServiceArn"].as_str().unwrap();
    let silent = r#"{"ImageRepository":{"ImageIdentifier":"web:silent","ImageRepositoryType":"ECR"}}"#;
    platform.aws(&["update-service", "--service-arn", arn, "--source-configuration", silent]);
    let said = platform.run(&["cancel", "web"]);
    assert!(said.contains("ROLLBACK_SUCCEEDED: Cancelled by a caller."), "{said}");
    let said = platform.refused(&["cancel", "web"]);
    assert!(said.contains("no open operation"), "{said}");
    assert_eq!(body(&platform), "one");

    // A size that AWS does not sell, and a turn for each of two calls.
    let tags = ["Key=apron:memory,Value=80", "Key=apron:queue-operations,Value=true"];
    platform.aws(&["tag-resource", "--resource-arn", arn, "--tags", tags[0], tags[1]]);
    let deployed = platform.aws(&["start-deployment", "--service-arn", arn]);
    let paused = platform.aws(&["pause-service", "--service-arn", arn]);
    assert_ne!(deployed["OperationId"], paused["OperationId"]);
    let said = platform.run(&["resume", "web"]);
    assert!(said.contains("http://"), "{said}");
    assert_eq!(body(&platform), "one");
    let number = platform.run(&["revisions", "web"]);
    let active =
        number.lines().find(|line| line.contains("ACTIVE")).unwrap().split_whitespace().next().unwrap();
    let shown = platform.run(&["revisions", "web", active]);
    assert!(shown.contains("1024 CPU units, 80 MiB"), "{shown}");
}

#[test]
fn three_instances_change_places_one_by_one() {
    const INSTANCES: usize = 3;
    let platform = Platform::start();
    platform.import("web:1", &[("TEXT", "one")]);
    platform.import("web:2", &[("TEXT", "two")]);
    let size = INSTANCES.to_string();
    let sized = ["--min-size", &size, "--max-size", &size];
    let named = ["create-auto-scaling-configuration", "--auto-scaling-configuration-name", "three"];
    let scaling = platform.aws(&[&named[..], &sized[..]].concat());
    let scaling = scaling["AutoScalingConfiguration"]["AutoScalingConfigurationArn"].as_str().unwrap();
    let source = |image: &str| {
        let image = serde_json::json!({ "ImageIdentifier": image, "ImageRepositoryType": "ECR" });
        serde_json::json!({ "ImageRepository": image }).to_string()
    };
    let created = platform.aws(&[
        "create-service",
        "--service-name",
        "trio",
        "--source-configuration",
        &source("web:1"),
        "--auto-scaling-configuration-arn",
        scaling,
        "--instance-configuration",
        "Cpu=256,Memory=512",
        "--tags",
        "Key=apron:deploy,Value=rolling",
        // So few requests would otherwise all go to one instance, and nobody could see both versions.
        "Key=apron:balance,Value=spread",
    ]);
    let arn = created["Service"]["ServiceArn"].as_str().unwrap();
    platform.aws_service(arn, "RUNNING", Duration::from_secs(60));
    assert_eq!(platform.applications("trio").len(), INSTANCES);

    let load = http::Load::start(&platform.apps, &platform.alias("trio"), 2);
    let ended = AtomicBool::new(false);
    let (most, bodies) = std::thread::scope(|scope| {
        let most = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(platform.applications("trio").len());
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let bodies = scope.spawn(|| {
            let mut bodies = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                bodies.push(body_of(&platform, "trio"));
            }
            bodies
        });
        let update = ["update-service", "--service-arn", arn, "--source-configuration", &source("web:2")];
        let updated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            platform.aws(&update);
            platform.aws_operation(arn, Duration::from_secs(120))
        }));
        ended.store(true, Ordering::Relaxed);
        assert_eq!(updated.expect("an update")["Status"], "SUCCEEDED");
        (most.join().unwrap(), bodies.join().unwrap())
    });
    let (count, failures) = load.stop();
    assert!(failures.is_empty(), "{} of {count} requests failed: {failures:#?}", failures.len());
    assert_eq!(most, INSTANCES + 1, "one more than there are to be");
    let first = bodies.iter().position(|body| body == "two").expect("the new version answers");
    assert!(bodies[first..].iter().any(|body| body == "one"), "the old version answers beside the new one");
    for _ in 0..20 {
        assert_eq!(body_of(&platform, "trio"), "two");
    }
    println!("{count} requests, at most {most} instances");
}
